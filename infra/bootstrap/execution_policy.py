"""The permissions of deploys: no administrator, nothing of others, no role beyond the boundary.

`kennel bootstrap` makes the policies of this module, for each stage its own, and has the execution role of the stage's
CDK bootstrap use them. resource_types.toml says for each resource type which calls creating, changing and deleting it
takes, and on what; the embedded AWS holds deploys to it. statements.toml has the rest, and the boundary.

A stage's resources are known by their names; where AWS offers no name, by the tag kennel:stage, which can only be set
while a resource is created; the key by its own policy. What none of these can tell apart is in RESIDUAL.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.names import STAGE_TAG

Statement = dict[str, Any]

# The size limit of a managed policy, without white space.
MAX_CHARACTERS = 6144
MAX_QUALIFIER = 10
# Where CDK looks for the qualifier of an app's bootstrap.
QUALIFIER = "@aws-cdk/core:bootstrapQualifier"


@dataclass(frozen=True)
class ResourceType:
    """The calls that one resource type takes; resource_types.toml says what each field is.

    Calls are as IAM has them, `service:Call`; `beside` has them by ARN, `parents` the kinds of ARNs by property.
    """

    on: str
    scope: tuple[str, ...]
    create: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    update: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    anywhere: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    beside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    name: str = ""
    passes_role: bool = False
    tagged: bool = False
    parents: dict[str, str] = field(default_factory=dict)
    by_key_policy: bool = False


def _calls(text: str) -> tuple[str, ...]:
    """The calls in `service: Call Call`, for one service after the other."""
    found, service = [], ""
    for word in text.split():
        if word.endswith(":"):
            service = word
        else:
            found.append(service + word)
    return tuple(found)


def _resource_type(row: dict[str, Any]) -> ResourceType:
    calls = {name: _calls(row[name]) for name in CALLS if name in row}
    beside = {arn: _calls(text) for arn, text in row.get("beside", {}).items()}
    return ResourceType(**{**row, **calls, "scope": tuple(row["scope"]), "beside": beside})


HERE = Path(__file__).parent
EC2 = "arn:{p}:ec2:{r}:"
CALLS = ("create", "delete", "update", "read", "anywhere", "makes")
TYPES = {kind: _resource_type(row) for kind, row in tomllib.loads((HERE / "resource_types.toml").read_text()).items()}
STATEMENTS = tomllib.loads((HERE / "statements.toml").read_text())

# What the stage's key lets CloudFormation do with it, and with its alias.
KEY_OF_DEPLOYS = tuple(
    sorted(
        call
        for kind in ("AWS::KMS::Key", "AWS::KMS::Alias")
        for call in (*TYPES[kind].create, *TYPES[kind].update, *TYPES[kind].delete, *TYPES[kind].read)
    )
)
# A stage has them only if it asks for them: AWS can tell none of an account's distributions from another.
CLOUDFRONT = ("AWS::CloudFront::Distribution", "AWS::CloudFront::OriginAccessControl")
# The tag of a stage's resources, and the condition key of the calls that tag while something is created.
WHILE_CREATING = {"ec2:CreateTags": "ec2:CreateAction", "sagemaker:AddTags": "sagemaker:TaggingAction"}
# What a deploy can do to resources of others, by action: AWS authorizes these on any resource, or on ids that say
# nothing. Kept by a test of each mutating call; the account of its own that docs/delivery.md recommends closes it.
RESIDUAL = {
    **dict.fromkeys(
        _calls("logs: DeleteResourcePolicy PutResourcePolicy DeleteQueryDefinition PutQueryDefinition"),
        "the reference has no resource level",
    ),
    "cloudwatch:PutCompositeAlarm": "CloudWatch's permissions reference: on every resource alone",
    **dict.fromkeys(
        _calls(
            "application-autoscaling: DeleteScalingPolicy DeleteScheduledAction DeregisterScalableTarget"
            " PutScalingPolicy PutScheduledAction RegisterScalableTarget TagResource"
        ),
        "targets have ids that say nothing, and CloudFormation gives them no tags; of SageMaker and Lambda alone",
    ),
    "cloudwatch:DeleteAlarms": "the alarms of target tracking, which AWS names",
    "cloudwatch:PutMetricAlarm": "the alarms of target tracking, which AWS names",
    "sagemaker:CreateEndpoint": "an endpoint of the stage may use any config",
    "sagemaker:UpdateEndpoint": "an endpoint of the stage may use any config",
}


def qualifier(stage: str, named: str | None = None) -> str:
    """The qualifier of the stage's CDK bootstrap: at most ten letters and digits, by CDK's rule.

    `named` is that of a team's own bootstrap, the context value QUALIFIER, which then serves all stages.
    """
    short = stage if len(stage) < MAX_QUALIFIER else hashlib.sha256(stage.encode()).hexdigest()[: MAX_QUALIFIER - 1]
    return named or f"k{short}"


def boundary_name(stage: str, region: str) -> str:
    """The name of the policy that is the boundary of every role of a stage."""
    return f"kennel-{stage}-boundary-{region}"


CONDITIONAL = {"iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"}


@dataclass(frozen=True)
class Place:
    """The account, region and bootstrap of a stage, and whether it has a page behind CloudFront."""

    stage: str
    region: str
    account: str
    partition: str = "aws"
    cloudfront: bool = False
    bootstrap: str | None = None


def execution_policies(place: Place) -> list[dict[str, Any]]:
    """The documents of CloudFormation's policies for a stage, as many as their size takes."""
    types = [kind for name, kind in TYPES.items() if place.cloudfront or name not in CLOUDFRONT]
    documents: list[list[Statement]] = [[]]
    for statement in _filled([*_by_pattern(types), *STATEMENTS["deploy"]], place):
        if _size([*documents[-1], statement]) > MAX_CHARACTERS:
            documents.append([])
        documents[-1].append(statement)
    return [_document(statements) for statements in documents]


