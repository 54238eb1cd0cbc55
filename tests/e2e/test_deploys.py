"""A deploy can do what Kennel needs and nothing else: other stacks, asked for in the role of CloudFormation, fail."""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

from helpers.stage import Environment, project_copy
from kennel.local.settings import ACCOUNT, REGION

ROLE = f"arn:aws:iam::{ACCOUNT}:role/cdk-kdev-cfn-exec-role-{ACCOUNT}-{REGION}"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/kennel-dev-boundary-{REGION}"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def role(**properties: Any) -> dict[str, Any]:
    bounded = {"AssumeRolePolicyDocument": TRUST, "PermissionsBoundary": BOUNDARY, **properties}
    return {"Type": "AWS::IAM::Role", "Properties": {key: value for key, value in bounded.items() if value}}


def outcome(deployed: Environment, name: str, resource: dict[str, Any]) -> str:
    """The reason why a stack with one resource failed, or its status; the stack is removed."""
    client = deployed.client("cloudformation")
    template = {"Resources": {"It": resource}}
    client.create_stack(
        StackName=name, TemplateBody=json.dumps(template), RoleARN=ROLE, Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    with contextlib.suppress(Exception):  # the waiter's own words say less than the events
        client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    events = client.describe_stack_events(StackName=name)["StackEvents"]
    reasons = [event["ResourceStatusReason"] for event in events if event["ResourceStatus"] == "CREATE_FAILED"]
    status = client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    client.delete_stack(StackName=name)
    client.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return reasons[0] if reasons else str(status)


def test_bounded_role_is_created(deployed: Environment) -> None:
    assert outcome(deployed, "Kennel-dev-try", role()) == "CREATE_COMPLETE"


@pytest.mark.parametrize(
    ("name", "resource", "refused"),
    [
        ("Kennel-dev-try", role(PermissionsBoundary=None), "iam:CreateRole"),
        ("Kennel-dev-try", role(PermissionsBoundary=f"arn:aws:iam::{ACCOUNT}:policy/mine"), "iam:CreateRole"),
        ("Kennel-dev-try", role(RoleName="Administrator"), "iam:CreateRole"),
        (
            "Kennel-dev-try",
            role(ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"]),
            "iam:AttachRolePolicy",
        ),
        ("Kennel-dev-try", {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "of-others"}}, "s3:CreateBucket"),
        ("Kennel-dev-try", {"Type": "AWS::SQS::Queue"}, "does not say what it takes"),
        ("Other", role(), "iam:CreateRole"),
        ("Kennel-prod-Data", role(), "iam:CreateRole"),
        ("Kennel-dev-try", role(RoleName="Kennel-prod-Api-Role"), "iam:CreateRole"),
        (
            "Kennel-dev-try",
            role(PermissionsBoundary=BOUNDARY.replace("kennel-dev-", "kennel-prod-")),
            "iam:CreateRole",
        ),
        (
            "Kennel-dev-try",
            {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/kennel/prod/audit"}},
            "logs:CreateLogGroup",
        ),
        (
            "Kennel-dev-try",
            {"Type": "AWS::EC2::Route", "Properties": {"RouteTableId": "rtb-of-others", "GatewayId": "igw-1"}},
            "ec2:CreateRoute",
        ),
        (
            "Kennel-dev-try",
            {"Type": "AWS::EC2::Subnet", "Properties": {"VpcId": "vpc-of-others", "CidrBlock": "10.0.0.0/24"}},
            "ec2:CreateSubnet",
        ),
        (
            "Kennel-dev-try",
            {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/audit"}},
            "logs:CreateLogGroup",
        ),
    ],
)
def test_out_of_scope_resource_is_denied(
    deployed: Environment, name: str, resource: dict[str, Any], refused: str
) -> None:
    assert refused in outcome(deployed, name, resource)


def test_boundary_limits_role_with_full_access(
    deployed: Environment,
) -> None:
    iam = deployed.client("iam")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    made = iam.create_role(
        RoleName="Kennel-dev-bounded", AssumeRolePolicyDocument=json.dumps(TRUST), PermissionsBoundary=BOUNDARY
    )["Role"]["Arn"]
    iam.put_role_policy(RoleName="Kennel-dev-bounded", PolicyName="all", PolicyDocument=json.dumps(everything))
    try:
        assert deployed.as_role(made, "iam", "create_user", UserName="me") == "AccessDenied"
        assert deployed.as_role(made, "ssm", "get_parameter", Name="/kennel/dev/model") == "Allowed"
    finally:
        iam.delete_role_policy(RoleName="Kennel-dev-bounded", PolicyName="all")
        iam.delete_role(RoleName="Kennel-dev-bounded")


def test_repeated_bootstrap_changes_nothing(deployed: Environment, tmp_path: Path) -> None:
    """Beside another cdk command, which reads the project's cloud assembly."""
    project = project_copy(tmp_path / "project")
    (project / "cdk.out").mkdir()
    (project / "cdk.out" / f"read.{os.getpid()}.1.lock").write_text(str(os.getpid()))
    iam = boto3.client("iam")
    arn = f"arn:aws:iam::{ACCOUNT}:policy/kennel-dev-execution-{REGION}-1"
    before = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    output = deployed.run(sys.executable, "-m", "kennel", "bootstrap", cwd=project).stdout
    assert "kennel-dev-execution" in output
    assert iam.list_policy_versions(PolicyArn=arn)["Versions"] == before


def test_name_that_exists_is_refused(deployed: Environment) -> None:
    deployed.client("logs").create_log_group(logGroupName="/kennel/dev/kept")
    group = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/kennel/dev/kept"}}
    try:
        assert "already exists" in outcome(deployed, "Kennel-dev-try", group)
    finally:
        deployed.client("logs").delete_log_group(logGroupName="/kennel/dev/kept")


def test_kept_log_group_is_taken_back_by_change_set(deployed: Environment) -> None:
    """As `make deploy` does after a stage that keeps its logs was destroyed: --import-existing-resources."""
    client, logs = deployed.client("cloudformation"), deployed.client("logs")
    logs.create_log_group(logGroupName="/kennel/dev/kept")
    group = {
        "Type": "AWS::Logs::LogGroup",
        "Properties": {"LogGroupName": "/kennel/dev/kept", "RetentionInDays": 30},
        "DeletionPolicy": "RetainExceptOnCreate",
    }
    try:
        client.create_change_set(
            StackName="Kennel-dev-try",
            ChangeSetName="back",
            ChangeSetType="CREATE",
            TemplateBody=json.dumps({"Resources": {"It": group}}),
            RoleARN=ROLE,
            ImportExistingResources=True,
        )
        client.get_waiter("change_set_create_complete").wait(StackName="Kennel-dev-try", ChangeSetName="back")
        client.execute_change_set(StackName="Kennel-dev-try", ChangeSetName="back")
        client.get_waiter("stack_create_complete").wait(StackName="Kennel-dev-try", WaiterConfig={"Delay": 1})
        (resource,) = client.describe_stack_resources(StackName="Kennel-dev-try")["StackResources"]
        assert resource["PhysicalResourceId"] == "/kennel/dev/kept"
    finally:
        client.delete_stack(StackName="Kennel-dev-try")
        client.get_waiter("stack_delete_complete").wait(StackName="Kennel-dev-try", WaiterConfig={"Delay": 1})
        logs.delete_log_group(logGroupName="/kennel/dev/kept")


def test_export_in_use_is_kept(deployed: Environment) -> None:
    client = deployed.client("cloudformation")
    parameter = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "x"}}
    export = {"Value": "x", "Export": {"Name": "Kennel-dev-try-x"}}
    importing = {**parameter, "Properties": {"Type": "String", "Value": {"Fn::ImportValue": "Kennel-dev-try-x"}}}
    templates = {
        "Kennel-dev-try-one": {"Resources": {"It": parameter}, "Outputs": {"X": export}},
        "Kennel-dev-try-two": {"Resources": {"It": importing}},
    }
    for name, template in templates.items():
        client.create_stack(StackName=name, TemplateBody=json.dumps(template))
        client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    try:
        without = {"Resources": {"It": {**parameter, "Properties": {"Type": "String", "Value": "y"}}}}
        client.update_stack(StackName="Kennel-dev-try-one", TemplateBody=json.dumps(without))
        deadline = time.monotonic() + 60
        while (status := describe(client, "Kennel-dev-try-one")["StackStatus"]) != "UPDATE_ROLLBACK_COMPLETE":
            assert status.startswith("UPDATE_"), status
            assert time.monotonic() < deadline
            time.sleep(0.1)
        reasons = [
            event.get("ResourceStatusReason", "")
            for event in client.describe_stack_events(StackName="Kennel-dev-try-one")["StackEvents"]
        ]
        assert any("Kennel-dev-try-x as it is in use by Kennel-dev-try-two" in reason for reason in reasons)
        assert describe(client, "Kennel-dev-try-one")["Outputs"][0]["ExportName"] == "Kennel-dev-try-x"
    finally:
        for name in reversed(templates):
            client.delete_stack(StackName=name)
            client.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def describe(client: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.describe_stacks(StackName=name)["Stacks"][0]
    return found
