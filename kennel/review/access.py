"""Who may do more, and who less: statements taken apart and held against each other, told in words.

CDK's library says which statements come and go. One that is written anew with an action more is one that goes and one
that comes: what widens is what no statement that went had allowed.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from kennel.review.assemblies import Template
from kennel.review.differences import HASH_OF_ID, Change, StackDifference, name_of, plain

# Of these operators a longer list lets more requests through.
ANY_OF = ("StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool", "IpAddress", "StringEqualsIgnoreCase")
NOBODY = "whoever has this policy"
# Of a statement that nobody can read.
_MOVES = {"may now": "comes", "may no longer": "goes"}
NO_VALUE = {"Ref": "AWS::NoValue"}
# What gives rights and is not taken apart by CDK's library.
GRANTING = (
    "AWS::IAM::GroupPolicy",
    "AWS::IAM::RolePolicy",
    "AWS::IAM::UserPolicy",
    "AWS::IAM::UserToGroupAddition",
    "AWS::Lambda::LayerVersionPermission",
)
# Whose rights a resource acts with.
ACTS_AS = ("ExecutionRoleArn", "IamInstanceProfile", "Role", "RoleARN", "RoleArn", "Roles", "ServiceRole")
DOCUMENTS = ("AssumeRolePolicyDocument", "KeyPolicy", "PolicyDocument", "Policy", "ResourcePolicy")
# Of CDK's own, which no resource of ours depends on.
NOT_FOLLOWED = ("Parameters.BootstrapVersion", "Conditions.CDKMetadataAvailable")


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
        """Whether all that `other` is about, this one is about, too."""
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


@dataclass(frozen=True)
class AccessChange:
    """One sentence: whether it widens, and what it says, in Markdown."""

    stack: str
    widens: bool
    sentence: str


def changes_of(difference: StackDifference, base: Template, head: Template) -> list[AccessChange]:
    """What the differences of one stack allow and no longer allow, widened first."""
    added = [list(_grants(item)) for item in difference.statements_added]
    removed = [list(_grants(item)) for item in difference.statements_removed]
    allowed, forbidden = _of(added, "Allow"), _of(added, "Deny")
    allowed_before, forbidden_before = _of(removed, "Allow"), _of(removed, "Deny")
    names = {**_names(base), **_names(head)}

    found: list[AccessChange] = []

    def tell(widens: bool, phrase: str, statements: list[list[Grant]], held_against: list[list[Grant]]) -> None:
        others = [grant for statement in held_against for grant in statement]
        for statement in statements:
            new = [grant for grant in statement if not any(other.covers(grant) for other in others)]
            for sentence in _sentences(phrase, new, names):
                found.append(AccessChange(difference.stack, widens, sentence))

    tell(True, "may now", allowed, allowed_before)
    tell(True, "is no longer refused", forbidden_before, forbidden)
    found += [
        AccessChange(difference.stack, True, f"{_principal(item, names)} gets the policy {_policy(item)}")
        for item in difference.managed_added
    ]
    found += _boundaries(difference.changes, head)
    found += [
        AccessChange(difference.stack, True, sentence)
        for sentence in (*_not_taken_apart(difference, base, head), *(_not_followed(difference) if head else ()))
    ]
    tell(False, "may no longer", allowed_before, allowed)
    tell(False, "is now refused", forbidden, forbidden_before)
    found += [
        AccessChange(difference.stack, False, f"{_principal(item, names)} loses the policy {_policy(item)}")
        for item in difference.managed_removed
    ]
    return list(dict.fromkeys(found))


def _grants(item: dict[str, Any]) -> Iterator[Grant]:
    """The parts of a statement as CDK's library gives it."""
    if item["type"] != "parsed":
        # An intrinsic function in the place of a statement: nobody can say what is in it.
        yield Grant("Allow", NOBODY, item.get("repr", "?"), "*", "{}", ("unreadable",))
        return
    statement = item["value"]
    if statement.get("effect") not in ("Allow", "Deny"):
        yield Grant("Allow", NOBODY, json.dumps(statement.get("effect")), "*", "{}", ("unreadable",))
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


def _of(statements: list[list[Grant]], effect: str) -> list[list[Grant]]:
    return [statement for statement in statements if statement and statement[0].effect == effect]


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
    """Whether each request that meets the condition `strict` meets `weak`, as far as they can be held side by side."""
    if not isinstance(weak, dict) or not isinstance(strict, dict):
        return bool(weak == strict)
    for operator, keys in weak.items():
        if not isinstance(keys, dict) or not isinstance(strict.get(operator), dict):
            return bool(keys == strict.get(operator))
        for key, wanted in keys.items():
            if key not in strict[operator]:
                return False
            values, others = _listed(wanted), _listed(strict[operator][key])
            fits = all(other in values for other in others) if operator in ANY_OF else values == others
            if not fits:
                return False
    return True


