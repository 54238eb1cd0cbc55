"""The calls of a deploy, judged by AWS's own data: the Service Authorization Reference, and the resource registry.

The embedded AWS holds a deploy to the calls of infra/bootstrap/resource_types.toml, so it cannot show that one is
missing. Two judges that are not ours can: the policy simulator is asked for each call on the resources that AWS
authorizes it on, and the calls are compared with the permissions that AWS publishes for each type's handlers.
"""

import fnmatch
import functools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from helpers import REPOSITORY
from helpers.invariants import Templates
from helpers.service_authorization import Target, exists, filled, targets
from helpers.simulator import Caller, Request, simulate
from infra.bootstrap.execution_policy import (
    EC2,
    KEY_OF_DEPLOYS,
    RESIDUAL,
    STATEMENTS,
    TYPES,
    WHILE_CREATING,
    Place,
    ResourceType,
    boundary_name,
    execution_policies,
)
from infra.names import STAGE_TAG
from kennel.stage.template_roles import ACCOUNT, Stacks

REGION = "us-east-1"
DEPLOYER = Caller(
    f"arn:aws:iam::{ACCOUNT}:role/cdk-kdev-cfn-exec-role-{ACCOUNT}-{REGION}",
    execution_policies(Place("dev", REGION, ACCOUNT, cloudfront=True)),
)
TAGGED = {f"aws:ResourceTag/{STAGE_TAG}": "dev"}
# The only policy of AWS that a role may have: CDK's own functions do.
AWS_POLICY = "service-role/AWSLambdaBasicExecutionRole"
# The services to which a deploy may pass roles.
SERVICES = STATEMENTS["deploy"][0]["Condition"]["StringEquals"]["iam:PassedToService"]
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/{boundary_name('dev', REGION)}"
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
# Of a key that the account's policies decide on, as most are.
KEY_OF_OTHERS = {
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
    "AWS::KMS::Key": {"kms:*agResource": "the key has no tags: who may tag a new one may tag any"},
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


def named(kind: ResourceType) -> str:
    """The ARN of a resource of a type, or of the one that it belongs to, with a name within the type's scope."""
    name = kind.scope[0].replace("*", "x-1") if kind.scope else "x-1"
    return f"{kind.on}{name}".format(p="aws", r=f"{REGION}:{ACCOUNT}", region=REGION, a=ACCOUNT, s="dev")


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
    mine = filled(own.arn, NAMES) if TYPES[name].on.startswith(EC2) else named(TYPES[name])
    return [mine, *(filled(item.arn, NAMES) for item in others)]


def is_own(target: Target, name: str) -> bool:
    """Whether a type's resources are of this kind: of the same name, or with ARNs that begin alike."""
    if TYPES[name].on.startswith(EC2):
        return target.kind == TYPES[name].on.removeprefix(EC2).rstrip("/")
    # The names of those that NAMES does not know.
    beginning = filled(
        re.sub(r"\$\{\w*(Name|Id|Alias)\w*\}", "x-1", target.arn.replace("${AccountId}", ACCOUNT)), NAMES
    )
    return named(TYPES[name]).startswith(beginning.partition("x-1")[0])


def request(action: str, arn: str, context: dict[str, str], key_policy: dict[str, object]) -> Request:
    conditions = {
        **context,
        **({"iam:PermissionsBoundary": BOUNDARY} if action.startswith("iam:") and "Role" in action else {}),
        **({"iam:PassedToService": SERVICES[0]} if action == "iam:PassRole" else {}),
        **({"iam:PolicyARN": f"arn:aws:iam::aws:policy/{AWS_POLICY}"} if "tachRolePolicy" in action else {}),
    }
    return Request(action, arn, conditions, key_policy if ":key/" in arn else None)


def context_of(kind: ResourceType, action: str, arn: str) -> dict[str, str]:
    """The condition keys of a call of a deploy: what is created has no tags yet."""
    if action in kind.makes:
        return {} if arn == own_arn(kind) else TAGGED
    if action in WHILE_CREATING and kind.makes:
        return {WHILE_CREATING[action]: kind.makes[0].partition(":")[2]}
    if action == "ec2:RunInstances":
        return {} if is_new(action, arn) else TAGGED
    return TAGGED if kind.tagged and action in {*kind.create, *kind.update, *kind.delete} else {}


def own_arn(kind: ResourceType) -> str:
    if not kind.on.startswith(EC2):
        return named(kind)
    return kind.on.format(p="aws", r=f"{REGION}:{ACCOUNT}") + "x-1"


def other_calls(kind: ResourceType) -> set[str]:
    """The calls beside a resource's own that the reference has an ARN for; the others are in DEPENDENT."""
    return {call for calls in kind.beside.values() for call in calls if call.startswith(ALL_REQUIRED)}


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
    "the instance's network": Request("ec2:RunInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:subnet/subnet-1", TAGGED),
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


@pytest.fixture(scope="module")
def key_policy(matrix: dict[str, Templates]) -> dict[str, object]:
    return Stacks(matrix["dev"], "dev", REGION).key()[1]


@pytest.mark.parametrize("name", TYPES)
def test_calls_are_allowed_on_what_aws_authorizes_them_on(name: str, key_policy: dict[str, object]) -> None:
    kind = TYPES[name]
    calls = {*kind.makes, *kind.create, *kind.read, *kind.update, *kind.delete, *kind.anywhere, *other_calls(kind)}
    asked = [
        (action, arn, context)
        for action in sorted(calls - {*NOT_SIMULATED})
        for arn in authorized_on(action, name)
        for context in [context_of(kind, action, arn)]
    ]
    outcomes = simulate([(DEPLOYER, request(*item, key_policy)) for item in asked])
    refused = [item for item, allowed in zip(asked, outcomes, strict=True) if not allowed]
    assert refused == []


# Of another app of the account, and of another stage: names, and tags.
OTHERS = {
    "another app": (NAMES | dict.fromkeys(set(NAMES) - {"Account", "AccountId", "Partition", "Region"}, "payroll"), {}),
    "another stage": (
        {key: value.replace("dev", "prod") for key, value in NAMES.items()},
        {f"aws:ResourceTag/{STAGE_TAG}": "prod"},
    ),
}
READS = re.compile(r"\w[\w-]*:(Get|List|Describe|View|BatchGet)")
# They make something, and change nothing that is there: EC2 and SageMaker refuse a name that is taken.
NEW = {
    *((action, kind.on) for kind in TYPES.values() for action in kind.makes),
    *((f"ec2:AuthorizeSecurityGroup{way}", EC2 + "security-group-rule/") for way in ("Egress", "Ingress")),
    *(("ec2:RunInstances", EC2 + f"{kind}/") for kind in ("instance", "network-interface", "volume")),
    *(("ec2:RunInstances", f"arn:{{p}}:ec2:{{region}}::{kind}/") for kind in ("image", "snapshot")),
}
BEGINNINGS = [(action, on.format(p="aws", r=f"{REGION}:{ACCOUNT}", region=REGION)) for action, on in NEW]


def is_new(action: str, arn: str) -> bool:
    return any(action == new and arn.startswith(beginning) for new, beginning in BEGINNINGS)


def changes_of(whose: str, policies: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The changing calls that `policies` allow on resources that are not the stage's, of each kind that AWS has."""
    names, tags = OTHERS[whose]
    actions = {action for document in policies for part in document["Statement"] for action in part["Action"]}
    asked = [
        (action, arn)
        for action in sorted(actions - {*NOT_SIMULATED})
        if not READS.match(action) and action not in RESIDUAL
        for arn in {filled(target.arn, names) for target in targets(action)}
        if not is_new(action, arn)
        if "aws-service-role" not in arn
    ]
    assert len(asked) > 200
    deployer = Caller(DEPLOYER.arn, policies)
    outcomes = simulate([(deployer, request(action, arn, tags, KEY_OF_OTHERS)) for action, arn in asked])
    return [item for item, allowed in zip(asked, outcomes, strict=True) if allowed]


@pytest.mark.parametrize("whose", OTHERS)
def test_deploy_cannot_change_what_is_not_the_stage_s(whose: str) -> None:
    policies = execution_policies(Place("dev", REGION, ACCOUNT))
    assert changes_of(whose, policies) == []
    wide = {"Effect": "Allow", "Action": ["ec2:DeleteVpc", "kms:PutKeyPolicy"], "Resource": ["*"]}
    wider = [*policies, {"Version": "2012-10-17", "Statement": [wide]}]
    assert {action for action, _ in changes_of(whose, wider)} == {"ec2:DeleteVpc", "kms:PutKeyPolicy"}


def test_residual_calls_are_made_by_deploys() -> None:
    granted = {action for _, action in grants()}
    assert set(RESIDUAL) - granted <= {"application-autoscaling:TagResource"}


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
    # The key's own policy, and the policies of CloudFormation's role.
    granted = {action.lower() for action in (*KEY_OF_DEPLOYS, *(action for _, action in grants()))}
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
