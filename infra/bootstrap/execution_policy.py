"""What CloudFormation may do when it deploys a stage: no administrator, nothing of others, no role beyond the boundary.

`kennel bootstrap` makes the policies of this module, for each stage its own, and has the execution role of the stage's
CDK bootstrap use them. One table says for each resource type which calls creating, changing and deleting it takes, and
on what; the embedded AWS holds deploys to it.

A stage's resources are known by their names; where AWS offers no name, by the tag kennel:stage, which can only be set
while a resource is created; the key by its own policy. What none of these can tell apart is in RESIDUAL.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.names import STAGE_TAG

Statement = dict[str, Any]

# Of a managed policy, without white space.
MAX_CHARACTERS = 6144
MAX_QUALIFIER = 10
# Where CDK looks for the qualifier of an app's bootstrap.
QUALIFIER = "@aws-cdk/core:bootstrapQualifier"
# The only policy of AWS that a role may have: CDK's own functions do.
AWS_POLICIES = ("service-role/AWSLambdaBasicExecutionRole",)
SERVICES = ("ec2.amazonaws.com", "lambda.amazonaws.com", "sagemaker.amazonaws.com", "scheduler.amazonaws.com")


@dataclass(frozen=True)
class Type:
    """The calls that one resource type takes: on ARNs of `on` and a name of `scope`, or `anywhere`, without a resource.

    `read` is what CloudFormation calls after each change, to know the attributes that templates refer to; `beside` are
    calls on other resources, by their ARN. {p} stands for the partition, {r} for region and account, {region} and {a}
    for each of them, {s} for the stage; `name` is the property that names the resource, or the one that it belongs to.

    The name of a `tagged` one says nothing: it is changed only if it carries the stage's tag. `makes` are the calls
    that create it, with its tags; `parents` the properties with others that this changes, by the kind of their ARN.
    The calls on one that is `by_key_policy`, but those `anywhere`, are allowed by the key's own policy.
    """

    on: str
    scope: tuple[str, ...]
    create: tuple[str, ...]
    delete: tuple[str, ...]
    update: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    anywhere: tuple[str, ...] = ()
    beside: tuple[tuple[str, tuple[str, ...]], ...] = ()
    name: str = ""
    passes_role: bool = False
    tagged: bool = False
    makes: tuple[str, ...] = ()
    parents: tuple[tuple[str, str], ...] = ()
    by_key_policy: bool = False


def _calls(service: str, names: str) -> tuple[str, ...]:
    return tuple(f"{service}:{name}" for name in names.split())


EC2 = "arn:{p}:ec2:{r}:"
RULES = "AuthorizeSecurityGroup"
# The alarms of target tracking, which Application Auto Scaling makes in the name of its caller.
TRACKING_ALARMS = (
    "arn:{p}:cloudwatch:{r}:alarm:TargetTracking-*",
    _calls("cloudwatch", "DeleteAlarms DescribeAlarms PutMetricAlarm"),
)

TYPES = {
    "AWS::S3::Bucket": Type(
        "arn:{p}:s3:::",
        ("kennel-{s}-*",),
        _calls(
            "s3",
            "CreateBucket GetBucketLocation PutBucketAcl PutBucketLogging PutBucketOwnershipControls"
            " PutBucketPublicAccessBlock PutBucketTagging PutBucketVersioning PutEncryptionConfiguration"
            " PutLifecycleConfiguration TagResource",
        ),
        _calls("s3", "DeleteBucket"),
        _calls("s3", "PutBucketTagging PutLifecycleConfiguration TagResource UntagResource"),
        name="BucketName",
        read=_calls(
            "s3",
            "GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAbac GetBucketAcl GetBucketCORS"
            " GetBucketLogging GetBucketMetadataTableConfiguration GetBucketNotification"
            " GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPublicAccessBlock"
            " GetBucketTagging GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration"
            " GetIntelligentTieringConfiguration GetInventoryConfiguration GetLifecycleConfiguration"
            " GetMetricsConfiguration GetReplicationConfiguration ListBucket ListTagsForResource",
        ),
    ),
    "AWS::S3::BucketPolicy": Type(
        "arn:{p}:s3:::",
        ("kennel-{s}-*",),
        _calls("s3", "GetBucketPolicy PutBucketPolicy"),
        _calls("s3", "DeleteBucketPolicy"),
        _calls("s3", "PutBucketPolicy"),
        name="Bucket",
    ),
    # Keys have no names, and whoever may tag one may tag any: the key's policy names CloudFormation's role.
    "AWS::KMS::Key": Type(
        "arn:{p}:kms:{r}:key/",
        ("*",),
        _calls("kms", "EnableKeyRotation"),
        _calls("kms", "ScheduleKeyDeletion"),
        _calls("kms", "DisableKey DisableKeyRotation EnableKey PutKeyPolicy UpdateKeyDescription"),
        read=_calls("kms", "DescribeKey GetKeyPolicy GetKeyRotationStatus ListResourceTags"),
        anywhere=_calls("kms", "CreateKey"),
        by_key_policy=True,
    ),
    "AWS::KMS::Alias": Type(
        "arn:{p}:kms:{r}:",
        ("alias/kennel-{s}",),
        _calls("kms", "CreateAlias"),
        _calls("kms", "DeleteAlias"),
        _calls("kms", "UpdateAlias"),
        anywhere=_calls("kms", "ListAliases"),
        name="AliasName",
    ),
    "AWS::IAM::Role": Type(
        "arn:{p}:iam::{a}:role/",
        ("Kennel-{s}-*",),
        _calls("iam", "CreateRole GetRole PutRolePolicy TagRole"),
        _calls("iam", "DeleteRole DeleteRolePolicy DetachRolePolicy ListAttachedRolePolicies ListRolePolicies"),
        _calls("iam", "PutRolePermissionsBoundary UntagRole UpdateAssumeRolePolicy UpdateRole UpdateRoleDescription"),
        name="RoleName",
        read=_calls("iam", "GetRolePolicy ListAttachedRolePolicies ListRolePolicies ListRoleTags"),
    ),
    "AWS::IAM::Policy": Type(
        "arn:{p}:iam::{a}:role/",
        ("Kennel-{s}-*",),
        _calls("iam", "GetRolePolicy PutRolePolicy"),
        _calls("iam", "DeleteRolePolicy"),
        _calls("iam", "PutRolePolicy"),
        name="Roles",
    ),
    "AWS::IAM::ManagedPolicy": Type(
        "arn:{p}:iam::{a}:policy/",
        ("Kennel-{s}-*",),
        _calls("iam", "CreatePolicy GetPolicy GetPolicyVersion"),
        _calls("iam", "DeletePolicy DeletePolicyVersion ListPolicyVersions"),
        _calls("iam", "CreatePolicyVersion DeletePolicyVersion ListPolicyVersions"),
        name="ManagedPolicyName",
        read=_calls("iam", "ListEntitiesForPolicy"),
    ),
    "AWS::IAM::InstanceProfile": Type(
        "arn:{p}:iam::{a}:instance-profile/",
        ("Kennel-{s}-*",),
        _calls("iam", "AddRoleToInstanceProfile CreateInstanceProfile GetInstanceProfile"),
        _calls("iam", "DeleteInstanceProfile RemoveRoleFromInstanceProfile"),
        passes_role=True,
        name="InstanceProfileName",
    ),
    "AWS::Logs::LogGroup": Type(
        "arn:{p}:logs:{r}:log-group:",
        ("/kennel/{s}/*", "/aws/sagemaker/Endpoints/kennel-{s}-*"),
        _calls("logs", "CreateLogGroup PutRetentionPolicy TagResource"),
        _calls("logs", "DeleteLogGroup"),
        _calls("logs", "DeleteRetentionPolicy PutRetentionPolicy UntagResource"),
        anywhere=_calls("logs", "DescribeIndexPolicies DescribeLogGroups"),
        name="LogGroupName",
        read=_calls("logs", "GetDataProtectionPolicy ListTagsForResource"),
    ),
    "AWS::CloudWatch::Alarm": Type(
        "arn:{p}:cloudwatch:{r}:alarm:",
        ("kennel-{s}-*", "Kennel-{s}-*"),
        _calls("cloudwatch", "DescribeAlarms PutMetricAlarm TagResource"),
        _calls("cloudwatch", "DeleteAlarms"),
        _calls("cloudwatch", "PutMetricAlarm UntagResource"),
        name="AlarmName",
        read=_calls("cloudwatch", "ListTagsForResource"),
    ),
    "AWS::CloudWatch::CompositeAlarm": Type(
        "arn:{p}:cloudwatch:{r}:alarm:",
        ("kennel-{s}-*", "Kennel-{s}-*"),
        _calls("cloudwatch", "TagResource"),
        _calls("cloudwatch", "DeleteAlarms"),
        _calls("cloudwatch", "UntagResource"),
        # CloudWatch takes these of a composite alarm on every resource alone.
        anywhere=_calls("cloudwatch", "DescribeAlarms PutCompositeAlarm"),
        name="AlarmName",
        read=_calls("cloudwatch", "ListTagsForResource"),
    ),
    "AWS::CloudWatch::Dashboard": Type(
        "arn:{p}:cloudwatch::{a}:dashboard/",
        ("Kennel-{s}",),
        _calls("cloudwatch", "GetDashboard PutDashboard TagResource"),
        _calls("cloudwatch", "DeleteDashboards"),
        _calls("cloudwatch", "PutDashboard UntagResource"),
        name="DashboardName",
        read=_calls("cloudwatch", "ListTagsForResource"),
    ),
    "AWS::SNS::Topic": Type(
        "arn:{p}:sns:{r}:",
        ("Kennel-{s}-*",),
        _calls("sns", "CreateTopic GetTopicAttributes ListSubscriptionsByTopic SetTopicAttributes TagResource"),
        _calls("sns", "DeleteTopic"),
        _calls("sns", "SetTopicAttributes UntagResource"),
        name="TopicName",
        read=_calls("sns", "GetDataProtectionPolicy ListTagsForResource"),
    ),
    "AWS::SNS::TopicPolicy": Type(
        "arn:{p}:sns:{r}:",
        ("Kennel-{s}-*",),
        _calls("sns", "SetTopicAttributes"),
        _calls("sns", "SetTopicAttributes"),
        _calls("sns", "SetTopicAttributes"),
        name="Topics",
    ),
    "AWS::SNS::Subscription": Type(
        "arn:{p}:sns:{r}:",
        ("Kennel-{s}-*",),
        _calls("sns", "ListSubscriptionsByTopic Subscribe"),
        _calls("sns", "Unsubscribe"),
        _calls("sns", "SetSubscriptionAttributes"),
        read=_calls("sns", "GetSubscriptionAttributes"),
        name="TopicArn",
    ),
    "AWS::Budgets::Budget": Type(
        "arn:{p}:budgets::{a}:budget/",
        ("Kennel-{s}",),
        _calls("budgets", "ListTagsForResource ModifyBudget TagResource ViewBudget"),
        _calls("budgets", "ModifyBudget"),
        _calls("budgets", "ModifyBudget UntagResource"),
        name="BudgetName",
    ),
    "AWS::Events::Rule": Type(
        "arn:{p}:events:{r}:rule/",
        ("Kennel-{s}-*",),
        _calls("events", "DescribeRule ListTargetsByRule PutRule PutTargets TagResource"),
        _calls("events", "DeleteRule RemoveTargets"),
        _calls("events", "PutRule PutTargets RemoveTargets UntagResource"),
        name="Name",
        read=_calls("events", "ListTagsForResource"),
    ),
    "AWS::Logs::MetricFilter": Type(
        "arn:{p}:logs:{r}:log-group:",
        ("/kennel/{s}/*",),
        _calls("logs", "DescribeMetricFilters PutMetricFilter"),
        _calls("logs", "DeleteMetricFilter"),
        _calls("logs", "PutMetricFilter"),
        name="LogGroupName",
    ),
    "AWS::Logs::ResourcePolicy": Type(
        "arn:{p}:logs:{r}:",
        (),
        (),
        (),
        anywhere=_calls("logs", "DeleteResourcePolicy DescribeResourcePolicies PutResourcePolicy"),
    ),
    "AWS::Logs::QueryDefinition": Type(
        "arn:{p}:logs:{r}:",
        (),
        (),
        (),
        anywhere=_calls("logs", "DeleteQueryDefinition DescribeQueryDefinitions PutQueryDefinition"),
    ),
    "AWS::SageMaker::Model": Type(
        "arn:{p}:sagemaker:{r}:model/",
        ("*",),
        (),
        _calls("sagemaker", "DeleteModel"),
        _calls("sagemaker", "AddTags DeleteTags"),
        passes_role=True,
        tagged=True,
        makes=_calls("sagemaker", "CreateModel"),
        read=_calls("sagemaker", "DescribeModel ListTags"),
    ),
    "AWS::SageMaker::EndpointConfig": Type(
        "arn:{p}:sagemaker:{r}:endpoint-config/",
        ("*",),
        (),
        _calls("sagemaker", "DeleteEndpointConfig"),
        _calls("sagemaker", "AddTags DeleteTags"),
        tagged=True,
        makes=_calls("sagemaker", "CreateEndpointConfig"),
        read=_calls("sagemaker", "DescribeEndpointConfig ListTags"),
    ),
    "AWS::SageMaker::Endpoint": Type(
        "arn:{p}:sagemaker:{r}:endpoint/",
        ("kennel-{s}-*",),
        _calls("sagemaker", "AddTags CreateEndpoint DescribeEndpoint"),
        _calls("sagemaker", "DeleteEndpoint"),
        _calls("sagemaker", "DeleteTags UpdateEndpoint UpdateEndpointWeightsAndCapacities"),
        name="EndpointName",
        read=_calls("sagemaker", "ListTags"),
        beside=(("arn:{p}:sagemaker:{r}:endpoint-config/*", _calls("sagemaker", "CreateEndpoint UpdateEndpoint")),),
    ),
    "AWS::SageMaker::NotebookInstance": Type(
        "arn:{p}:sagemaker:{r}:notebook-instance/",
        ("kennel-{s}-*",),
        _calls("sagemaker", "AddTags CreateNotebookInstance DescribeNotebookInstance"),
        _calls("sagemaker", "DeleteNotebookInstance StopNotebookInstance"),
        _calls("sagemaker", "DeleteTags StartNotebookInstance StopNotebookInstance UpdateNotebookInstance"),
        passes_role=True,
        name="NotebookInstanceName",
        read=_calls("sagemaker", "ListTags"),
    ),
    "AWS::SageMaker::NotebookInstanceLifecycleConfig": Type(
        "arn:{p}:sagemaker:{r}:notebook-instance-lifecycle-config/",
        ("kennel-{s}-*",),
        _calls("sagemaker", "CreateNotebookInstanceLifecycleConfig DescribeNotebookInstanceLifecycleConfig"),
        _calls("sagemaker", "DeleteNotebookInstanceLifecycleConfig"),
        _calls("sagemaker", "UpdateNotebookInstanceLifecycleConfig"),
        name="NotebookInstanceLifecycleConfigName",
    ),
    "AWS::ApplicationAutoScaling::ScalableTarget": Type(
        "arn:{p}:application-autoscaling:{r}:scalable-target/",
        ("*",),
        _calls("application-autoscaling", "RegisterScalableTarget TagResource"),
        _calls("application-autoscaling", "DeleteScheduledAction DeregisterScalableTarget"),
        _calls("application-autoscaling", "PutScheduledAction RegisterScalableTarget"),
        anywhere=_calls("application-autoscaling", "DescribeScalableTargets DescribeScheduledActions"),
        beside=(TRACKING_ALARMS,),
        read=_calls("application-autoscaling", "ListTagsForResource"),
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": Type(
        "arn:{p}:application-autoscaling:{r}:scalable-target/",
        ("*",),
        _calls("application-autoscaling", "PutScalingPolicy"),
        _calls("application-autoscaling", "DeleteScalingPolicy"),
        _calls("application-autoscaling", "PutScalingPolicy"),
        anywhere=("application-autoscaling:DescribeScalingPolicies", "cloudwatch:GetMetricData"),
        beside=(TRACKING_ALARMS,),
    ),
    "AWS::Lambda::Function": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-{s}-*",),
        _calls("lambda", "CreateFunction GetFunction PutFunctionConcurrency TagResource"),
        _calls("lambda", "DeleteFunction"),
        _calls(
            "lambda",
            "DeleteFunctionConcurrency GetFunctionConfiguration UntagResource UpdateFunctionCode"
            " UpdateFunctionConfiguration",
        ),
        passes_role=True,
        name="FunctionName",
        read=_calls(
            "lambda",
            "GetFunctionCodeSigningConfig GetFunctionRecursionConfig GetFunctionScalingConfig"
            " GetRuntimeManagementConfig ListTags",
        ),
        anywhere=_calls("ec2", "DescribeNetworkInterfaces"),
    ),
    "AWS::Lambda::Version": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-{s}-*",),
        _calls("lambda", "GetFunctionConfiguration ListVersionsByFunction PublishVersion"),
        _calls("lambda", "DeleteFunction"),
        name="FunctionName",
        read=_calls("lambda", "GetFunctionScalingConfig GetRuntimeManagementConfig"),
    ),
    "AWS::Lambda::Alias": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-{s}-*",),
        _calls("lambda", "CreateAlias GetAlias GetProvisionedConcurrencyConfig PutProvisionedConcurrencyConfig"),
        _calls("lambda", "DeleteAlias DeleteProvisionedConcurrencyConfig"),
        _calls("lambda", "UpdateAlias"),
        name="FunctionName",
    ),
    "AWS::Lambda::Permission": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-{s}-*",),
        _calls("lambda", "AddPermission GetPolicy"),
        _calls("lambda", "RemovePermission"),
        name="FunctionName",
    ),
    "AWS::Lambda::Url": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-{s}-*",),
        _calls("lambda", "CreateFunctionUrlConfig GetFunctionUrlConfig"),
        _calls("lambda", "DeleteFunctionUrlConfig"),
        _calls("lambda", "UpdateFunctionUrlConfig"),
        name="TargetFunctionArn",
    ),
    "AWS::AutoScaling::AutoScalingGroup": Type(
        "arn:{p}:autoscaling:{r}:autoScalingGroup:*:autoScalingGroupName/",
        ("Kennel-{s}-*",),
        _calls("autoscaling", "CreateAutoScalingGroup CreateOrUpdateTags EnableMetricsCollection"),
        _calls("autoscaling", "DeleteAutoScalingGroup"),
        _calls("autoscaling", "DeleteTags DisableMetricsCollection EnableMetricsCollection UpdateAutoScalingGroup"),
        anywhere=(
            *_calls(
                "autoscaling",
                "DescribeAutoScalingGroups DescribeAutoScalingInstances DescribeInstanceRefreshes"
                " DescribeLifecycleHooks DescribeLoadBalancerTargetGroups DescribeLoadBalancers"
                " DescribeNotificationConfigurations DescribePolicies DescribeScalingActivities"
                " DescribeScheduledActions DescribeTags DescribeTrafficSources DescribeWarmPool",
            ),
            *_calls("ec2", "DescribeImages DescribeInstances DescribeInstanceTypes DescribeLaunchTemplateVersions"),
        ),
        # The launch template is tried in the name of who makes the group: EC2 Auto Scaling's user guide, "Control
        # Amazon EC2 launch template usage" and "Use AWS Systems Manager parameters instead of AMI IDs".
        beside=(
            *((EC2 + f"{kind}/*", ("ec2:RunInstances",)) for kind in ("instance", "network-interface", "volume")),
            ("arn:{p}:ec2:{region}::image/*", ("ec2:RunInstances",)),
            ("arn:{p}:ec2:{region}::snapshot/*", ("ec2:RunInstances",)),
            ("arn:{p}:ssm:{region}::parameter/aws/service/ami-amazon-linux-latest/*", ("ssm:GetParameters",)),
        ),
        name="AutoScalingGroupName",
    ),
    "AWS::Scheduler::Schedule": Type(
        "arn:{p}:scheduler:{r}:schedule/default/",
        ("Kennel-{s}-*",),
        _calls("scheduler", "CreateSchedule GetSchedule"),
        _calls("scheduler", "DeleteSchedule"),
        _calls("scheduler", "UpdateSchedule"),
        name="Name",
        passes_role=True,
    ),
    "AWS::CloudFront::Distribution": Type(
        "arn:{p}:cloudfront::{a}:distribution/",
        ("*",),
        _calls("cloudfront", "GetDistribution GetDistributionConfig TagResource"),
        _calls("cloudfront", "DeleteDistribution UpdateDistribution"),
        _calls("cloudfront", "UntagResource UpdateDistribution"),
        read=_calls("cloudfront", "ListTagsForResource"),
        anywhere=_calls("cloudfront", "CreateDistribution"),
    ),
    "AWS::CloudFront::OriginAccessControl": Type(
        "arn:{p}:cloudfront::{a}:origin-access-control/",
        ("*",),
        _calls("cloudfront", "GetOriginAccessControl"),
        _calls("cloudfront", "DeleteOriginAccessControl"),
        _calls("cloudfront", "UpdateOriginAccessControl"),
        anywhere=_calls("cloudfront", "CreateOriginAccessControl"),
    ),
    "AWS::EC2::LaunchTemplate": Type(
        EC2 + "launch-template/",
        ("*",),
        (),
        _calls("ec2", "DeleteLaunchTemplate"),
        _calls("ec2", "CreateLaunchTemplateVersion CreateTags DeleteTags"),
        anywhere=_calls("ec2", "DescribeLaunchTemplateVersions DescribeLaunchTemplates"),
        tagged=True,
        makes=_calls("ec2", "CreateLaunchTemplate"),
    ),
    "AWS::EC2::VPC": Type(
        EC2 + "vpc/",
        ("*",),
        _calls("ec2", "ModifyVpcAttribute"),
        _calls("ec2", "DeleteVpc"),
        _calls("ec2", "CreateTags DeleteTags"),
        anywhere=_calls(
            "ec2",
            "DescribeAvailabilityZones DescribeNetworkAcls DescribeSecurityGroups DescribeVpcAttribute"
            " DescribeVpcEncryptionControls DescribeVpcs",
        ),
        tagged=True,
        makes=_calls("ec2", "CreateVpc"),
    ),
    "AWS::EC2::Subnet": Type(
        EC2 + "subnet/",
        ("*",),
        _calls("ec2", "ModifySubnetAttribute"),
        _calls("ec2", "DeleteSubnet"),
        _calls("ec2", "CreateTags DeleteTags"),
        anywhere=_calls("ec2", "DescribeNetworkAcls DescribeSubnets"),
        tagged=True,
        makes=_calls("ec2", "CreateSubnet"),
        parents=(("VpcId", "vpc"),),
    ),
    "AWS::EC2::InternetGateway": Type(
        EC2 + "internet-gateway/",
        ("*",),
        (),
        _calls("ec2", "DeleteInternetGateway"),
        _calls("ec2", "CreateTags DeleteTags"),
        anywhere=_calls("ec2", "DescribeInternetGateways"),
        tagged=True,
        makes=_calls("ec2", "CreateInternetGateway"),
    ),
    "AWS::EC2::VPCGatewayAttachment": Type(
        EC2 + "internet-gateway/",
        ("*",),
        _calls("ec2", "AttachInternetGateway"),
        _calls("ec2", "DetachInternetGateway"),
        anywhere=_calls("ec2", "DescribeInternetGateways DescribeVpnGateways"),
        name="InternetGatewayId",
        tagged=True,
        parents=(("VpcId", "vpc"),),
    ),
    "AWS::EC2::RouteTable": Type(
        EC2 + "route-table/",
        ("*",),
        (),
        _calls("ec2", "DeleteRouteTable"),
        _calls("ec2", "CreateTags DeleteTags"),
        anywhere=_calls("ec2", "DescribeRouteTables"),
        tagged=True,
        makes=_calls("ec2", "CreateRouteTable"),
        parents=(("VpcId", "vpc"),),
    ),
    "AWS::EC2::Route": Type(
        EC2 + "route-table/",
        ("*",),
        _calls("ec2", "CreateRoute"),
        _calls("ec2", "DeleteRoute"),
        _calls("ec2", "ReplaceRoute"),
        anywhere=_calls("ec2", "DescribeNetworkInterfaces DescribeRouteTables"),
        name="RouteTableId",
        tagged=True,
    ),
    "AWS::EC2::SubnetRouteTableAssociation": Type(
        EC2 + "route-table/",
        ("*",),
        _calls("ec2", "AssociateRouteTable"),
        _calls("ec2", "DisassociateRouteTable"),
        _calls("ec2", "ReplaceRouteTableAssociation"),
        anywhere=_calls("ec2", "DescribeRouteTables"),
        name="RouteTableId",
        tagged=True,
        parents=(("SubnetId", "subnet"),),
    ),
    "AWS::EC2::SecurityGroup": Type(
        EC2 + "security-group/",
        ("*",),
        _calls("ec2", "AuthorizeSecurityGroupEgress RevokeSecurityGroupEgress"),
        _calls("ec2", "DeleteSecurityGroup"),
        _calls(
            "ec2",
            "AuthorizeSecurityGroupIngress CreateTags DeleteTags RevokeSecurityGroupIngress"
            " UpdateSecurityGroupRuleDescriptionsEgress UpdateSecurityGroupRuleDescriptionsIngress",
        ),
        anywhere=_calls("ec2", "DescribeInstances DescribeSecurityGroups"),
        # Rules are resources of their own, and new.
        beside=((EC2 + "security-group-rule/*", _calls("ec2", f"{RULES}Egress {RULES}Ingress")),),
        tagged=True,
        makes=_calls("ec2", "CreateSecurityGroup"),
        parents=(("VpcId", "vpc"),),
    ),
    "AWS::EC2::VPCEndpoint": Type(
        EC2 + "vpc-endpoint/",
        ("*",),
        (),
        _calls("ec2", "DeleteVpcEndpoints"),
        _calls("ec2", "CreateTags DeleteTags ModifyVpcEndpoint"),
        anywhere=_calls("ec2", "DescribeVpcEndpoints"),
        tagged=True,
        makes=_calls("ec2", "CreateVpcEndpoint"),
        parents=(("VpcId", "vpc"), ("RouteTableIds", "route-table")),
    ),
    # CDK's own functions: they empty buckets, and close the default security group.
    "Custom::S3AutoDeleteObjects": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-{s}-*",),
        _calls("lambda", "InvokeFunction"),
        _calls("lambda", "InvokeFunction"),
        _calls("lambda", "InvokeFunction"),
        name="ServiceToken",
    ),
    "Custom::VpcRestrictDefaultSG": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-{s}-*",),
        _calls("lambda", "InvokeFunction"),
        _calls("lambda", "InvokeFunction"),
        _calls("lambda", "InvokeFunction"),
        name="ServiceToken",
    ),
}


# What the stage's key lets CloudFormation do with it, and with its alias.
KEY_OF_DEPLOYS = tuple(
    sorted(
        call
        for kind in ("AWS::KMS::Key", "AWS::KMS::Alias")
        for call in (*TYPES[kind].create, *TYPES[kind].update, *TYPES[kind].delete, *TYPES[kind].read)
    )
)
# A stage has them only if it asks for them: AWS can tell none of an account's distributions from another.
CLOUDFRONT = ("AWS::CloudFront::Distribution", "AWS::CloudFront::OriginAccessControl")
# The tag of a stage's resources, and the condition key of the calls that tag while something is created.
WHILE_CREATING = {"ec2:CreateTags": "ec2:CreateAction", "sagemaker:AddTags": "sagemaker:TaggingAction"}
# What a deploy can do to resources of others, by action: AWS authorizes these on any resource, or on ids that say
# nothing. Kept by a test of each mutating call; the account of its own that docs/delivery.md recommends closes it.
RESIDUAL = {
    **dict.fromkeys(
        _calls("logs", "DeleteResourcePolicy PutResourcePolicy DeleteQueryDefinition PutQueryDefinition"),
        "the reference has no resource level",
    ),
    "cloudwatch:PutCompositeAlarm": "CloudWatch's permissions reference: on every resource alone",
    **dict.fromkeys(
        _calls(
            "application-autoscaling",
            "DeleteScalingPolicy DeleteScheduledAction DeregisterScalableTarget PutScalingPolicy PutScheduledAction"
            " RegisterScalableTarget TagResource",
        ),
        "targets have ids that say nothing, and CloudFormation gives them no tags; of SageMaker and Lambda alone",
    ),
    "cloudwatch:DeleteAlarms": "the alarms of target tracking, which AWS names",
    "cloudwatch:PutMetricAlarm": "the alarms of target tracking, which AWS names",
    "sagemaker:CreateEndpoint": "an endpoint of the stage may use any config",
    "sagemaker:UpdateEndpoint": "an endpoint of the stage may use any config",
}


def qualifier(stage: str, named: str | None = None) -> str:
    """The qualifier of the stage's CDK bootstrap: at most ten letters and digits, by CDK's rule.

    `named` is that of a team's own bootstrap, the context value QUALIFIER, which then serves all stages.
    """
    short = stage if len(stage) < MAX_QUALIFIER else hashlib.sha256(stage.encode()).hexdigest()[: MAX_QUALIFIER - 1]
    return named or f"k{short}"


def boundary_name(stage: str, region: str) -> str:
    """The name of the policy that is the boundary of every role of a stage."""
    return f"kennel-{stage}-boundary-{region}"


# What the deploy calls beside the resources' own.
EXTRA: list[Statement] = [
    {
        "Sid": "RolesToServices",
        "Action": ["iam:PassRole"],
        "Resource": ["arn:{p}:iam::{a}:role/Kennel-{s}-*"],
        "Condition": {"StringEquals": {"iam:PassedToService": list(SERVICES)}},
    },
    {
        "Sid": "RolesUnderTheBoundary",
        "Action": ["iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"],
        "Resource": ["arn:{p}:iam::{a}:role/Kennel-{s}-*"],
        "Condition": {
            "StringEquals": {"iam:PermissionsBoundary": "arn:{p}:iam::{a}:policy/" + boundary_name("{s}", "{region}")},
            "ArnEqualsIfExists": {"iam:PolicyARN": ["arn:{p}:iam::aws:policy/" + name for name in AWS_POLICIES]},
        },
    },
    {
        "Sid": "ServicesOwnRoles",
        "Action": ["iam:CreateServiceLinkedRole"],
        "Resource": ["arn:{p}:iam::{a}:role/aws-service-role/*"],
        "Condition": {
            "StringEquals": {
                "iam:AWSServiceName": [
                    "autoscaling.amazonaws.com",
                    "lambda.application-autoscaling.amazonaws.com",
                    "sagemaker.application-autoscaling.amazonaws.com",
                    "spot.amazonaws.com",
                ]
            }
        },
    },
    {
        "Sid": "CodeOfFunctions",
        "Action": ["s3:GetObject", "s3:GetObjectVersion"],
        "Resource": ["arn:{p}:s3:::cdk-{q}-assets-{a}-{region}/*"],
    },
    {
        "Sid": "Parameters",
        "Action": ["ssm:GetParameters"],
        "Resource": ["arn:{p}:ssm:{r}:parameter/cdk-bootstrap/{q}/*", "arn:{p}:ssm:{r}:parameter/kennel/{s}/*"],
    },
    {
        # Application Auto Scaling asks whether its caller may hand it the role that it acts in.
        "Sid": "RolesOfScaling",
        "Action": ["iam:PassRole"],
        "Resource": ["arn:{p}:iam::{a}:role/aws-service-role/*.application-autoscaling.amazonaws.com/*"],
    },
]
CONDITIONAL = {"iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"}

SAGEMAKER = ("endpoint", "endpoint-config", "model", "notebook-instance", "training-job")
# The most that a role of a stage can be given: nothing of another stage. tests/infra holds every role's own policy to
# be within it.
BOUNDARY: list[Statement] = [
    {
        "Sid": "Objects",
        "Action": ["s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:PutObjectTagging"],
        "Resource": ["arn:{p}:s3:::kennel-{s}-*"],
    },
    {
        "Sid": "Code",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": ["arn:{p}:s3:::cdk-{q}-assets-{a}-{region}", "arn:{p}:s3:::cdk-{q}-assets-{a}-{region}/*"],
    },
    {
        "Sid": "EmptyingBuckets",
        "Action": ["s3:DeleteObject*", "s3:GetBucket*", "s3:List*", "s3:PutBucketPolicy"],
        "Resource": ["arn:{p}:s3:::kennel-{s}-*"],
    },
    {
        "Sid": "Data",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": ["arn:{p}:kms:{r}:key/*"],
        "Condition": {
            "StringLike": {
                "kms:EncryptionContext:aws:s3:arn": ["arn:{p}:s3:::kennel-{s}-*"],
                "kms:ViaService": "s3.{region}.amazonaws.com*",
            }
        },
    },
    {
        "Sid": "Volumes",
        "Action": ["kms:CreateGrant"],
        "Resource": ["arn:{p}:kms:{r}:key/*"],
        "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
    },
    {
        "Sid": "SageMaker",
        "Action": [
            *(
                f"sagemaker:{verb}{noun}"
                for noun in ("Model", "EndpointConfig", "Endpoint")
                for verb in ("Create", "Delete")
                if verb + noun != "CreateModel"
            ),
            *_calls("sagemaker", "AddTags InvokeEndpoint StopNotebookInstance StopTrainingJob"),
        ],
        "Resource": [f"arn:{{p}}:sagemaker:{{r}}:{kind}/kennel-{{s}}-*" for kind in SAGEMAKER],
    },
    {
        # CloudFormation names the models and configs.
        "Sid": "Describing",
        "Action": _calls(
            "sagemaker",
            "DescribeEndpoint DescribeEndpointConfig DescribeModel DescribeNotebookInstance DescribeTrainingJob",
        ),
        "Resource": [f"arn:{{p}}:sagemaker:{{r}}:{kind}/*" for kind in SAGEMAKER],
    },
    {
        # What has data in it gets no network.
        "Sid": "WithoutNetwork",
        "Action": _calls("sagemaker", "CreateModel CreateTrainingJob"),
        "Resource": [f"arn:{{p}}:sagemaker:{{r}}:{kind}/kennel-{{s}}-*" for kind in ("model", "training-job")],
        "Condition": {"Bool": {"sagemaker:NetworkIsolation": "true"}},
    },
    {
        "Sid": "RolesOfJobsAndEndpoints",
        "Action": ["iam:PassRole"],
        "Resource": ["arn:{p}:iam::{a}:role/Kennel-{s}-*"],
        "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    },
    {
        "Sid": "Logs",
        "Action": _calls("logs", "CreateLogGroup CreateLogStream DescribeLogStreams GetLogEvents PutLogEvents"),
        "Resource": [
            "arn:{p}:logs:{r}:log-group:/kennel/{s}/*",
            "arn:{p}:logs:{r}:log-group:/aws/sagemaker/Endpoints/kennel-{s}-*",
            # All jobs of an account share one group.
            "arn:{p}:logs:{r}:log-group:/aws/sagemaker/TrainingJobs",
            "arn:{p}:logs:{r}:log-group:/aws/sagemaker/TrainingJobs:*",
            # The log groups of CDK's own functions.
            "arn:{p}:logs:{r}:log-group:/aws/lambda/Kennel-{s}-*",
        ],
    },
    {
        "Sid": "Images",
        "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        "Resource": ["arn:{p}:ecr:*:*:repository/*"],
    },
    {
        "Sid": "NoResourceLevel",
        "Action": [
            "cloudwatch:PutMetricData",
            "ecr:GetAuthorizationToken",
            *_calls("ssmmessages", "CreateControlChannel CreateDataChannel OpenControlChannel OpenDataChannel"),
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
        ],
        "Resource": ["*"],
    },
    {
        "Sid": "Stage",
        "Action": [
            "autoscaling:SetDesiredCapacity",
            "cloudformation:DescribeStacks",
            "cloudwatch:DescribeAlarms",
            "ssm:GetParameter",
        ],
        "Resource": [
            "arn:{p}:autoscaling:{r}:autoScalingGroup:*:autoScalingGroupName/Kennel-{s}-*",
            "arn:{p}:cloudformation:{r}:stack/Kennel-{s}-*",
            "arn:{p}:cloudwatch:{r}:alarm:kennel-{s}-*",
            "arn:{p}:ssm:{r}:parameter/kennel/{s}/*",
        ],
    },
    {
        "Sid": "NightStop",
        "Action": ["cloudformation:DeleteStack"],
        "Resource": ["arn:{p}:cloudformation:{r}:stack/Kennel-{s}-Serving/*"],
    },
    {
        # CDK's own function alone: a VPC's default group has neither name nor tag.
        "Sid": "DefaultSecurityGroup",
        "Action": [
            *(f"ec2:{verb}SecurityGroup{way}" for verb in ("Authorize", "Revoke") for way in ("Egress", "Ingress")),
        ],
        "Resource": ["arn:{p}:ec2:{r}:security-group/*"],
        "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:{p}:iam::{a}:role/Kennel-{s}-Training-Custom*"}},
    },
    {
        "Sid": "SessionManager",
        "Action": ["ssm:UpdateInstanceInformation"],
        "Resource": ["arn:{p}:ec2:{r}:instance/*"],
    },
]


@dataclass(frozen=True)
class Place:
    """Where a stage is deployed, by which bootstrap, and whether it has a page behind CloudFront."""

    stage: str
    region: str
    account: str
    partition: str = "aws"
    cloudfront: bool = False
    bootstrap: str | None = None


def execution_policies(place: Place) -> list[dict[str, Any]]:
    """The documents of CloudFormation's policies for a stage, as many as their size takes."""
    types = [kind for name, kind in TYPES.items() if place.cloudfront or name not in CLOUDFRONT]
    documents: list[list[Statement]] = [[]]
    for statement in _filled([*_by_pattern(types), *EXTRA], place):
        if _size([*documents[-1], statement]) > MAX_CHARACTERS:
            documents.append([])
        documents[-1].append(statement)
    return [_document(statements) for statements in documents]


