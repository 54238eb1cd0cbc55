"""Why a deploy failed: the first cause, not what was cancelled for it."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from kennel.operations import failures

STACK_ID = "arn:aws:cloudformation:us-east-1:111122223333:stack/Kennel-dev-Training/1"
ROLE = "cdk-kdev-cfn-exec-role-111122223333-us-east-1"
REFUSED = (
    f"User: arn:aws:sts::111122223333:assumed-role/{ROLE}/AWSCloudFormation is not authorized to perform: "
    "ec2:DescribeNetworkAcls on resource: arn:aws:ec2:us-east-1:111122223333:network-acl/* because no identity-based "
    "policy allows the ec2:DescribeNetworkAcls action (Service: Ec2, Status Code: 403)"
)


def event(logical_id: str, status: str, reason: str = "", kind: str = "AWS::EC2::VPC") -> dict[str, Any]:
    of_stack = logical_id == "Kennel-dev-Training"
    return {
        "StackId": STACK_ID,
        "LogicalResourceId": logical_id,
        "PhysicalResourceId": STACK_ID if of_stack else f"{logical_id}-id",
        "ResourceType": "AWS::CloudFormation::Stack" if of_stack else kind,
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


class Stage:
    """A stage whose Training stack has failed, by its events, oldest first."""

    stage = "dev"

    def __init__(self, *events: dict[str, Any], status: str = "ROLLBACK_COMPLETE") -> None:
        self._events, self._status = events, status

    def client(self, _: str) -> "Stage":
        return self

    def describe_stacks(self, StackName: str) -> Any:
        if not StackName.endswith("Training"):
            raise ClientError({"Error": {"Message": f"Stack {StackName} does not exist"}}, "DescribeStacks")
        return {"Stacks": [{"StackStatus": self._status}]}

    def get_paginator(self, _: str) -> "Stage":
        return self

    def paginate(self, **_: str) -> Any:
        return [{"StackEvents": list(reversed(self._events))}]


def explained(*events: dict[str, Any], **status: str) -> failures.Explained:
    stage: Any = Stage(*events, **status)
    return failures.explain(stage)


def test_first_cause_of_last_operation_is_named() -> None:
    found = explained(
        event("Kennel-dev-Training", "CREATE_IN_PROGRESS"),
        event("Old", "CREATE_FAILED", "of an earlier deploy"),
        event("Kennel-dev-Training", "ROLLBACK_COMPLETE"),
        event("Kennel-dev-Training", "UPDATE_IN_PROGRESS"),
        event("Role", "CREATE_FAILED", "Resource creation cancelled"),
        event("Vpc", "CREATE_FAILED", REFUSED),
        event("Kennel-dev-Training", "UPDATE_ROLLBACK_IN_PROGRESS", "The following resource(s) failed"),
        event("Log", "DELETE_SKIPPED", kind="AWS::Logs::LogGroup"),
    )
    (failure,) = found.failures
    assert (failure.logical_id, failure.kind) == ("Vpc", "AWS::EC2::VPC")
    assert failure.statement == {
        "Effect": "Allow",
        "Action": "ec2:DescribeNetworkAcls",
        "Resource": "arn:aws:ec2:us-east-1:111122223333:network-acl/*",
    }
    text = failures.text(failure)
    assert f"role {ROLE}, which this statement would allow it" in text
    assert "add ec2:DescribeNetworkAcls to AWS::EC2::VPC" in text
    assert any("AWS::Logs::LogGroup Log-id, DELETE_SKIPPED" in item for item in found.left)


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("The account-level service limit 'ml.m5.large for endpoint usage' is 0 Instances", "kennel preflight names"),
        ("/kennel/prod/drift already exists in stack", "kennel preflight names what exists"),
        ("The primary container did not pass the ping health check", "kennel logs endpoint"),
        ("Cannot delete export x as it is in use by y", "another stack needs what goes"),
        ("something new", "look AWS::EC2::VPC up in AWS's documentation"),
    ],
)
def test_known_reason_has_remedy(reason: str, remedy: str) -> None:
    (failure,) = explained(
        event("Kennel-dev-Training", "CREATE_IN_PROGRESS"), event("It", "CREATE_FAILED", reason)
    ).failures
    assert remedy in failures.text(failure)


def test_stack_that_works_is_not_explained() -> None:
    assert explained(event("Kennel-dev-Training", "CREATE_COMPLETE"), status="CREATE_COMPLETE").failures == []


def test_update_that_cannot_be_rolled_back_is_left_behind() -> None:
    found = explained(event("Kennel-dev-Training", "UPDATE_IN_PROGRESS"), status="UPDATE_ROLLBACK_FAILED")
    assert "aws cloudformation continue-update-rollback --stack-name Kennel-dev-Training" in found.left[0]
