"""Statements taken apart, and held against each other: whether one allows all that another does."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from kennel.stage.template_roles import listed

# With these operators, a longer list allows more requests.
ANY_OF = ("StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool", "IpAddress", "StringEqualsIgnoreCase")
NOBODY = "whoever has this policy"
# For a statement that nobody can read before the deploy.
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Grant:
    """One action of one principal on one resource; `but` marks what a statement names by exception."""

    effect: str
    principal: str
    action: str
    resource: str
    # As JSON, with sorted keys.
    condition: str
    but: tuple[str, ...] = ()

    def covers(self, other: "Grant") -> bool:
        """True if this one covers all that `other` covers."""
        parts = (
            ("principals", self.principal, other.principal),
            ("actions", self.action.lower(), other.action.lower()),
            ("resources", self.resource, other.resource),
        )
        return (
            self.effect == other.effect
            and self.but == other.but
            and all(_excepts_less(*pair) if part in self.but else _matches(*pair) for part, *pair in parts)
            and _weaker(json.loads(self.condition), json.loads(other.condition))
        )


def grants_of(item: dict[str, Any]) -> Iterator[Grant]:
    """The parts of a statement as CDK's library gives it."""
    if item["type"] != "parsed":
        # An intrinsic function in the place of a statement: nobody can say what is in it.
        yield Grant("Allow", NOBODY, item.get("repr", "?"), "*", "{}", (UNREADABLE,))
        return
    statement = item["value"]
    if statement.get("effect") not in ("Allow", "Deny"):
        yield Grant("Allow", NOBODY, json.dumps(statement.get("effect")), "*", "{}", (UNREADABLE,))
        return
    parts, but = [], []
    for part in ("principals", "actions", "resources"):
        of = statement.get(part, {"not": False, "values": []})
        values = of["values"] or [NOBODY if part == "principals" else "*"]
        if of["not"]:
            but.append(part)
            values = [" ".join(sorted(values))]
        parts.append(values)
    condition = json.dumps(statement.get("condition") or {}, sort_keys=True)
    for principal, action, resource in product(*parts):
        yield Grant(statement["effect"], principal, action, resource, condition, tuple(but))


def _matches(pattern: str, value: str) -> bool:
    if pattern in (value, "*") or (pattern == "AWS:*" and value.startswith("AWS:")):
        return True
    if "*" not in pattern and "?" not in pattern:
        return False
    # One letter is not any number of them: ? does not cover *.
    expression = "".join(".*" if part == "*" else "[^*]" if part == "?" else re.escape(part) for part in pattern)
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _excepts_less(names: str, others: str) -> bool:
    """Of two that mean everything but some names, whether the first means no less than the second."""
    return all(any(_matches(other, name) for other in others.split()) for name in names.split())


def _weaker(weak: Any, strict: Any) -> bool:
    """True if each request that meets the condition `strict` meets `weak`, as far as they can be compared."""
    if not isinstance(weak, dict) or not isinstance(strict, dict):
        return bool(weak == strict)
    for operator, keys in weak.items():
        if not isinstance(keys, dict) or not isinstance(strict.get(operator), dict):
            if keys != strict.get(operator):
                return False
            continue
        for key, wanted in keys.items():
            if key not in strict[operator]:
                return False
            values, others = listed(wanted), listed(strict[operator][key])
            fits = all(other in values for other in others) if operator in ANY_OF else values == others
            if not fits:
                return False
    return True