def _boundaries(changes: list[Change], head: Template) -> Iterator[AccessChange]:
    bounded = any(
        _boundary(item.get("Properties", {})) for item in _of_kind(head, "AWS::IAM::Role") if item.get("Properties")
    )
    for change in changes:
        if change.kind != "AWS::IAM::Role":
            continue
        properties = head.get("Resources", {}).get(change.logical_id, {}).get("Properties", {})
        if change.verb == "added" and bounded and not _boundary(properties):
            yield AccessChange(change.stack, True, f"**{change.name}** is a new role without a permissions boundary")
        for item in change.properties:
            if item.name != "PermissionsBoundary" or change.verb == "added":
                continue
            before, after = (value if value != NO_VALUE else None for value in (item.old, item.new))
            if before:
                phrase = "another permissions boundary" if after else "no permissions boundary any more"
                yield AccessChange(change.stack, True, f"**{change.name}** has {phrase}")
            elif after:
                yield AccessChange(change.stack, False, f"**{change.name}** now has a permissions boundary")


def _boundary(properties: dict[str, Any]) -> Any:
    value = properties.get("PermissionsBoundary")
    return None if value == NO_VALUE else value


def _of_kind(template: Template, kind: str) -> Iterator[dict[str, Any]]:
    for resource in template.get("Resources", {}).values():
        if resource["Type"] == kind:
            yield resource


def _not_taken_apart(difference: StackDifference, base: Template, head: Template) -> Iterator[str]:
    """What may give rights and is no statement that could be held against another."""
    for change in difference.changes:
        resource = head.get("Resources", {}).get(change.logical_id)
        if resource is None:
            continue
        if change.kind in GRANTING:
            yield f"**{change.name}** ({change.kind.removeprefix('AWS::')}) gives rights that are not taken apart here"
        old = base.get("Resources", {}).get(change.logical_id, {}).get("Properties", {})
        for name, value in resource.get("Properties", {}).items():
            if name in DOCUMENTS and value != old.get(name) and not _readable(value):
                yield f"**{change.name}** has a {code(name)} that cannot be read before the deploy"
            acts = name in ACTS_AS and change.kind != "AWS::IAM::Policy" and change.kind != "AWS::IAM::ManagedPolicy"
            if acts and name in old and value != old[name]:
                yield f"**{change.name}** acts with another role: {code(name)}"


def _readable(document: Any) -> bool:
    """Whether CDK's library sees every statement of it."""
    if not isinstance(document, dict) or "Statement" not in document:
        return False
    return all(isinstance(item, dict) for item in _listed(document["Statement"]))


def _not_followed(difference: StackDifference) -> Iterator[str]:
    """What resources may depend on in ways that nobody follows here: a condition of a URL's authentication."""
    for item in difference.declarations:
        if item.name.startswith("Outputs.") or item.name in NOT_FOLLOWED or item.old is None:
            continue
        yield f"{code(item.name)} changes, and what depends on it is not followed here"


def _sentences(phrase: str, grants: Iterable[Grant], names: dict[str, str]) -> Iterator[str]:
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
            if "unreadable" in but:
                yield f"a statement that cannot be read before the deploy {_MOVES[phrase]}: {code(calls[0])}"
                continue
            make = " make" if "actions" in but and phrase.startswith("may") else ""
            yield (
                f"{_who(principal, names, 'principals' in but)} {phrase}{make} "
                f"{_every_but('call', calls, names, 'actions' in but)} on "
                f"{_every_but('resource', on, names, 'resources' in but)}{_condition(json.loads(condition), names)}"
            )


def _every_but(noun: str, values: Iterable[str], names: dict[str, str], excepted: bool) -> str:
    shown = ", ".join(code(readable(value, names)) for value in values)
    return f"every {noun} but {shown}" if excepted else shown


def _who(principal: str, names: dict[str, str], excepted: bool) -> str:
    if principal == NOBODY:
        return NOBODY
    if principal in ("*", "AWS:*"):
        return "**everyone**"
    known = readable(principal.partition(":")[2] if re.match(r"[A-Za-z]+:", principal) else principal, names)
    who = f"**{known.removeprefix('${').partition('}')[0]}**" if known.startswith("${") else code(known)
    return f"everybody but {who}" if excepted else who


def _principal(item: dict[str, Any], names: dict[str, str]) -> str:
    return _who(str(item.get("value", {}).get("identityArn", NOBODY)), names, False)


def _policy(item: dict[str, Any]) -> str:
    return code(str(item.get("value", {}).get("managedPolicyArn", "?")))


def _condition(condition: Any, names: dict[str, str]) -> str:
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
            wanted = ", ".join(code(readable(str(value), names)) for value in _listed(values))
            said.append(f"{code(key)} {plain(operator)} {wanted}")
    return " if " + " and ".join(said)


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


def _names(template: Template) -> dict[str, str]:
    return {logical_id: name_of(template, logical_id) for logical_id in template.get("Resources", {})}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
