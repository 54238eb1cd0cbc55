"""What a deploy is asked for beyond a resource's own calls: each rule refuses a role that lacks its grant."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ministack.services import ec2, iam

from kennel.execution_policy import execution_policies
from kennel.local import deploys
from kennel.local.authorization import Record
from kennel.local.dependents import RULES, Rule
from kennel.local.settings import ACCOUNT, REGION

ROLE = f"arn:aws:iam::{ACCOUNT}:role/deployer"
SCALING_ROLE = (
    f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com"
    "/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)
IMAGE = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
PROPERTIES: dict[str, dict[str, Any]] = {
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
    template = {"Versions": [{"LaunchTemplateData": {"ImageId": IMAGE}}]}
    ec2._launch_templates["lt-1"] = template
    yield
    del ec2._launch_templates["lt-1"]
    iam._roles.pop("deployer", None)


def deploy(kind: str, verb: str, record: Record, *, without: str = "") -> None:
    """Asks for a resource with the role of deploys, less the statements' actions named `without`."""
    policies = {}
    for number, document in enumerate(execution_policies("aws", REGION, ACCOUNT)):
        for statement in document["Statement"]:
            statement["Action"] = [action for action in statement["Action"] if action != without] or ["none:None"]
        policies[str(number)] = json.dumps(document)
    iam._roles["deployer"] = {"RoleName": "deployer", "Arn": ROLE, "AttachedPolicies": [], "InlinePolicies": policies}
    deploys._check(record, ROLE, kind, verb, "x", PROPERTIES[kind])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.kind.split('::')[2]}-{rule.on.__name__.strip('_')}")
def test_rule_refuses_role_without_its_grant(rule: Rule, tmp_path: Any) -> None:
    record = Record(tmp_path)
    for verb, calls in rule.calls.items():
        deploy(rule.kind, verb, record)
        for call in calls:
            with pytest.raises(deploys.Refused, match=call):
                deploy(rule.kind, verb, record, without=call)


def test_rule_names_what_it_is_asked_on(tmp_path: Any) -> None:
    deploy("AWS::AutoScaling::AutoScalingGroup", "create", Record(tmp_path))
    asked = [json.loads(line) for line in next(tmp_path.iterdir()).read_text().splitlines()]
    on = {(line["action"], line["resource"]) for line in asked}
    assert ("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/ami-of-the-parameter") in on
    parameter = f"arn:aws:ssm:{REGION}::parameter/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    assert ("ssm:GetParameters", parameter) in on


def test_every_rule_names_its_source() -> None:
    assert all(rule.source for rule in RULES)