def boundary_policy(place: Place) -> dict[str, Any]:
    """The document of the boundary of every role of a stage."""
    return _document(_filled(STATEMENTS["boundary"], place))


def _by_pattern(types: Sequence[ResourceType]) -> Iterator[Statement]:
    """Statements by pattern, for what only a tag marks as the stage's, and for what has no resource level."""
    plain: dict[tuple[str, ...], set[str]] = {}
    marked: dict[str, set[str]] = {}
    tagging: dict[str, set[str]] = {}
    for kind in types:
        patterns = tuple(kind.on + scope for scope in kind.scope)
        calls = {*kind.create, *kind.update, *kind.delete}
        plain.setdefault(patterns, set()).update(kind.makes, kind.read if not kind.by_key_policy else ())
        if kind.tagged:
            # EC2's calls name several kinds of resources at once: a subnet and its VPC.
            everything = EC2 + "*" if kind.on.startswith(EC2) else patterns[0]
            marked.setdefault(everything, set()).update(calls, kind.makes if kind.on.startswith(EC2) else ())
            for call in calls & {*WHILE_CREATING}:
                tagging.setdefault(call, set()).update(kind.makes)
        elif not kind.by_key_policy:
            plain[patterns].update(calls)
        for other, others in kind.beside.items():
            plain.setdefault((other,), set()).update(others)
    # An Auto Scaling group starts instances in the stage's own network, from its own launch template.
    marked[EC2 + "*"].add("ec2:RunInstances")
    for resources, actions in plain.items():
        if wanted := sorted(actions - CONDITIONAL):
            yield {"Action": wanted, "Resource": list(resources)}
    for pattern, actions in marked.items():
        condition = {"StringEquals": {f"aws:ResourceTag/{STAGE_TAG}": "{s}"}}
        yield {"Action": sorted(actions), "Resource": [pattern], "Condition": condition}
    for call, makes in tagging.items():
        names = sorted(name.partition(":")[2] for name in makes)
        condition = {"StringEquals": {WHILE_CREATING[call]: names}}
        yield {"Action": [call], "Resource": [f"arn:{{p}}:{call.partition(':')[0]}:{{r}}:*"], "Condition": condition}
    yield {"Action": sorted({call for kind in types for call in kind.anywhere}), "Resource": ["*"]}


def _filled(statements: list[Statement], place: Place) -> list[Statement]:
    text = json.dumps(statements)
    for name, value in (
        ("{p}", place.partition),
        ("{r}", f"{place.region}:{place.account}"),
        ("{a}", place.account),
        ("{region}", place.region),
        ("{s}", place.stage),
        ("{q}", qualifier(place.stage, place.bootstrap)),
    ):
        text = text.replace(name, value)
    return [{"Effect": "Allow", **statement} for statement in json.loads(text)]


def _document(statements: list[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _size(statements: list[Statement]) -> int:
    return len(json.dumps(_document(statements), separators=(",", ":")))
