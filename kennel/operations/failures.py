"""Root causes of failed deploys: the first cause in the events of the stacks, its remedy, and what is left."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from infra import names
from kennel.operations.teardown import ORDER
from kennel.stage.deployed import DeployedStage

# What CloudFormation says of resources that failed only because another one had.
CANCELLED = ("Resource creation cancelled", "Resource update cancelled", "Resource deletion cancelled")
# IAM's message in the words of all services (IAM's user guide, "Troubleshoot access denied error messages").
REFUSED = re.compile(
    r"(?:User: (?P<principal>\S+) is )?not authorized to perform:? (?P<action>[a-z0-9-]+:\w+)"
    r"(?: on (?:resource: )?(?P<resource>arn:\S+|\*))?"
)
BEGUN = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")


@dataclass(frozen=True)
class Failure:
    """A resource that failed first: where, why in AWS's words, and what to do about it."""

    stack: str
    logical_id: str
    kind: str
    reason: str
    remedy: str
    # For a call that was refused: who made it, and the statement that would allow it.
    principal: str = ""
    statement: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Explained:
    """The causes, one for each stack that failed, and what the deploys left behind."""

    failures: list[Failure]
    left: list[str]


def explain(deployment: DeployedStage) -> Explained:
    """Reads the events of the stage's stacks; deleted ones are not there any more."""
    client = deployment.client("cloudformation")
    failures, left = [], []
    for part in reversed(ORDER):
        name = names.stack(deployment.stage, part)
        try:
            status = str(client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
            events = _last_operation(client, name)
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            continue
        if status.endswith(("FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_IN_PROGRESS")):
            failures += [_failure(name, event) for event in _first_failed(events)]
            left += _left(name, status, events)
    return Explained(failures, left)


def _last_operation(client: Any, name: str) -> list[dict[str, Any]]:
    """The events of the stack's last operation, oldest first."""
    found: list[dict[str, Any]] = []
    for page in client.get_paginator("describe_stack_events").paginate(StackName=name):
        for event in page["StackEvents"]:  # newest first
            found.append(event)
            of_stack = event["PhysicalResourceId"] == event["StackId"]
            if of_stack and event["ResourceStatus"] in BEGUN:
                return found[::-1]
    return found[::-1]


def _first_failed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for event in events:
        of_stack = event.get("PhysicalResourceId") == event["StackId"]
        reason = event.get("ResourceStatusReason", "")
        if event["ResourceStatus"].endswith("_FAILED") and not of_stack and not reason.startswith(CANCELLED):
            return [event]
    # For a stack that failed as a whole, as by an export in use.
    return [event for event in events if event["ResourceStatus"].endswith("FAILED")][:1]


def _failure(stack: str, event: dict[str, Any]) -> Failure:
    reason, kind = event.get("ResourceStatusReason", "no reason given"), event["ResourceType"]
    refused = REFUSED.search(reason)
    if refused:
        resource = (refused["resource"] or "*").rstrip(".,")
        statement = {"Effect": "Allow", "Action": refused["action"], "Resource": resource}
        remedy = (
            f"add {refused['action']} to {kind} in infra/bootstrap/resource_types.toml, then make "
            "bootstrap. Please report it, too: the table is written from AWS's texts"
        )
        return Failure(stack, event["LogicalResourceId"], kind, reason, remedy, refused["principal"] or "", statement)
    return Failure(stack, event["LogicalResourceId"], kind, reason, _remedy(kind, reason))


def _remedy(kind: str, reason: str) -> str:
    for pattern, remedy in REMEDIES:
        if re.search(pattern, reason, re.IGNORECASE):
            return remedy
    return f"look {kind} up in AWS's documentation by this message"


REMEDIES = (
    (
        r"service limit|ResourceLimitExceeded|limit.{0,20}exceeded|VcpuLimit",
        "kennel preflight names the quota and the command that raises it",
    ),
    (
        r"UnreservedConcurrentExecution",
        "kennel preflight deploy: ask for a larger quota, or function.reserved_concurrency null",
    ),
    (
        r"already exist",
        "kennel preflight names what exists and how to remove it; make takes back what a destroyed stage kept",
    ),
    (r"rolled back|alarm", "the new model or its instances failed: kennel logs endpoint, docs/runbooks.md#rolled-back"),
    (r"ping health check|did not pass", "the container did not start: kennel logs endpoint"),
    (r"in use|cannot be deleted as it is", "another stack needs what goes: deploy that stack first, without it"),
    (r"not stabilize|timed? ?out", "it took too long: kennel logs endpoint, then deploy again"),
)


def _left(stack: str, status: str, events: list[dict[str, Any]]) -> list[str]:
    found = []
    if status == "ROLLBACK_COMPLETE":
        found.append(f"{stack} in ROLLBACK_COMPLETE: it is empty, and the next deploy deletes it first")
    if status == "UPDATE_ROLLBACK_FAILED":
        found.append(
            f"{stack} in UPDATE_ROLLBACK_FAILED: aws cloudformation continue-update-rollback --stack-name {stack}"
        )
    for event in events:
        if event["ResourceStatus"] in ("DELETE_SKIPPED", "DELETE_FAILED"):
            found.append(f"{event['ResourceType']} {event['PhysicalResourceId']}, {event['ResourceStatus']}")
    return found


def text(failure: Failure) -> str:
    """A failure in a few lines."""
    lines = [f"{failure.stack}: {failure.logical_id} ({failure.kind})", f"  {failure.reason}"]
    if failure.statement:
        role = failure.principal.split("/")[1] if "/" in failure.principal else failure.principal
        lines += [
            f"  role {role or 'unknown'}, which this statement would allow it:",
            f"  {json.dumps(failure.statement)}",
        ]
    return "\n".join([*lines, f"  → {failure.remedy}"])
