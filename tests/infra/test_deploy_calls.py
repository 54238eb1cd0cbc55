"""The calls of a deploy, judged by AWS's own data: the Service Authorization Reference, and the resource registry.

The embedded AWS holds a deploy to the calls of kennel/execution_policy.py, so it cannot show that one is missing.
Two judges that are not ours can: the policy simulator is asked for each call on the resources that AWS authorizes it
on, and the calls are compared with the permissions that AWS publishes for each type's handlers.
"""

import fnmatch
import functools
import json
import os
import re
from pathlib import Path

import pytest

from helpers import REPOSITORY
from helpers.service_authorization import Target, exists, filled, targets
from helpers.simulator import Caller, Request, simulate
from kennel.execution_policy import AWS_POLICIES, EC2, SERVICES, TYPES, Type, boundary_name, execution_policies
from kennel.roles import ACCOUNT

REGION = "us-east-1"
DEPLOYER = Caller(f"arn:aws:iam::{ACCOUNT}:role/deployer", execution_policies("aws", REGION, ACCOUNT))
TAG = {"aws:ResourceTag/kennel:stage": "dev"}
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/{boundary_name(REGION)}"
# What a resource is called that another one's call names as well.
NAMES = {
    "Account": ACCOUNT,
    "AccountId": ACCOUNT,
    "BucketName": "kennel-dev-data-models",
    "EndpointConfigName": "ScaledConfig-1",
    "EndpointName": "kennel-dev-scaled",
    "FunctionName": "Kennel-dev-Api-Classifier",
    "InstanceProfileNameWithPath": "Kennel-dev-Training-Profile",
    "LogGroupName": "/kennel/dev/classifier",
    "Partition": "aws",
    "PolicyNameWithPath": "Kennel-dev-Api-Callers",
    "Region": REGION,
    "RoleNameWithPath": "Kennel-dev-Training-JobRole",
    "TopicName": "Kennel-dev-Operations-Alarms",
    "Alias": "kennel-dev",
    "GroupId": "1",
    "GroupFriendlyName": "Kennel-dev-ec2-training",
    "AlarmName": "kennel-dev-errors",
}
# Whose calls are authorized on all that the reference marks as required; elsewhere it marks alternatives so, too.
ALL_REQUIRED = ("ec2:", "kms:", "sagemaker:Create", "sagemaker:Update")
# Of every key that CDK makes: the account's policies decide.
KEY_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}
    ],
}
REGISTRY = Path(
    os.environ.get("KENNEL_HANDLERS", REPOSITORY.parent / "shared" / "data" / "cloudformation-handlers.json")
)
# What AWS publishes for a type's handlers and the role is not given, by patterns, each with its reason.
UNUSED = "for a property that no stage has"
EXCEPTIONS = {
    "AWS::S3::Bucket": {
        "s3:*Metadata*TableConfiguration": UNUSED,
        "s3:Delete*": UNUSED,
        "s3:PutAccelerateConfiguration": UNUSED,
        "s3:PutAnalyticsConfiguration": UNUSED,
        "s3:PutBucketAbac": UNUSED,
        "s3:PutBucketCORS": UNUSED,
        "s3:PutBucketNotification": UNUSED,
        "s3:PutBucketObjectLockConfiguration": UNUSED,
        "s3:PutBucketWebsite": UNUSED,
        "s3:PutIntelligentTieringConfiguration": UNUSED,
        "s3:PutInventoryConfiguration": UNUSED,
        "s3:PutMetricsConfiguration": UNUSED,
        "s3:PutObjectAcl": UNUSED,
        "s3:PutReplicationConfiguration": UNUSED,
        "s3tables:*": UNUSED,
    },
    "AWS::IAM::Role": {
        "iam:DeleteRolePermissionsBoundary": "a role without its boundary could become anything",
    },
    "AWS::IAM::Policy": {"iam:*GroupPolicy": "of roles alone", "iam:*UserPolicy": "of roles alone"},
    "AWS::IAM::ManagedPolicy": {
        f"iam:{verb}{whom}Policy": "who calls the URL is attached by hand, and detached by `kennel destroy`"
        for verb in ("Attach", "Detach")
        for whom in ("Group", "User")
    },
    "AWS::Logs::LogGroup": {
        "logs:AssociateKmsKey": UNUSED,
        "logs:DisassociateKmsKey": UNUSED,
        "logs:CreateLogDelivery": UNUSED,
        "logs:*DataProtectionPolicy": UNUSED,
        "logs:*IndexPolicy": UNUSED,
        "logs:PutBearerTokenAuthentication": UNUSED,
        "logs:PutLogGroupDeletionProtection": UNUSED,
        "firehose:TagDeliveryStream": UNUSED,
    },
    "AWS::SNS::Topic": {"sns:PutDataProtectionPolicy": UNUSED},
    "AWS::Lambda::Function": {
        "elasticfilesystem:DescribeMountTargets": UNUSED,
        "s3files:ListMountTargets": UNUSED,
        "kms:*": "for a customer managed key on code or variables, which no stage has",
        "lambda:*CodeSigningConfig": UNUSED,
        "lambda:GetLayerVersion": UNUSED,
        "lambda:PassCapacityProvider": UNUSED,
        "lambda:Put*": UNUSED,
    },
    "AWS::Lambda::Version": {"lambda:Put*": UNUSED},
    "AWS::Lambda::Alias": {"codedeploy:*": "for the update policy of CodeDeploy, which no stage has"},
    "AWS::AutoScaling::AutoScalingGroup": {
        "autoscaling:*LifecycleHook": UNUSED,
        "autoscaling:*LoadBalancer*": UNUSED,
        "autoscaling:*TrafficSources": UNUSED,
        "autoscaling:*InstanceRefresh": UNUSED,
        "autoscaling:*NotificationConfiguration": UNUSED,
        "ec2:Get*": "for instance types by their attributes, which no stage has",
        "elasticloadbalancing:Describe*": UNUSED,
        "vpc-lattice:*": UNUSED,
    },
    "AWS::CloudFront::Distribution": {
        "cloudfront:*ConnectionGroup": UNUSED,
        "cloudfront:GetVpcOrigin": UNUSED,
        "cloudfront:UpdateDistributionWithStagingConfig": UNUSED,
    },
    "AWS::EC2::VPC": {"ec2:CreateVpcEncryptionControl": UNUSED, "ec2:ModifyVpcTenancy": UNUSED},
    "AWS::EC2::Subnet": {"ec2:*SubnetCidrBlock": UNUSED},
    "AWS::EC2::VPCGatewayAttachment": {"ec2:*tachVpnGateway": UNUSED},
    "AWS::EC2::VPCEndpoint": {"vpc-lattice:*": UNUSED, "vpce:AllowMultiRegion": UNUSED},
}


