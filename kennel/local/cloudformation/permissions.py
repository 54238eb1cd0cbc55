"""CloudFormation acts in a role here too: what the role's policies do not allow, a deploy cannot do.

ministack makes resources without asking; the calls that each takes are in the table that the server is started with
(resource_calls.py).
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ministack.services import cloudformation, cloudwatch, cloudwatch_logs, ec2, iam
from ministack.services.cloudformation import _stacks as deployed
from ministack.services.cloudformation import changesets, handlers, stacks

from kennel.local.cloudformation import resource_calls
from kennel.local.cloudformation.dependent_calls import SELF, condition_keys, dependent_calls
from kennel.local.cloudformation.resource_calls import ResourceCalls
from kennel.local.iam.authorization import Record
from kennel.local.iam.service_roles import allowed, key_allows, make_service_role
from kennel.local.settings import ACCOUNT, REGION

Properties = dict[str, Any]
Types = dict[str, ResourceCalls]
# The condition keys of the calls that tag while something is created.
WHILE_CREATING = {"ec2:CreateTags": "ec2:CreateAction", "sagemaker:AddTags": "sagemaker:TaggingAction"}
# The property that names a resource, and the names that there are, of kinds that ministack would write over.
TAKEN: dict[str, tuple[str, Callable[[], Iterable[str]]]] = {
    "AWS::CloudWatch::Alarm": ("AlarmName", lambda: cloudwatch._alarms.keys()),
    "AWS::CloudWatch::Dashboard": ("DashboardName", lambda: cloudwatch._dashboards.keys()),
    "AWS::Logs::LogGroup": ("LogGroupName", lambda: cloudwatch_logs._log_groups.keys()),
}
SESSION = "AWSCloudFormation"
WITH_ROLE = ("CreateStack", "UpdateStack", "CreateChangeSet", "DeleteStack")
# Seconds; less than the five between two polls of the CDK CLI, so that a short change needs one poll.
PATIENCE_S = 4
# CDK's note of its own versions.
NO_CALLS = ("AWS::CDK::Metadata",)


class Refused(Exception):
    """The role of a deploy may not make a call."""


def install(record: Record, resource_types: Path) -> None:
    """Holds each stack to the role that it was last deployed with, as CloudFormation does.

    `resource_types` is the file with the calls that each type of resource takes.
    """
    types = resource_calls.load(resource_types)
    roles: dict[str, str] = {}
    for action in WITH_ROLE:
        handlers._ACTION_HANDLERS[action] = _remembering(handlers._ACTION_HANDLERS[action], roles)
    create, update, delete = stacks._provision_resource, stacks._update_resource, stacks._delete_resource

    def check(stack: str | None, kind: str, verb: str, name: str, properties: Properties) -> None:
        if role := roles.get(stack or ""):
            _check(record, types, role, kind, verb, name, properties)

    def checked_create(kind: str, logical_id: str, properties: Properties, stack: str) -> Any:
        _refuse_taken_name(kind, properties)
        # CloudFormation's own names begin with the stack's.
        check(stack, kind, "create", f"{stack}-{logical_id}", properties)
        return create(kind, logical_id, properties, stack)

    def checked_update(kind: str, name: str, old: Properties, new: Properties, stack: str, *rest: Any) -> Any:
        if old != new:
            check(stack, kind, "update", name, new)
        return update(kind, name, old, new, stack, *rest)

    def checked_delete(kind: str, name: str, properties: Properties, stack: str | None = None, *rest: Any) -> Any:
        check(stack, kind, "delete", name, properties)
        return delete(kind, name, properties, stack, *rest)

    cloudformation.handle_request = _patient(cloudformation.handle_request)
    for module in (handlers, changesets):
        module._deploy_stack_async = _keeping_exports(module._deploy_stack_async)
    stacks._provision_resource = checked_create
    stacks._update_resource = checked_update
    stacks._delete_resource = checked_delete


def _patient(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """Delays DescribeStacks of a changing stack until the change has ended, at most PATIENCE_S."""

    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: Properties) -> Any:
        asked = parse_qs(body.decode(errors="replace"))
        if asked.get("Action") == ["DescribeStacks"] and "StackName" in asked:
            until = time.monotonic() + PATIENCE_S
            while _is_changing(asked["StackName"][0]) and time.monotonic() < until:
                await asyncio.sleep(0.02)
        return await upstream(method, path, headers, body, query)

    return handle


def _is_changing(name: str) -> bool:
    status = str(deployed.get(_name(name), {}).get("StackStatus", ""))
    return status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"


def _refuse_taken_name(kind: str, properties: Properties) -> None:
    """CloudFormation creates nothing under a name that exists; ministack writes over some kinds."""
    if kind not in TAKEN:
        return
    key, names = TAKEN[kind]
    if (name := properties.get(key)) and name in names():
        raise Refused(f"Resource of type '{kind}' with identifier '{name}' already exists.")


def _keeping_exports(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """An update that takes an export away which another stack imports is rolled back, as CloudFormation does."""

    async def deploy(name: str, stack_id: str, template: Properties, *rest: Any, **more: Any) -> Any:
        update, previous = more.get("is_update"), more.get("previous_stack")
        reason = _export_in_use(name, template) if update and previous else ""
        if not reason:
            return await upstream(name, stack_id, template, *rest, **more)
        stack = deployed[name]
        stack.update(previous)
        for status, why in (("UPDATE_ROLLBACK_IN_PROGRESS", reason), ("UPDATE_ROLLBACK_COMPLETE", "")):
            stacks._add_event(stack_id, name, name, "AWS::CloudFormation::Stack", status, why, stack_id)
            stack.update(StackStatus=status, StackStatusReason=reason)
        return None

    return deploy


def _export_in_use(name: str, template: Properties) -> str:
    outputs = template.get("Outputs", {}).values()
    kept = {str((output.get("Export") or {}).get("Name")) for output in outputs}
    gone = [item["ExportName"] for item in deployed[name].get("Outputs", []) if item.get("ExportName")]
    for export in sorted(set(gone) - kept):
        for other, stack in deployed.items():
            in_place = stack.get("StackStatus", "").endswith("_COMPLETE") and "DELETE" not in stack["StackStatus"]
            if other != name and in_place and export in handlers._imported_export_names(stack, other):
                return f"Cannot delete export {export} as it is in use by {other}."
    return ""


def _name(name_or_arn: str) -> str:
    """The name of a stack, from its name or its ARN (…:stack/NAME/ID)."""
    return name_or_arn.partition(":stack/")[2].partition("/")[0] or name_or_arn


def _remembering(handler: Callable[..., Any], roles: dict[str, str]) -> Callable[..., Any]:
    def handle(params: Properties, *rest: Any) -> Any:
        name, role = (_first(params.get(key)) for key in ("StackName", "RoleARN"))
        if role:
            roles[_name(name)] = role
        return handler(params, *rest)

    return handle


def _check(record: Record, types: Types, role: str, kind: str, verb: str, name: str, properties: Properties) -> None:
    if kind in NO_CALLS:
        return
    if kind not in types:
        raise Refused(f"{kind}: the table of resource types does not say what it takes")
    principal = role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + f"/{SESSION}"
    for action, resource, context in _calls(types[kind], kind, verb, name, properties):
        may = allowed(role, action, resource, context) or _by_key(role, action, resource, context, properties)
        record.add(principal, action, resource, context, allowed=may)
        if not may:
            raise Refused(
                f"User: {principal} is not authorized to perform: {action} on resource: {resource} because no "
                f"identity-based policy allows the {action} action"
            )
        if action == "iam:CreateServiceLinkedRole":
            make_service_role(resource)


def _by_key(role: str, action: str, resource: str, context: dict[str, Any], properties: Properties) -> bool:
    """True if a key's own policy allows a call: the one that a template gives to a new key, else the present one."""
    if not action.startswith("kms:") or ":key/" not in resource:
        return False
    return key_allows(role, action, resource, context, properties.get("KeyPolicy"))


