"""What a deploy is asked for beyond a resource's own calls: each rule refuses a role that lacks its grant."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ministack.services import ec2, iam, kms
from moto.sagemaker.models import sagemaker_backends

from infra.bootstrap.execution_policy import KEY_OF_DEPLOYS, Place, boundary_name, execution_policies
from kennel.local.cloudformation import permissions, resource_calls
from kennel.local.cloudformation.dependent_calls import RULES, Rule
from kennel.local.iam.authorization import Record
from kennel.local.iam.service_roles import GROUPS_ROLE, SCALING_ROLES
from kennel.local.settings import ACCOUNT, REGION
from kennel.stage.embedded_aws import TABLES

TYPES = resource_calls.load(TABLES.resource_types)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/deployer"
SCALING_ROLE = (
    f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com"
    "/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)
IMAGE = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
TAGS = {"Tags": [{"Key": "kennel:stage", "Value": "dev"}]}
OWN = ("lt-1", "sg-1", "subnet-1")
PROPERTIES: dict[str, dict[str, Any]] = {
    "AWS::Logs::LogGroup": {"LogGroupName": "/kennel/dev/x"},
    "AWS::Lambda::Function": {"FunctionName": "Kennel-dev-x", "Role": f"arn:aws:iam::{ACCOUNT}:role/Kennel-dev-x"},
    "AWS::KMS::Key": {},
    "AWS::IAM::Role": {
        "RoleName": "Kennel-dev-x",
        "PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/{boundary_name('dev', REGION)}",
    },
    "AWS::SNS::Topic": {"TopicName": "Kennel-dev-alarms"},
    "AWS::CloudWatch::Alarm": {"AlarmName": "kennel-dev-x"},
    "AWS::Events::Rule": {"Name": "Kennel-dev-x"},
    "AWS::SageMaker::Model": {"ExecutionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/Kennel-dev-x"},
    "AWS::SageMaker::EndpointConfig": {},
    "AWS::SageMaker::NotebookInstance": {
        "NotebookInstanceName": "kennel-dev-notebook",
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/Kennel-dev-x",
    },
    "AWS::SageMaker::Endpoint": {"EndpointName": "kennel-dev-scaled", "EndpointConfigName": "ScaledConfig-1"},
    "AWS::AutoScaling::AutoScalingGroup": {
        "AutoScalingGroupName": "Kennel-dev-ec2-training",
        "LaunchTemplate": {"LaunchTemplateId": "lt-1"},
        "VPCZoneIdentifier": ["subnet-1"],
    },
    "AWS::ApplicationAutoScaling::ScalableTarget": {
        "ResourceId": "endpoint/kennel-dev-scaled/variant/primary",
        "RoleARN": SCALING_ROLE,
    },
    "AWS::ApplicationAutoScaling::ScalingPolicy": {"ResourceId": "endpoint/kennel-dev-scaled/variant/primary"},
}


@pytest.fixture(autouse=True)
def account() -> Iterator[None]:
    """An account with the role of deploys, and a launch template with a public image."""
    data = {"ImageId": IMAGE, "NetworkInterfaces": [{"Groups": ["sg-1"]}]}
    ec2._launch_templates["lt-1"] = {"Versions": [{"LaunchTemplateData": data}]}
    for resource in OWN:
        ec2._tags[resource] = TAGS["Tags"]
    config = SimpleNamespace(kms_key_id=f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1")
    sagemaker_backends[ACCOUNT][REGION].endpoint_configs["ScaledConfig-1"] = config
    yield
    del sagemaker_backends[ACCOUNT][REGION].endpoint_configs["ScaledConfig-1"]
    del ec2._launch_templates["lt-1"]
    for resource in OWN:
        del ec2._tags[resource]
    kms._keys.pop("1", None)
    iam._roles.pop("deployer", None)


def deploy(kind: str, verb: str, record: Record, *, without: str = "") -> None:
    """Asks for a resource with the role of deploys, less the statements' actions named `without`."""
    policies = {}
    for number, document in enumerate(execution_policies(Place("dev", REGION, ACCOUNT))):
        for statement in document["Statement"]:
            statement["Action"] = [action for action in statement["Action"] if action != without] or ["none:None"]
        policies[str(number)] = json.dumps(document)
    iam._roles["deployer"] = {"RoleName": "deployer", "Arn": ROLE, "AttachedPolicies": [], "InlinePolicies": policies}
    actions = [action for action in (*KEY_OF_DEPLOYS, "kms:CreateGrant", "kms:TagResource") if action != without]
    allows = {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": actions, "Resource": "*"}
    kms._keys["1"] = {"Policy": json.dumps({"Statement": [allows]})}
    for role in (GROUPS_ROLE, *SCALING_ROLES.values()):
        iam._roles.pop(role.rpartition("/")[2], None)
    permissions._check(
        record,
        TYPES,
        ROLE,
        kind,
        verb,
        "Kennel-dev-x",
        {**PROPERTIES[kind], **TAGS, "KeyPolicy": {"Statement": [allows]}},
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.kind.split('::')[2]}-{rule.on.__name__.strip('_')}")
def test_rule_refuses_role_without_its_grant(rule: Rule, tmp_path: Any) -> None:
    record = Record(tmp_path)
    for verb, calls in rule.calls.items():
        deploy(rule.kind, verb, record)
        for call in calls:
            with pytest.raises(permissions.Refused, match=call):
                deploy(rule.kind, verb, record, without=call)


def test_rule_names_what_it_is_asked_on(tmp_path: Any) -> None:
    deploy("AWS::AutoScaling::AutoScalingGroup", "create", Record(tmp_path))
    asked = [json.loads(line) for line in next(tmp_path.iterdir()).read_text().splitlines()]
    on = {(line["action"], line["resource"]) for line in asked}
    assert ("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/ami-of-the-parameter") in on
    parameter = f"arn:aws:ssm:{REGION}::parameter/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    assert ("ssm:GetParameters", parameter) in on


@pytest.mark.parametrize("resource", OWN)
def test_instances_of_others_are_not_run(resource: str, tmp_path: Any) -> None:
    ec2._tags[resource] = []
    with pytest.raises(permissions.Refused, match=f"ec2:RunInstances on resource: .*{resource}"):
        deploy("AWS::AutoScaling::AutoScalingGroup", "create", Record(tmp_path))


def test_every_rule_names_its_source() -> None:
    assert all(rule.source for rule in RULES)
