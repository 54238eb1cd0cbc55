"""The table of the calls that each type of resource takes: a TOML file, of which Kennel has infra/bootstrap's."""

import tomllib
from pathlib import Path
from typing import NamedTuple

VERBS = ("create", "update", "delete", "read", "anywhere", "makes")


class ResourceCalls(NamedTuple):
    """The row of one type: the ARN up to its name, the property with its name, and calls as `service:Call`, by verb.

    `parents` are the kinds of other resources that it changes, by the property that names them.
    """

    on: str
    name: str
    calls: dict[str, list[str]]
    parents: dict[str, str]
    tagged: bool
    passes_role: bool


def load(file: Path) -> dict[str, ResourceCalls]:
    """The rows of `file` by type."""
    table = tomllib.loads(file.read_text())
    return {
        kind: ResourceCalls(
            row["on"],
            row.get("name", ""),
            {verb: _named(row.get(verb, "")) for verb in VERBS},
            row.get("parents", {}),
            row.get("tagged", False),
            row.get("passes_role", False),
        )
        for kind, row in table.items()
    }


def _named(text: str) -> list[str]:
    """`s3: A B` as s3:A and s3:B."""
    service, calls = "", []
    for word in text.split():
        service, call = (word, "") if word.endswith(":") else (service, word)
        calls += [service + call] if call else []
    return calls
