"""Changes of permissions: who may do more, and who may do less.

CDK's library says which statements come and go. One that is written again with an action more is one that goes and one
that comes: what widens is what no statement that went had allowed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from kennel.review.differences import Change, StackDifference, names_of
from kennel.review.grants import NOBODY, Grant, grants_of
from kennel.review.markdown import code, condition_of, sentences, who
from kennel.stage.assemblies import Template
from kennel.stage.template_roles import listed

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
# CDK's own parameters, on which no resource of ours depends.
NOT_FOLLOWED = ("Parameters.BootstrapVersion", "Conditions.CDKMetadataAvailable")


@dataclass(frozen=True)
class AccessChange:
    """One sentence: whether it widens, and what it says, in Markdown."""

    stack: str
    widens: bool
    sentence: str


def changes_of(difference: StackDifference, base: Template, head: Template) -> list[AccessChange]:
    """The permissions that the differences of one stack add and remove, added ones first."""
    added = [list(grants_of(item)) for item in difference.statements_added]
    removed = [list(grants_of(item)) for item in difference.statements_removed]
    allowed, forbidden = _of(added, "Allow"), _of(added, "Deny")
    allowed_before, forbidden_before = _of(removed, "Allow"), _of(removed, "Deny")
    destroyed = {change.logical_id for change in difference.changes if change.verb in ("destroyed", "orphaned")}
    # To what is not there any more, nobody needs to be refused.
    forbidden_before = [
        [grant for grant in statement if destroyed.isdisjoint(re.findall(r"\$\{(\w+)", grant.resource))]
        for statement in forbidden_before
    ]
    names = names_of(base) | names_of(head)

    found: list[AccessChange] = []

    def tell(
        widens: bool, phrase: str, statements: list[list[Grant]], held_against: list[list[Grant]], other_times: str
    ) -> None:
        others = [grant for statement in held_against for grant in statement]
        for statement in statements:
            under: dict[str, list[Grant]] = {}
            for grant in statement:
                if not any(other.covers(grant) for other in others):
                    under.setdefault(_condition_among(others, grant), []).append(grant)
            for condition, grants in under.items():
                differs = f"; {other_times} only{condition_of(condition, names)}" if condition else ""
                for sentence in sentences(phrase, grants, names):
                    found.append(AccessChange(difference.stack, widens, f"{sentence}{differs}"))

    tell(True, "may now", allowed, allowed_before, "before")
    tell(True, "is no longer refused", forbidden_before, forbidden, "now")
    found += [
        AccessChange(difference.stack, True, f"{_holder(item, names)} gets the policy {_policy(item)}")
        for item in difference.managed_added
    ]
    found += _boundaries(difference.changes, head)
    found += [
        AccessChange(difference.stack, True, sentence)
        for sentence in (*_not_taken_apart(difference, base, head), *(_not_followed(difference) if head else ()))
    ]
    tell(False, "may no longer", allowed_before, allowed, "now")
    tell(False, "is now refused", forbidden, forbidden_before, "before")
    found += [
        AccessChange(difference.stack, False, f"{_holder(item, names)} loses the policy {_policy(item)}")
        for item in difference.managed_removed
    ]
    return _without_renames(list(dict.fromkeys(found)))


def _without_renames(found: list[AccessChange]) -> list[AccessChange]:
    """Without what comes and goes in the same words: a right on something that only got another logical id."""
    pairs = (("may now", "may no longer"), ("is no longer refused", "is now refused"))
    said: dict[bool, set[str]] = {True: set(), False: set()}

    def neutral(item: AccessChange) -> str:
        sentence = item.sentence
        for widens, narrows in pairs:
            sentence = sentence.replace(widens if item.widens else narrows, "…", 1)
        return sentence

    for item in found:
        said[item.widens].add(neutral(item))
    both = said[True] & said[False]
    return [item for item in found if neutral(item) not in both]


def _holder(item: dict[str, Any], names: dict[str, str]) -> str:
    return who(str(item.get("value", {}).get("identityArn", NOBODY)), names)


def _policy(item: dict[str, Any]) -> str:
    return code(str(item.get("value", {}).get("managedPolicyArn", "?")))


def _condition_among(others: list[Grant], grant: Grant) -> str:
    """The condition under which one of `others` is about the same; empty where none is."""
    anyhow = replace(grant, condition="{}")
    return next((other.condition for other in others if replace(other, condition="{}").covers(anyhow)), "")


def _of(statements: list[list[Grant]], effect: str) -> list[list[Grant]]:
    return [statement for statement in statements if statement and statement[0].effect == effect]


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
    """Changes that may give permissions and cannot be compared as statements."""
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
    """True if CDK's library sees every statement of it."""
    if not isinstance(document, dict) or "Statement" not in document:
        return False
    return all(isinstance(item, dict) for item in listed(document["Statement"]))


def _not_followed(difference: StackDifference) -> Iterator[str]:
    """Conditions that are not evaluated here: of a URL's authentication, for example."""
    for item in difference.declarations:
        if item.name.startswith("Outputs.") or item.name in NOT_FOLLOWED or item.old is None:
            continue
        yield f"{code(item.name)} changes, and what depends on it is not followed here"
