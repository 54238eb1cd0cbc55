"""The permissions that AWS's resource registry publishes for each resource type's handlers, out of its schema archive.

python tests/helpers/schemas.py FILE [ARCHIVE]: downloads the archive, or takes one that is here; writes the permissions
of every type to FILE and shows what has changed there for the types that Kennel deploys. AWS's address for it is in the
CloudFormation user guide, "Obtaining resource provider schema".
"""

import io
import json
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from infra.bootstrap.execution_policy import TYPES

URL = "https://schema.cloudformation.us-east-1.amazonaws.com/CloudformationSchema.zip"
TIMEOUT_S = 120

Permissions = dict[str, dict[str, list[str]]]


def permissions(archive: bytes) -> Permissions:
    """By type and handler; those of tagging are under `tagging`."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        for name in files.namelist():
            schema: dict[str, Any] = json.loads(files.read(name))
            handlers = {kind: sorted(handler["permissions"]) for kind, handler in schema.get("handlers", {}).items()}
            tagging = schema.get("tagging")
            if isinstance(tagging, dict) and tagging.get("permissions"):
                handlers["tagging"] = sorted(tagging["permissions"])
            if handlers:
                found[str(schema["typeName"])] = handlers
    return dict(sorted(found.items()))


def changes(before: Permissions, after: Permissions) -> list[str]:
    """What comes and goes for the types that Kennel deploys, a line each."""
    lines = []
    for kind in sorted(TYPES):
        old, new = before.get(kind, {}), after.get(kind, {})
        for handler in sorted({*old, *new}):
            one, other = set(old.get(handler, [])), set(new.get(handler, []))
            lines += [f"{kind} {handler}: + {action}" for action in sorted(other - one)]
            lines += [f"{kind} {handler}: - {action}" for action in sorted(one - other)]
    return lines


def main(file: Path, archive: Path | None) -> None:
    """Writes the file, and shows the changes."""
    if archive:
        content = archive.read_bytes()
    else:
        try:
            with urllib.request.urlopen(URL, timeout=TIMEOUT_S) as answer:
                content = answer.read()
        except OSError as error:
            sys.exit(f"{URL} cannot be reached ({error}): download it elsewhere, and give its path as ARCHIVE=.")
    after = permissions(content)
    before = json.loads(file.read_text()) if file.is_file() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(after, indent=1) + "\n")
    changed = changes(before, after) if before else []
    print("\n".join(changed) or f"{len(after)} types; nothing to compare with, or nothing has changed.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
