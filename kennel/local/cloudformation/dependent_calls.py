"""The permissions that AWS checks on other resources when a deploy makes or changes one, each rule with its source.

Written from AWS's pages, and not from the table of resource types, which is held to it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ministack.services import ec2
from moto.sagemaker.models import sagemaker_backends

from kennel.local.iam.service_roles import GROUPS_ROLE, SCALING_ROLES, has_service_role, key_arn, service_role
from kennel.local.settings import ACCOUNT, REGION

Properties = dict[str, Any]
# The resource itself, whose ARN the caller knows.
SELF = "self"
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
    template, subnets = properties.get("LaunchTemplate") or {}, properties.get("VPCZoneIdentifier") or []
    groups = {
        str(group)
        for data in _launch_template_data(properties)
        for interface in (data, *(data.get("NetworkInterfaces") or []))
        for group in (*(interface.get("Groups") or []), *(interface.get("SecurityGroupIds") or []))
    }
    return [
        _arn("ec2", "image/ami-of-the-parameter", account=""),
        _arn("ec2", f"launch-template/{template.get('LaunchTemplateId')}"),
        *(_arn("ec2", f"subnet/{subnet}") for subnet in subnets),
        *(_arn("ec2", f"security-group/{group}") for group in sorted(groups)),
        *(_arn("ec2", f"{kind}/*") for kind in ("instance", "network-interface", "volume")),
    ]


def _parameter_of_image(properties: Properties) -> list[str]:
    """The public parameter that the group's launch template takes its image from, where it takes it from one."""
    images = {str(data.get("ImageId", "")) for data in _launch_template_data(properties)}
    return [
        _arn("ssm", f"parameter{image.removeprefix(AMIS_PARAMETER)}", account="")
        for image in images
        if image.startswith(AMIS_PARAMETER)
    ]


def _launch_template_data(properties: Properties) -> list[Properties]:
    """Of each version of a group's launch template."""
    template = ec2._launch_templates.get((properties.get("LaunchTemplate") or {}).get("LaunchTemplateId"), {})
    return [item["LaunchTemplateData"] for item in template.get("Versions", [])]


def _alarms_of_target(properties: Properties) -> list[str]:
    resource = properties.get("ResourceId") or str(properties.get("ScalingTargetId", "")).partition("|")[0]
    return [_arn("cloudwatch", f"alarm:TargetTracking-{resource}-AlarmHigh-1")]


def _role_of_scaling(properties: Properties) -> list[str]:
    role = properties.get("RoleARN")
    return [str(role)] if role else []


def _service_role_of_groups(properties: Properties) -> list[str]:
    return _missing(service_role(GROUPS_ROLE))


def _service_role_of_scaling(properties: Properties) -> list[str]:
    return _missing(service_role(SCALING_ROLES[properties.get("ServiceNamespace", "sagemaker")]))


def _missing(arn: str) -> list[str]:
    return [] if has_service_role(arn) else [arn]


def _key_of_volumes(properties: Properties) -> list[str]:
    """The key of the endpoint config, which the instances' volumes are encrypted with."""
    config = sagemaker_backends[ACCOUNT][REGION].endpoint_configs.get(properties["EndpointConfigName"])
    key = config.kms_key_id if config else None
    return [key_arn(str(key))] if key else []


def _itself_if_tagged(properties: Properties) -> list[str]:
    """Of CloudFormation's own tags ministack gives three to every resource, AWS only to some, such as no key."""
    return [SELF] if any(not tag["Key"].startswith("aws:") for tag in properties.get("Tags") or []) else []


GROUP, TARGET = "AWS::AutoScaling::AutoScalingGroup", "AWS::ApplicationAutoScaling::ScalableTarget"
POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"
TRACKING = ("cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm")
VALIDATED = "Application Auto Scaling, user guide: Permission validation for API calls on target resources"
LAUNCHED = "EC2 Auto Scaling, user guide: Control Amazon EC2 launch template usage in Auto Scaling groups"

LINKED = "IAM, user guide: Create a service-linked role"
# Tags are set by a call of their own, which the caller of the first one needs as well.
TAGGED_ON_CREATE = {
    "AWS::Logs::LogGroup": "logs:TagResource",
    "AWS::Lambda::Function": "lambda:TagResource",
    "AWS::KMS::Key": "kms:TagResource",
    "AWS::IAM::Role": "iam:TagRole",
    "AWS::SNS::Topic": "sns:TagResource",
    "AWS::CloudWatch::Alarm": "cloudwatch:TagResource",
    "AWS::Events::Rule": "events:TagResource",
    "AWS::SageMaker::Model": "sagemaker:AddTags",
    "AWS::SageMaker::EndpointConfig": "sagemaker:AddTags",
    "AWS::SageMaker::Endpoint": "sagemaker:AddTags",
    "AWS::SageMaker::NotebookInstance": "sagemaker:AddTags",
}

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
    Rule(GROUP, {"create": ("iam:CreateServiceLinkedRole",)}, _service_role_of_groups, LINKED),
    Rule(TARGET, {"create": ("iam:CreateServiceLinkedRole",)}, _service_role_of_scaling, LINKED),
    Rule(
        "AWS::SageMaker::Endpoint",
        {"create": ("kms:CreateGrant",)},
        _key_of_volumes,
        "SageMaker, API reference, CreateEndpointConfig: KmsKeyId; the caller grants the key to the volumes",
    ),
    *(
        Rule(kind, {"create": (call,)}, _itself_if_tagged, "CloudFormation registry, tagging permissions of the type")
        for kind, call in TAGGED_ON_CREATE.items()
    ),
)


def dependent_calls(kind: str, verb: str, properties: Properties) -> Iterator[tuple[str, str]]:
    """The calls that the rules add, each with the ARN that it is authorized on."""
    for rule in RULES:
        if rule.kind == kind:
            for arn in rule.on(properties):
                yield from ((call, arn) for call in rule.calls.get(verb, ()))


def condition_keys(action: str, arn: str) -> dict[str, str]:
    """The condition keys of a dependent call, by their names in lower case."""
    if action == "iam:CreateServiceLinkedRole":
        return {"iam:awsservicename": arn.split("/")[-2]}
    return {"kms:grantisforawsresource": "true"} if action == "kms:CreateGrant" else {}
