"""The permissions that AWS checks on other resources when a deploy makes or changes one, each rule with its source.

Written from AWS's pages, and not from kennel/execution_policy.py, which is held to it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ministack.services import ec2

from kennel.local.settings import ACCOUNT, REGION

Properties = dict[str, Any]
AMIS_PARAMETER = "resolve:ssm:"


@dataclass(frozen=True)
class Rule:
    """Calls that a resource of a type also takes when it is made or changed, on the ARNs that `on` gives for it."""

    kind: str
    calls: dict[str, tuple[str, ...]]
    on: Callable[[Properties], list[str]]
    source: str


def _each(*calls: str) -> dict[str, tuple[str, ...]]:
    """The same calls when the resource is made and when it is changed."""
    return {"create": calls, "update": calls}


def _arn(service: str, rest: str, *, account: str = ACCOUNT) -> str:
    return f"arn:aws:{service}:{REGION}:{account}:{rest}"


def _endpoint_config(properties: Properties) -> list[str]:
    return [_arn("sagemaker", f"endpoint-config/{properties['EndpointConfigName']}")]


def _tried_by_group(properties: Properties) -> list[str]:
    """The resources that RunInstances is authorized on, with the group's launch template."""
    subnets = properties.get("VPCZoneIdentifier") or []
    return [
        _arn("ec2", "image/ami-of-the-parameter", account=""),
        *(_arn("ec2", f"subnet/{subnet}") for subnet in subnets),
        *(_arn("ec2", f"{kind}/*") for kind in ("instance", "network-interface", "security-group", "volume")),
    ]


def _parameter_of_image(properties: Properties) -> list[str]:
    """The public parameter that the group's launch template takes its image from, where it takes it from one."""
    template = ec2._launch_templates.get((properties.get("LaunchTemplate") or {}).get("LaunchTemplateId"), {})
    images = {str(item["LaunchTemplateData"].get("ImageId", "")) for item in template.get("Versions", [])}
    return [
        _arn("ssm", f"parameter{image.removeprefix(AMIS_PARAMETER)}", account="")
        for image in images
        if image.startswith(AMIS_PARAMETER)
    ]


def _alarms_of_target(properties: Properties) -> list[str]:
    resource = properties.get("ResourceId") or str(properties.get("ScalingTargetId", "")).partition("|")[0]
    return [_arn("cloudwatch", f"alarm:TargetTracking-{resource}-AlarmHigh-1")]


def _role_of_scaling(properties: Properties) -> list[str]:
    role = properties.get("RoleARN")
    return [str(role)] if role else []


GROUP, TARGET = "AWS::AutoScaling::AutoScalingGroup", "AWS::ApplicationAutoScaling::ScalableTarget"
POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"
TRACKING = ("cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm")
VALIDATED = "Application Auto Scaling, user guide: Permission validation for API calls on target resources"
LAUNCHED = "EC2 Auto Scaling, user guide: Control Amazon EC2 launch template usage in Auto Scaling groups"

RULES = (
    Rule(
        "AWS::SageMaker::Endpoint",
        {"create": ("sagemaker:CreateEndpoint",), "update": ("sagemaker:UpdateEndpoint",)},
        _endpoint_config,
        "Service Authorization Reference, SageMaker: both calls name the endpoint and its config; aws-cdk#11594",
    ),
    Rule(GROUP, _each("ec2:RunInstances"), _tried_by_group, LAUNCHED),
    Rule(
        GROUP,
        _each("ssm:GetParameters"),
        _parameter_of_image,
        "EC2 Auto Scaling, user guide: Use AWS Systems Manager parameters instead of AMI IDs",
    ),
    Rule(TARGET, _each(*TRACKING), _alarms_of_target, VALIDATED),
    Rule(POLICY, _each(*TRACKING), _alarms_of_target, VALIDATED),
    Rule(TARGET, _each("iam:PassRole"), _role_of_scaling, VALIDATED),
)


def dependent_calls(kind: str, verb: str, properties: Properties) -> Iterator[tuple[str, str]]:
    """The calls that the rules add, each with the ARN that it is authorized on."""
    for rule in RULES:
        if rule.kind == kind:
            for arn in rule.on(properties):
                yield from ((call, arn) for call in rule.calls.get(verb, ()))