def named(kind: Type) -> str:
    """The ARN of a resource of a type, or of the one that it belongs to, with a name within the type's scope."""
    name = kind.scope[0].replace("*", "dev-x-1") if kind.scope else "x-1"
    return f"{kind.on}{name}".format(p="aws", r=f"{REGION}:{ACCOUNT}", region=REGION, a=ACCOUNT)


def authorized_on(action: str, name: str) -> list[str]:
    """The ARNs that AWS authorizes a call on, for a resource of a type: its own, and others that the call names."""
    found = targets(action)
    if not found:
        return ["*"]
    # A bucket rather than its objects.
    own = min((item for item in found if is_own(item, name)), key=lambda item: len(item.arn), default=None)
    others = [item for item in found if item.required and item != own]
    if own and not action.startswith(ALL_REQUIRED):
        others = []
    if not own:
        return [filled(item.arn, NAMES) for item in others or found[:1]]
    # EC2's ids are in the kind's ARN alone.
    mine = filled(own.arn, NAMES) if TYPES[name].on == EC2 else named(TYPES[name])
    return [mine, *(filled(item.arn, NAMES) for item in others)]


def is_own(target: Target, name: str) -> bool:
    """Whether a type's resources are of this kind: of the same name, or with ARNs that begin alike."""
    if TYPES[name].on == EC2:
        # AWS::EC2::VPCEndpoint is a vpc-endpoint.
        return target.kind == re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name.split("::")[2]).lower()
    # The names of those that NAMES does not know.
    beginning = filled(
        re.sub(r"\$\{\w*(Name|Id|Alias)\w*\}", "x-1", target.arn.replace("${AccountId}", ACCOUNT)), NAMES
    )
    return named(TYPES[name]).startswith(beginning.partition("x-1")[0])


def request(action: str, arn: str, context: dict[str, str]) -> Request:
    conditions = {
        **context,
        **({"iam:PermissionsBoundary": BOUNDARY} if action.startswith("iam:") and "Role" in action else {}),
        **({"iam:PassedToService": SERVICES[0]} if action == "iam:PassRole" else {}),
        **({"iam:PolicyARN": f"arn:aws:iam::aws:policy/{AWS_POLICIES[0]}"} if "tachRolePolicy" in action else {}),
    }
    key_policy = KEY_POLICY if ":kms:" in arn else None
    return Request(action, arn, conditions, key_policy)


def other_calls(kind: Type) -> set[str]:
    """The calls beside a resource's own that the reference has an ARN for; the others are in DEPENDENT."""
    return {call for _, calls in kind.beside for call in calls if call.startswith(ALL_REQUIRED)}


