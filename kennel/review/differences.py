"""The differences between two sides, by CDK's own library, and their effects on the deployed resources."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product, takewhile
from pathlib import Path
from typing import Any, Literal

from kennel.errors import KennelError
from kennel.review.markdown import HASH_OF_ID, plain
from kennel.review.node_program import NodeProgram
from kennel.stage.assemblies import Side, Template

LIBRARY = NodeProgram(Path(__file__).with_name("diff.mjs"))

Verb = Literal["destroyed", "may be destroyed", "replaced", "may be replaced", "orphaned", "changed", "added"]
# By CDK's words. An orphaned resource stays in the account, outside of any stack.
VERBS: dict[str, Verb] = {
    "WILL_DESTROY": "destroyed",
    "WILL_REPLACE": "replaced",
    "MAY_REPLACE": "may be replaced",
    "WILL_ORPHAN": "orphaned",
    "WILL_UPDATE": "changed",
    "WILL_CREATE": "added",
    "WILL_IMPORT": "added",
}
# Types with data that a new resource would not have.
STATEFUL = (
    "AWS::Backup::BackupVault",
    "AWS::Cognito::UserPool",
    "AWS::DocDB::",
    "AWS::DynamoDB::",
    "AWS::EC2::Volume",
    "AWS::ECR::Repository",
    "AWS::EFS::",
    "AWS::ElastiCache::",
    "AWS::FSx::",
    "AWS::Kinesis::Stream",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::Neptune::",
    "AWS::OpenSearchService::",
    "AWS::RDS::",
    "AWS::S3::Bucket",
    "AWS::SageMaker::NotebookInstance",
    "AWS::SecretsManager::Secret",
    "AWS::SQS::Queue",
)
NOT_STATEFUL = ("AWS::S3::BucketPolicy", "AWS::SageMaker::NotebookInstanceLifecycleConfig")
# A new one comes before the old one goes, and nobody but its stack holds its name: that is how they are changed.
RENEWED = (
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
    "AWS::SageMaker::EndpointConfig",
    "AWS::SageMaker::Model",
)
# How CDK's library marks a reference to what is replaced.
REPLACED = " (replaced)"
KEPT_BY = ("Retain", "RetainExceptOnCreate", "Snapshot")
# By which one stack refers to what is in another; it ends with a hash.
EXPORT = re.compile(r"ExportsOutput\w+[0-9A-F]{8}\b")
HASH = 8
# CDK's note of its own versions.
NO_RESOURCE = "AWS::CDK::Metadata"


@dataclass(frozen=True)
class Property:
    """A property before and after, None where it is not there."""

    name: str
    old: Any
    new: Any
    impact: str


@dataclass(frozen=True)
class Change:
    """The effect of a change on one resource."""

    stack: str
    logical_id: str
    # Its place in the app, as people know it.
    name: str
    kind: str
    verb: Verb
    properties: tuple[Property, ...] = ()
    # The one of the same kind and properties that goes where this one comes, or the other way round: name, logical id.
    renamed: str | None = None
    renamed_id: str | None = None
    # CloudFormation keeps what a replacement leaves.
    kept: bool = False
    # The type that it had, where that changes.
    kind_before: str | None = None

    @property
    def stateful(self) -> bool:
        """True if it holds data that a new one would not have."""
        kind = self.kind_before or self.kind
        return kind.startswith(STATEFUL) and not kind.startswith(NOT_STATEFUL)

    @property
    def unprotected(self) -> bool:
        """True if it was retained when its stack is deleted, and no longer is."""
        return any(
            item.name in ("DeletionPolicy", "UpdateReplacePolicy") and item.old in KEPT_BY and item.new not in KEPT_BY
            for item in self.properties
        )

    @property
    def lost(self) -> bool:
        """True if the present resource is lost, other than by being renewed."""
        renewed = "replaced" in self.verb and self.kind in RENEWED
        return self.verb not in ("orphaned", "changed", "added") and not renewed


@dataclass(frozen=True)
class StackDifference:
    """The differences of one stack; statements and rules are as CDK's library gives them."""

    stack: str
    changes: list[Change]
    # Parameters, mappings, conditions and outputs.
    declarations: list[Property]
    statements_added: list[dict[str, Any]]
    statements_removed: list[dict[str, Any]]
    managed_added: list[dict[str, Any]]
    managed_removed: list[dict[str, Any]]
    rules_added: list[dict[str, Any]]
    rules_removed: list[dict[str, Any]]


def compare(base: Side, head: Side) -> list[StackDifference]:
    """The stacks in which something differs, in their order. Raises KennelError where CDK's library cannot read one."""
    stacks = [*head.templates, *(stack for stack in base.templates if stack not in head.templates)]
    pairs = [
        {"stack": stack, "base": base.templates.get(stack, {}), "head": head.templates.get(stack, {})}
        for stack in stacks
    ]
    try:
        compared = LIBRARY.ask(pairs)
    except KennelError as error:
        raise KennelError(f"CDK's comparison failed: {error}") from None
    found = [_difference(item, base, head) for item in compared]
    return [item for item in found if any(vars(item)[part] for part in vars(item) if part != "stack")]


