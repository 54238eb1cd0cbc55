"""The wording of a comment: names of the app instead of logical ids, values as code, grants as sentences."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from kennel.review.grants import NOBODY, UNREADABLE, Grant
from kennel.stage.template_roles import listed

MAX_NAME = 120
HASH_OF_ID = re.compile(r"(?<=[A-Za-z0-9])[0-9A-F]{8}$")
# For a statement that nobody can read.
MOVES = {"may now": "comes", "may no longer": "goes"}


def plain(text: str) -> str:
    """A name without what Markdown or HTML would obey, and no longer than a name is."""
    return re.sub(r"[^\w./:+=@ -]", "·", text)[:MAX_NAME]


def readable(text: str, names: dict[str, str]) -> str:
    """References by the names that people know instead of logical ids with a hash."""

    def reference(match: re.Match[str]) -> str:
        logical_id, dot, attribute = match[1].partition(".")
        known = names.get(logical_id) or HASH_OF_ID.sub("", logical_id)
        return f"${{{known}{dot if attribute not in ('', 'Arn') else ''}{'' if attribute == 'Arn' else attribute}}}"

    # What another stack exports: its output's name says which.
    exported = re.sub(
        r'\$?\{?"?(?:Fn::)?ImportValue"?\s*[:.]\s*"?[^"}]*?ExportsOutput(?:Ref|FnGetAtt)([A-Za-z0-9]+?)'
        r"(?:[0-9A-F]{8})?(?:Arn)?[0-9A-F]{8}\"?\}?",
        r"${\1}",
        text,
    )
    return re.sub(r"\$\{([A-Za-z0-9.]+)\}", reference, exported)


def code(text: str) -> str:
    """`text` as code in Markdown, on one line and without ending the code or a table's cell."""
    return f"`{' '.join(text.replace('`', chr(39)).replace('|', chr(92) + '|').split())}`"


def sentences(phrase: str, grants: Iterable[Grant], names: dict[str, str]) -> Iterator[str]:
    """One sentence for each principal and condition, with the actions that share their resources together."""
    by_who: dict[tuple[str, str, tuple[str, ...]], dict[str, list[str]]] = {}
    for grant in grants:
        actions = by_who.setdefault((grant.principal, grant.condition, grant.but), {})
        actions.setdefault(grant.action, []).append(grant.resource)
    for (principal, condition, but), actions in by_who.items():
        by_resources: dict[tuple[str, ...], list[str]] = {}
        for action, resources in actions.items():
            by_resources.setdefault(tuple(dict.fromkeys(resources)), []).append(action)
        for on, calls in by_resources.items():
            if UNREADABLE in but:
                yield f"a statement that cannot be read before the deploy {MOVES[phrase]}: {code(calls[0])}"
                continue
            make = " make" if "actions" in but and phrase.startswith("may") else ""
            yield (
                f"{who(principal, names, 'principals' in but)} {phrase}{make} "
                f"{_every_but('call', calls, names, 'actions' in but)} on "
                f"{_every_but('resource', on, names, 'resources' in but)}{condition_of(condition, names)}"
            )


def _every_but(noun: str, values: Iterable[str], names: dict[str, str], excepted: bool) -> str:
    shown = ", ".join(code(readable(value, names)) for value in values)
    return f"every {noun} but {shown}" if excepted else shown


def who(principal: str, names: dict[str, str], excepted: bool = False) -> str:
    """A principal, or everybody but it."""
    if principal == NOBODY:
        return NOBODY
    if principal in ("*", "AWS:*"):
        return "**everyone**"
    known = readable(principal.partition(":")[2] if re.match(r"[A-Za-z]+:", principal) else principal, names)
    name = f"**{known.removeprefix('${').partition('}')[0]}**" if known.startswith("${") else code(known)
    return f"everybody but {name}" if excepted else name


def condition_of(text: str, names: dict[str, str]) -> str:
    """A condition, given as JSON, with its "if"; empty where there is none."""
    condition: Any = json.loads(text)
    if not condition:
        return ""
    if not isinstance(condition, dict):
        return f" if {code(readable(str(condition), names))}"
    said = []
    for operator, keys in condition.items():
        if not isinstance(keys, dict):
            said.append(code(readable(json.dumps({operator: keys}), names)))
            continue
        for key, values in keys.items():
            wanted = ", ".join(code(readable(str(value), names)) for value in listed(values))
            said.append(f"{code(key)} {plain(operator)} {wanted}")
    return " if " + " and ".join(said)
