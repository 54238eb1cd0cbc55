"""The difference of one property: at its deepest level, without secrets, shortened."""

import json
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from kennel.review.differences import REPLACED, Property
from kennel.review.markdown import code, readable
from kennel.stage.redaction import REDACTED, redacted, without_named, without_secrets

MAX_VALUE = 160
# These are described in words, under Access.
POLICIES = ("AssumeRolePolicyDocument", "KeyPolicy", "Policies", "PolicyDocument")


def lines(item: Property, names: dict[str, str], *, accessed: bool = True) -> Iterator[str]:
    """One line of Markdown for each place where a property differs; `names` are those of resources by logical id.

    Where nobody may do more or less (`accessed`), a policy is only written in another way.
    """
    if item.name in POLICIES:
        yield f"{code(item.name)}: {'see Access' if accessed else 'the same access, written in another way'}"
        return
    leaves = [*_leaves(item.name, item.old, item.new)] or [(item.name, item.old, item.new)]
    for path, old, new in leaves:
        if REPLACED not in json.dumps(new):
            before, after = (_text(path, value, names) for value in (old, new))
            yield f"{code(path)}: {' → '.join(_values(before, after))}"


def new_secrets(item: Property, names: dict[str, str]) -> Iterator[str]:
    """The places of a property with a new value that looks like a secret."""
    for path, old, new in _leaves(item.name, item.old, item.new):
        before, after = (REDACTED in (_text(path, value, names) or "") for value in (old, new))
        if after and not before:
            yield path


def _leaves(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """The places where two values differ, as deep as both have the same form."""
    functions = ("Fn::", "Ref")
    if isinstance(old, dict) and isinstance(new, dict) and not any(key.startswith(functions) for key in {**old, **new}):
        for key in dict.fromkeys([*old, *new]):
            if old.get(key) != new.get(key):
                yield from _leaves(f"{path}.{key}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            if one != other:
                yield from _leaves(f"{path}[{number}]", one, other)
    elif isinstance(old, list) and isinstance(new, list):
        yield from ((path, item, None) for item in old if item not in new)
        yield from ((path, None, item) for item in new if item not in old)
    else:
        yield path, old, new


def _text(path: str, value: Any, names: dict[str, str]) -> str | None:
    """A value as it is shown, whole, without secrets; None where it is not there."""
    if value is None:
        return None
    value = without_secrets(path, value)
    text = readable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), names)
    return redacted(without_named(" ".join(text.split())), names)


def _values(old: str | None, new: str | None) -> Iterator[str]:
    """Both, cut to where they begin to differ."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old or "", new or "", strict=False)))
    begin = max(0, same - MAX_VALUE // 4)
    for text in (old, new):
        if text is None:
            yield "none"
            continue
        head, tail = ("…" if begin else "", "…" if len(text) > begin + MAX_VALUE else "")
        yield code(f"{head}{text[begin : begin + MAX_VALUE]}{tail}")