def _calls(
    takes: ResourceCalls, kind: str, verb: str, name: str, properties: Properties
) -> list[tuple[str, str, dict[str, Any]]]:
    """The calls that a resource takes: action, resource, condition keys."""
    resource = _arn(takes, kind, name, properties)
    context: dict[str, Any] = _tags_of(_tags(properties) or _tags_in_ec2(resource)) if takes.tagged else {}
    if kind == "AWS::IAM::Role":
        context["iam:permissionsboundary"] = properties.get("PermissionsBoundary")
    if kind == "AWS::IAM::Policy":
        role = iam._roles.get(_first(properties.get("Roles"))) or {}
        context["iam:permissionsboundary"] = role.get("PermissionsBoundary")
    calls = []
    if verb == "create":
        calls += [(action, resource, {}) for action in takes.calls["makes"]]
        calls += [
            (tag, resource, {WHILE_CREATING[tag].lower(): action.partition(":")[2]})
            for action in takes.calls["makes"]
            for tag in {*takes.calls["update"]} & {*WHILE_CREATING}
        ]
        for key, parent in takes.parents.items():
            for parent_id in _each_of(properties.get(key)):
                arn = f"arn:aws:ec2:{REGION}:{ACCOUNT}:{parent}/{parent_id}"
                tags = _tags_of(_tags_in_ec2(arn))
                calls += [(action, arn, tags) for action in (takes.calls["makes"] or takes.calls["create"])]
        calls += [(action, "*", context) for action in takes.calls["anywhere"]]
    calls += [(action, resource, context) for action in takes.calls[verb]]
    if verb != "delete":
        # CloudFormation reads what it has made: a template refers to its attributes.
        calls += [(action, resource, context) for action in takes.calls["read"]]
    calls += [
        (
            action,
            resource if on == SELF else on,
            {**context, **_tags_of(_tags_in_ec2(on)), **condition_keys(action, on)},
        )
        for action, on in dependent_calls(kind, verb, properties)
    ]
    if kind == "AWS::IAM::Role" and verb != "delete":
        attached = properties.get("ManagedPolicyArns", [])
        calls += [("iam:AttachRolePolicy", resource, {**context, "iam:policyarn": arn}) for arn in attached]
    if takes.passes_role and verb == "create":
        service = {"Lambda": "lambda", "SageMaker": "sagemaker", "Scheduler": "scheduler"}.get(
            kind.split("::")[1], "ec2"
        )
        calls.append(("iam:PassRole", _passed(properties), {"iam:passedtoservice": f"{service}.amazonaws.com"}))
    return calls