# What AWS asks of the caller of another call, with its page.
ALARM = (
    f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:TargetTracking-endpoint/kennel-dev-scaled/variant/primary-AlarmHigh-1"
)
DEPENDENT = {
    # "Permission validation" of Application Auto Scaling's user guide: of the target service, and of CloudWatch.
    **{f"tracking: {verb}": Request(f"cloudwatch:{verb}", ALARM) for verb in ("PutMetricAlarm", "DeleteAlarms")},
    "tracking: DescribeAlarms": Request("cloudwatch:DescribeAlarms", ALARM),
    "scaling's role": Request(
        "iam:PassRole",
        f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/lambda.application-autoscaling.amazonaws.com"
        "/AWSServiceRoleForApplicationAutoScaling_LambdaConcurrency",
        {"iam:PassedToService": "application-autoscaling.amazonaws.com"},
    ),
    # "Control Amazon EC2 launch template usage" of EC2 Auto Scaling's: who makes the group may run instances.
    "the instance's image": Request("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/ami-1"),
    "the instance's network": Request("ec2:RunInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:subnet/subnet-1"),
}
# iam-simulate 0.1.173 takes no ARN without an account, and cannot tell a function's alias from its version.
NOT_SIMULATED = {
    # "Use AWS Systems Manager parameters instead of AMI IDs" of EC2 Auto Scaling's user guide.
    "ssm:GetParameters": f"arn:aws:ssm:{REGION}::parameter/aws/service/ami-amazon-linux-latest/"
    "al2023-ami-kernel-default-x86_64",
    **{
        f"lambda:{verb}ProvisionedConcurrencyConfig": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:Kennel-dev-C:live"
        for verb in ("Delete", "Get", "Put")
    },
}


@pytest.mark.parametrize("words", DEPENDENT)
def test_dependent_call_is_allowed(words: str) -> None:
    assert simulate([(DEPLOYER, DEPENDENT[words])]) == [True]


@pytest.mark.parametrize("action", NOT_SIMULATED)
def test_call_is_allowed_by_arn(action: str) -> None:
    matching = [pattern for pattern, granted in grants() if granted == action]
    assert any(fnmatch.fnmatchcase(NOT_SIMULATED[action], pattern) for pattern in matching)


@pytest.mark.parametrize("name", TYPES)
def test_calls_are_allowed_on_what_aws_authorizes_them_on(name: str) -> None:
    kind = TYPES[name]
    asked = [
        (action, arn, TAG if action in {*kind.update, *kind.delete} - {*kind.create} else {})
        for action in sorted(
            {*kind.create, *kind.read, *kind.update, *kind.delete, *kind.anywhere, *other_calls(kind)}
            - {*NOT_SIMULATED}
        )
        for arn in authorized_on(action, name)
    ]
    outcomes = simulate([(DEPLOYER, request(*item)) for item in asked])
    refused = [(action, arn) for (action, arn, _), allowed in zip(asked, outcomes, strict=True) if not allowed]
    assert refused == []


@functools.cache
def published() -> dict[str, dict[str, list[str]]]:
    """The permissions of each type's handlers, of AWS's resource registry."""
    if not REGISTRY.is_file():
        pytest.skip("the registry's permissions are not here")
    found: dict[str, dict[str, list[str]]] = json.loads(REGISTRY.read_text())
    return found


@pytest.mark.parametrize("name", [name for name in TYPES if not name.startswith("Custom::")])
def test_what_the_registry_publishes_is_granted(name: str) -> None:
    if name not in published():
        pytest.skip(f"the registry publishes no permissions of {name}")
    granted = {action.lower() for _, action in grants()}
    handlers = {call for verb, calls in published()[name].items() if verb != "list" for call in calls}
    missing = {
        call
        for call in handlers
        if is_action(call)
        and not any(fnmatch.fnmatchcase(action, call.lower()) for action in granted)
        and not any(fnmatch.fnmatchcase(call.lower(), pattern.lower()) for pattern in EXCEPTIONS.get(name, {}))
    }
    assert missing == set()


def test_exceptions_are_published() -> None:
    """A reason for what is granted after all, or is not published any more, is dropped."""
    granted = {action.lower() for _, action in grants()}
    superfluous = {
        (name, pattern)
        for name, reasons in EXCEPTIONS.items()
        for pattern in reasons
        if not any(
            fnmatch.fnmatchcase(call.lower(), pattern.lower()) and call.lower() not in granted
            for calls in published()[name].values()
            for call in calls
        )
    }
    assert superfluous == set()


def is_action(call: str) -> bool:
    """Whether the reference knows a published permission: it has no s3:DeleteBucketCors, and no managed-fleets."""
    service, _, name = call.partition(":")
    return service != "managed-fleets" and ("*" in name or exists(call))


def grants() -> list[tuple[str, str]]:
    """The actions that CloudFormation's role may call, each with a resource."""
    return [
        (resource, action)
        for document in DEPLOYER.policies
        for statement in document["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    ]
