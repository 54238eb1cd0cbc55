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

ROLE = f"arn:aws:iam::{ACCOUNT}:role/cdk-kennel-cfn-exec-role-{ACCOUNT}-{REGION}"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/kennel-boundary-{REGION}"
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
    assert outcome(deployed, "Kennel-try", role()) == "CREATE_COMPLETE"


@pytest.mark.parametrize(
    ("name", "resource", "refused"),
    [
        ("Kennel-try", role(PermissionsBoundary=None), "iam:CreateRole"),
        ("Kennel-try", role(PermissionsBoundary=f"arn:aws:iam::{ACCOUNT}:policy/mine"), "iam:CreateRole"),
        ("Kennel-try", role(RoleName="Administrator"), "iam:CreateRole"),
        (
            "Kennel-try",
            role(ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"]),
            "iam:AttachRolePolicy",
        ),
        ("Kennel-try", {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "somebody-elses"}}, "s3:CreateBucket"),
        ("Kennel-try", {"Type": "AWS::SQS::Queue"}, "does not say what it takes"),
        ("Other", role(), "iam:CreateRole"),
        (
            "Kennel-try",
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
        RoleName="Kennel-bounded", AssumeRolePolicyDocument=json.dumps(TRUST), PermissionsBoundary=BOUNDARY
    )["Role"]["Arn"]
    iam.put_role_policy(RoleName="Kennel-bounded", PolicyName="all", PolicyDocument=json.dumps(everything))
    try:
        assert deployed.as_role(made, "iam", "create_user", UserName="me") == "AccessDenied"
        assert deployed.as_role(made, "ssm", "get_parameter", Name="/kennel/dev/model") == "Allowed"
    finally:
        iam.delete_role_policy(RoleName="Kennel-bounded", PolicyName="all")
        iam.delete_role(RoleName="Kennel-bounded")


def test_repeated_bootstrap_changes_nothing(deployed: Environment, tmp_path: Path) -> None:
    """Beside another cdk command, which reads the project's cloud assembly."""
    project = project_copy(tmp_path / "project")
    (project / "cdk.out").mkdir()
    (project / "cdk.out" / f"read.{os.getpid()}.1.lock").write_text(str(os.getpid()))
    iam = boto3.client("iam")
    arn = f"arn:aws:iam::{ACCOUNT}:policy/kennel-execution-{REGION}-1"
    before = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    output = deployed.run(sys.executable, "-m", "kennel", "bootstrap", cwd=project).stdout
    assert "kennel-execution" in output
    assert iam.list_policy_versions(PolicyArn=arn)["Versions"] == before


def test_name_that_exists_is_refused(deployed: Environment) -> None:
    deployed.client("logs").create_log_group(logGroupName="/kennel/kept")
    group = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/kennel/kept"}}
    try:
        assert "already exists" in outcome(deployed, "Kennel-try", group)
    finally:
        deployed.client("logs").delete_log_group(logGroupName="/kennel/kept")


def test_kept_log_group_is_taken_back_by_change_set(deployed: Environment) -> None:
    """As `make deploy` does after a stage that keeps its logs was destroyed: --import-existing-resources."""
    client, logs = deployed.client("cloudformation"), deployed.client("logs")
    logs.create_log_group(logGroupName="/kennel/kept")
    group = {
        "Type": "AWS::Logs::LogGroup",
        "Properties": {"LogGroupName": "/kennel/kept", "RetentionInDays": 30},
        "DeletionPolicy": "RetainExceptOnCreate",
    }
    try:
        client.create_change_set(
            StackName="Kennel-try",
            ChangeSetName="back",
            ChangeSetType="CREATE",
            TemplateBody=json.dumps({"Resources": {"It": group}}),
            RoleARN=ROLE,
            ImportExistingResources=True,
        )
        client.get_waiter("change_set_create_complete").wait(StackName="Kennel-try", ChangeSetName="back")
        client.execute_change_set(StackName="Kennel-try", ChangeSetName="back")
        client.get_waiter("stack_create_complete").wait(StackName="Kennel-try", WaiterConfig={"Delay": 1})
        (resource,) = client.describe_stack_resources(StackName="Kennel-try")["StackResources"]
        assert resource["PhysicalResourceId"] == "/kennel/kept"
    finally:
        client.delete_stack(StackName="Kennel-try")
        client.get_waiter("stack_delete_complete").wait(StackName="Kennel-try", WaiterConfig={"Delay": 1})
        logs.delete_log_group(logGroupName="/kennel/kept")


def test_export_in_use_is_kept(deployed: Environment) -> None:
    client = deployed.client("cloudformation")
    parameter = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "x"}}
    export = {"Value": "x", "Export": {"Name": "Kennel-try-x"}}
    importing = {**parameter, "Properties": {"Type": "String", "Value": {"Fn::ImportValue": "Kennel-try-x"}}}
    templates = {
        "Kennel-try-one": {"Resources": {"It": parameter}, "Outputs": {"X": export}},
        "Kennel-try-two": {"Resources": {"It": importing}},
    }
    for name, template in templates.items():
        client.create_stack(StackName=name, TemplateBody=json.dumps(template))
        client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    try:
        without = {"Resources": {"It": {**parameter, "Properties": {"Type": "String", "Value": "y"}}}}
        client.update_stack(StackName="Kennel-try-one", TemplateBody=json.dumps(without))
        deadline = time.monotonic() + 60
        while (status := describe(client, "Kennel-try-one")["StackStatus"]) != "UPDATE_ROLLBACK_COMPLETE":
            assert status.startswith("UPDATE_"), status
            assert time.monotonic() < deadline
            time.sleep(0.1)
        reasons = [
            event.get("ResourceStatusReason", "")
            for event in client.describe_stack_events(StackName="Kennel-try-one")["StackEvents"]
        ]
        assert any("Kennel-try-x as it is in use by Kennel-try-two" in reason for reason in reasons)
        assert describe(client, "Kennel-try-one")["Outputs"][0]["ExportName"] == "Kennel-try-x"
    finally:
        for name in reversed(templates):
            client.delete_stack(StackName=name)
            client.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def describe(client: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.describe_stacks(StackName=name)["Stacks"][0]
    return found
