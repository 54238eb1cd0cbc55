"""Compares a model package with the hashes in its model.json, before any other file of it is imported.

`kennel promote` compares too, keeps what it compared where no job can write, and puts the SHA-256 of model.json into
the address of the copy; the endpoint's environment has it as KENNEL_PACKAGE_SHA256. Who replaces this file as well goes
unnoticed here: that nobody can is the bucket's part (docs/security.md).
"""

import hashlib
import json
import os
from pathlib import Path

DESCRIPTION = "model.json"
# For people: nothing of it runs, and images may be erased from it.
REPORT = "report.html"
EXPECTED = "KENNEL_PACKAGE_SHA256"


def damage(package: Path) -> list[str]:
    """Missing, changed and added files of `package`, by its model.json, and by the SHA-256 that this must have."""
    try:
        text = (package / DESCRIPTION).read_bytes()
        hashes: dict[str, str] = dict(json.loads(text)["sha256"])
        hashes.pop(REPORT, None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{DESCRIPTION} cannot be read ({error!r})"]
    expected = os.environ.get(EXPECTED)
    if expected and hashlib.sha256(text).hexdigest() != expected:
        return [f"{DESCRIPTION} is not the one that was promoted"]
    found = []
    for name, digest in hashes.items():
        if not (package / name).is_file():
            found.append(f"{name} is missing")
        elif hashlib.sha256((package / name).read_bytes()).hexdigest() != digest:
            found.append(f"{name} was changed")
    return found + [f"{name} was added" for name in sorted(_names(package) - {*hashes, DESCRIPTION, REPORT})]


def require(package: Path) -> None:
    """Raises SystemExit if `package` is damaged."""
    if found := damage(package):
        raise SystemExit(f"The model package {package} is damaged: {'; '.join(found)}")


def _names(package: Path) -> set[str]:
    """Its files, and links to folders, by their path below it."""
    found = set()
    for folder, folders, files in os.walk(package):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        found |= {Path(folder, name).relative_to(package).as_posix() for name in (*files, *links)}
    return found