def name_of(template: Template, logical_id: str) -> str:
    """The path of a resource in the app, without the stack and the common end of all paths."""
    path = template.get("Resources", {}).get(logical_id, {}).get("Metadata", {}).get("aws:cdk:path", "")
    parts = [part for part in path.split("/")[1:] if part not in ("Resource", "Default")]
    return plain("/".join(parts) or HASH_OF_ID.sub("", logical_id))


def names_of(template: Template) -> dict[str, str]:
    """The path of each resource in the app, by logical id."""
    return {logical_id: name_of(template, logical_id) for logical_id in template.get("Resources", {})}


def _difference(item: dict[str, Any], base: Side, head: Side) -> StackDifference:
    stack = item["stack"]
    old, new = base.templates.get(stack, {}), head.templates.get(stack, {})
    renamed = dict(_renames(item["resources"], old, new))
    changes = []
    for found in item["resources"]:
        verb = VERBS.get(found["impact"])
        if verb is None or found["kind"] == NO_RESOURCE:
            continue
        properties = tuple(Property(**each) for each in found["properties"])
        if verb == "changed" and not properties:
            continue  # metadata, or an order of creation
        if verb == "changed" and any(item.name == "Condition" for item in properties):
            verb = "may be destroyed"
        logical_id = found["logical_id"]
        template = old if verb in ("destroyed", "orphaned") else new
        before, other = old.get("Resources", {}).get(logical_id, {}), renamed.get(logical_id)
        changes.append(
            Change(
                stack,
                logical_id,
                name_of(template, logical_id),
                found["kind"],
                verb,
                properties,
                name_of(new if template is old else old, other) if other else None,
                other,
                before.get("UpdateReplacePolicy") in KEPT_BY,
                found["kind_before"] if found["kind_before"] not in (None, found["kind"]) else None,
            )
        )
    declarations = [Property(each["name"], each["old"], each["new"], "") for each in item["declarations"]]
    parts: dict[str, Any] = {part: item[part] for part in StackDifference.__annotations__ if part in item}
    parts |= {"stack": stack, "changes": changes, "declarations": declarations}
    return StackDifference(**parts)


def _renames(found: list[dict[str, Any]], old: Template, new: Template) -> Iterator[tuple[str, str]]:
    """Pairs of one that goes and one that comes, of the same kind and with the same properties, both ways round.

    Where there are several alike, those are the same whose places in the app end alike.
    """
    gone: dict[str, list[str]] = {}
    come: dict[str, list[str]] = {}
    for item in found:
        verb, logical_id = VERBS.get(item["impact"]), item["logical_id"]
        if verb in ("destroyed", "orphaned"):
            gone.setdefault(_alike(old, logical_id), []).append(logical_id)
        elif verb == "added":
            come.setdefault(_alike(new, logical_id), []).append(logical_id)
    for alike, before in gone.items():
        after = come.get(alike, [])
        if len(before) != len(after):
            continue
        pairs = sorted(
            product(before, after), key=lambda pair: -_same_end(name_of(old, pair[0]), name_of(new, pair[1]))
        )
        paired = set[str]()
        for one, other in pairs:
            if not paired & {one, other}:
                paired |= {one, other}
                yield one, other
                yield other, one


def _same_end(place: str, other: str) -> int:
    """The number of equal parts of two paths, counted from the end."""
    parts = zip(reversed(place.split("/")), reversed(other.split("/")), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], parts))


def _alike(template: Template, logical_id: str) -> str:
    """Equal for what has the same kind and properties, whatever it and what it refers to are called."""
    resource = template["Resources"][logical_id]
    text = json.dumps([resource["Type"], resource.get("Properties", {})], sort_keys=True)
    text = EXPORT.sub("", text.replace(f'"{logical_id}"', '""'))
    return re.sub(r'("(?:Ref|Fn::GetAtt)": \[?)"[^"]+"', r"\1", text)


def under_new_names(base: Side, head: Side, differences: list[StackDifference]) -> Side:
    """The base with the logical ids that the head has for the same things: what else differs is then no name."""
    renamed = {
        change.logical_id: change.renamed_id
        for difference in differences
        for change in difference.changes
        # A logical id that CDK did not make may be a word that is everywhere.
        if change.renamed_id and change.verb in ("destroyed", "orphaned") and HASH_OF_ID.search(change.logical_id)
    }
    if not renamed:
        return base
    text = re.sub("|".join(map(re.escape, renamed)), lambda match: renamed[match[0]] or "", json.dumps(base.templates))
    # An export's name ends with a hash of what it is of.
    exports = {name[:-HASH]: name for name in EXPORT.findall(json.dumps(head.templates))}
    text = EXPORT.sub(lambda match: exports.get(match[0][:-HASH], match[0]), text)
    return replace(base, templates=json.loads(text))