def _tags(properties: Properties) -> list[dict[str, str]]:
    """The tags that a template gives to a resource, in either of the ways that there are."""
    specifications = properties.get("TagSpecifications") or [{}]
    found: list[dict[str, str]] = properties.get("Tags") or specifications[0].get("Tags") or []
    return found


def _tags_in_ec2(arn: str) -> list[dict[str, str]]:
    """Those of the resource that another one belongs to, such as the route table of a route."""
    found: list[dict[str, str]] = ec2._tags.get(arn.rpartition("/")[2]) or []
    return found


def _tags_of(tags: list[dict[str, str]]) -> dict[str, Any]:
    return {f"aws:resourcetag/{item['Key']}".lower(): item["Value"] for item in tags}


def _each_of(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)] if value else []


def _passed(properties: Properties) -> str:
    """The role that a resource is given; an instance profile has its name."""
    names = ("Role", "RoleArn", "ExecutionRoleArn", "Roles")
    named = {**properties, **properties.get("Target", {})}  # a schedule has it there
    role = next(_first(named[name]) for name in names if name in named)
    return role if role.startswith("arn:") else f"arn:aws:iam::{ACCOUNT}:role/{role}"


def _arn(takes: ResourceCalls, kind: str, name: str, properties: Properties) -> str:
    """The ARN that a call is authorized on; `name` is used where the template gives none."""
    # A budget has its name one level down.
    named = _first({**properties, **properties.get("Budget", {})}.get(takes.name)) or name
    on = takes.on.format(p="aws", r=f"{REGION}:{ACCOUNT}", a=ACCOUNT)
    if named.startswith("arn:"):
        # The id of a scaling policy is an ARN of another service than the one whose calls change it.
        same_service = named.split(":")[2] == on.split(":")[2]
        return named if same_service else on + named.rpartition("/")[2]
    if kind.startswith("AWS::S3::"):
        named = named.lower()
    return on + named


def _first(value: Any) -> str:
    return str((value[0] if isinstance(value, list) else value) or "")