def boundary_policy(place: Place) -> dict[str, Any]:
    """The document of the boundary of every role of a stage."""
    return _document(_filled(BOUNDARY, place))


def _by_pattern(types: Sequence[Type]) -> Iterator[Statement]:
    """Statements by pattern, for what only a tag marks as the stage's, and for what has no resource level."""
    plain: dict[tuple[str, ...], set[str]] = {}
    marked: dict[str, set[str]] = {}
    tagging: dict[str, set[str]] = {}
    for kind in types:
        patterns = tuple(kind.on + scope for scope in kind.scope)
        calls = {*kind.create, *kind.update, *kind.delete}
        plain.setdefault(patterns, set()).update(kind.makes, kind.read if not kind.by_key_policy else ())
        if kind.tagged:
            # EC2's calls name several kinds of resources at once: a subnet and its VPC.
            everything = EC2 + "*" if kind.on.startswith(EC2) else patterns[0]
            marked.setdefault(everything, set()).update(calls, kind.makes if kind.on.startswith(EC2) else ())
            for call in calls & {*WHILE_CREATING}:
                tagging.setdefault(call, set()).update(kind.makes)
        elif not kind.by_key_policy:
            plain[patterns].update(calls)
        for other, others in kind.beside:
            plain.setdefault((other,), set()).update(others)
    # An Auto Scaling group starts instances in the stage's own network, from its own launch template.
    marked[EC2 + "*"].add("ec2:RunInstances")
    for resources, actions in plain.items():
        if wanted := sorted(actions - CONDITIONAL):
            yield {"Action": wanted, "Resource": list(resources)}
    for pattern, actions in marked.items():
        condition = {"StringEquals": {f"aws:ResourceTag/{STAGE_TAG}": "{s}"}}
        yield {"Action": sorted(actions), "Resource": [pattern], "Condition": condition}
    for call, makes in tagging.items():
        names = sorted(name.partition(":")[2] for name in makes)
        condition = {"StringEquals": {WHILE_CREATING[call]: names}}
        yield {"Action": [call], "Resource": [f"arn:{{p}}:{call.partition(':')[0]}:{{r}}:*"], "Condition": condition}
    yield {"Action": sorted({call for kind in types for call in kind.anywhere}), "Resource": ["*"]}


def _filled(statements: list[Statement], place: Place) -> list[Statement]:
    text = json.dumps(statements)
    for name, value in (
        ("{p}", place.partition),
        ("{r}", f"{place.region}:{place.account}"),
        ("{a}", place.account),
        ("{region}", place.region),
        ("{s}", place.stage),
        ("{q}", qualifier(place.stage, place.bootstrap)),
    ):
        text = text.replace(name, value)
    return [{"Effect": "Allow", **statement} for statement in json.loads(text)]


def _document(statements: list[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _size(statements: list[Statement]) -> int:
    return len(json.dumps(_document(statements), separators=(",", ":")))
