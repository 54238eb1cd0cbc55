"""What CloudFormation may do when it deploys Kennel: no administrator, and no role beyond the boundary.

`kennel bootstrap` makes the policies of this module and has CDK's execution role use them. One table says for each
resource type which calls making, changing and removing it takes, and on what; the embedded AWS holds deploys to it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Statement = dict[str, Any]

# Of a managed policy, without white space.
MAX_CHARACTERS = 6144
# The only policy of AWS that a role may have: CDK's own functions do.
AWS_POLICIES = ("service-role/AWSLambdaBasicExecutionRole",)
SERVICES = ("ec2.amazonaws.com", "lambda.amazonaws.com", "sagemaker.amazonaws.com", "scheduler.amazonaws.com")


@dataclass(frozen=True)
class Type:
    """The calls that one resource type takes: on ARNs of `on` and a name of `scope`, or `anywhere`, without a resource.

    `read` is what CloudFormation calls after each change, to know the attributes that templates refer to; `beside` are
    calls on other resources, by their ARN. {p} stands for the partition, {r} for region and account, {region} and {a}
    for each of them; `name` is the property that names the resource, or the one that it belongs to.
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
    # The name says nothing: only what carries a stage's tag is changed or removed.
    tagged: bool = False


def _calls(service: str, names: str) -> tuple[str, ...]:
    return tuple(f"{service}:{name}" for name in names.split())


# Most calls of EC2 name several kinds of resources at once: a subnet and its VPC.
EC2 = "arn:{p}:ec2:{r}:"
# The alarms of target tracking, which Application Auto Scaling makes in the name of its caller.
TRACKING_ALARMS = (
    "arn:{p}:cloudwatch:{r}:alarm:TargetTracking-*",
    _calls("cloudwatch", "DeleteAlarms DescribeAlarms PutMetricAlarm"),
)

TYPES = {
    "AWS::S3::Bucket": Type(
        "arn:{p}:s3:::",
        ("kennel-*",),
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
        ("kennel-*",),
        _calls("s3", "GetBucketPolicy PutBucketPolicy"),
        _calls("s3", "DeleteBucketPolicy"),
        _calls("s3", "PutBucketPolicy"),
        name="Bucket",
    ),
    "AWS::KMS::Key": Type(
        "arn:{p}:kms:{r}:key/",
        ("*",),
        _calls(
            "kms",
            "CreateAlias DescribeKey EnableKeyRotation GetKeyPolicy GetKeyRotationStatus ListResourceTags TagResource",
        ),
        _calls("kms", "ScheduleKeyDeletion"),
        _calls(
            "kms",
            "DeleteAlias DisableKey DisableKeyRotation EnableKey PutKeyPolicy UntagResource UpdateAlias"
            " UpdateKeyDescription",
        ),
        anywhere=_calls("kms", "CreateKey"),
        tagged=True,
    ),
    "AWS::KMS::Alias": Type(
        "arn:{p}:kms:{r}:",
        ("alias/kennel-*",),
        _calls("kms", "CreateAlias"),
        _calls("kms", "DeleteAlias"),
        _calls("kms", "UpdateAlias"),
        anywhere=_calls("kms", "ListAliases"),
        name="AliasName",
    ),
    "AWS::IAM::Role": Type(
        "arn:{p}:iam::{a}:role/",
        ("Kennel-*",),
        _calls("iam", "CreateRole GetRole PutRolePolicy TagRole"),
        _calls("iam", "DeleteRole DeleteRolePolicy DetachRolePolicy ListAttachedRolePolicies ListRolePolicies"),
        _calls("iam", "PutRolePermissionsBoundary UntagRole UpdateAssumeRolePolicy UpdateRole UpdateRoleDescription"),
        name="RoleName",
        read=_calls("iam", "GetRolePolicy ListAttachedRolePolicies ListRolePolicies ListRoleTags"),
    ),
    "AWS::IAM::Policy": Type(
        "arn:{p}:iam::{a}:role/",
        ("Kennel-*",),
        _calls("iam", "GetRolePolicy PutRolePolicy"),
        _calls("iam", "DeleteRolePolicy"),
        _calls("iam", "PutRolePolicy"),
        name="Roles",
    ),
    "AWS::IAM::ManagedPolicy": Type(
        "arn:{p}:iam::{a}:policy/",
        ("Kennel-*",),
        _calls("iam", "CreatePolicy GetPolicy GetPolicyVersion"),
        _calls("iam", "DeletePolicy DeletePolicyVersion ListPolicyVersions"),
        _calls("iam", "CreatePolicyVersion DeletePolicyVersion ListPolicyVersions"),
        name="ManagedPolicyName",
        read=_calls("iam", "ListEntitiesForPolicy"),
    ),
    "AWS::IAM::InstanceProfile": Type(
        "arn:{p}:iam::{a}:instance-profile/",
        ("Kennel-*",),
        _calls("iam", "AddRoleToInstanceProfile CreateInstanceProfile GetInstanceProfile"),
        _calls("iam", "DeleteInstanceProfile RemoveRoleFromInstanceProfile"),
        passes_role=True,
        name="InstanceProfileName",
    ),
    "AWS::Logs::LogGroup": Type(
        "arn:{p}:logs:{r}:log-group:",
        ("/kennel/*", "/aws/sagemaker/Endpoints/kennel-*"),
        _calls("logs", "CreateLogGroup PutRetentionPolicy TagResource"),
        _calls("logs", "DeleteLogGroup"),
        _calls("logs", "DeleteRetentionPolicy PutRetentionPolicy UntagResource"),
        anywhere=_calls("logs", "DescribeIndexPolicies DescribeLogGroups"),
        name="LogGroupName",
        read=_calls("logs", "GetDataProtectionPolicy ListTagsForResource"),
    ),
    "AWS::CloudWatch::Alarm": Type(
        "arn:{p}:cloudwatch:{r}:alarm:",
        ("kennel-*", "Kennel-*"),
        _calls("cloudwatch", "DescribeAlarms PutMetricAlarm TagResource"),
        _calls("cloudwatch", "DeleteAlarms"),
        _calls("cloudwatch", "PutMetricAlarm UntagResource"),
        name="AlarmName",
        read=_calls("cloudwatch", "ListTagsForResource"),
    ),
    "AWS::CloudWatch::CompositeAlarm": Type(
        "arn:{p}:cloudwatch:{r}:alarm:",
        ("kennel-*", "Kennel-*"),
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
        ("Kennel-*",),
        _calls("cloudwatch", "GetDashboard PutDashboard TagResource"),
        _calls("cloudwatch", "DeleteDashboards"),
        _calls("cloudwatch", "PutDashboard UntagResource"),
        name="DashboardName",
        read=_calls("cloudwatch", "ListTagsForResource"),
    ),
    "AWS::SNS::Topic": Type(
        "arn:{p}:sns:{r}:",
        ("Kennel-*",),
        _calls("sns", "CreateTopic GetTopicAttributes ListSubscriptionsByTopic SetTopicAttributes TagResource"),
        _calls("sns", "DeleteTopic"),
        _calls("sns", "SetTopicAttributes UntagResource"),
        name="TopicName",
        read=_calls("sns", "GetDataProtectionPolicy ListTagsForResource"),
    ),
    "AWS::SNS::TopicPolicy": Type(
        "arn:{p}:sns:{r}:",
        ("Kennel-*",),
        _calls("sns", "SetTopicAttributes"),
        _calls("sns", "SetTopicAttributes"),
        _calls("sns", "SetTopicAttributes"),
        name="Topics",
    ),
    "AWS::SNS::Subscription": Type(
        "arn:{p}:sns:{r}:",
        ("Kennel-*",),
        _calls("sns", "ListSubscriptionsByTopic Subscribe"),
        (),
        anywhere=_calls("sns", "GetSubscriptionAttributes SetSubscriptionAttributes Unsubscribe"),
        name="TopicArn",
    ),
    "AWS::Budgets::Budget": Type(
        "arn:{p}:budgets::{a}:budget/",
        ("Kennel-*",),
        _calls("budgets", "ListTagsForResource ModifyBudget TagResource ViewBudget"),
        _calls("budgets", "ModifyBudget"),
        _calls("budgets", "ModifyBudget UntagResource"),
    ),
    "AWS::Events::Rule": Type(
        "arn:{p}:events:{r}:rule/",
        ("Kennel-*",),
        _calls("events", "DescribeRule ListTargetsByRule PutRule PutTargets TagResource"),
        _calls("events", "DeleteRule RemoveTargets"),
        _calls("events", "PutRule PutTargets RemoveTargets UntagResource"),
        name="Name",
        read=_calls("events", "ListTagsForResource"),
    ),
    "AWS::Logs::MetricFilter": Type(
        "arn:{p}:logs:{r}:log-group:",
        ("/kennel/*",),
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
        _calls("sagemaker", "AddTags CreateModel DescribeModel"),
        _calls("sagemaker", "DeleteModel"),
        _calls("sagemaker", "DeleteTags"),
        passes_role=True,
        tagged=True,
        read=_calls("sagemaker", "ListTags"),
    ),
    "AWS::SageMaker::EndpointConfig": Type(
        "arn:{p}:sagemaker:{r}:endpoint-config/",
        ("*",),
        _calls("sagemaker", "AddTags CreateEndpointConfig DescribeEndpointConfig"),
        _calls("sagemaker", "DeleteEndpointConfig"),
        _calls("sagemaker", "DeleteTags"),
        tagged=True,
        read=_calls("sagemaker", "ListTags"),
    ),
    "AWS::SageMaker::Endpoint": Type(
        "arn:{p}:sagemaker:{r}:endpoint/",
        ("kennel-*",),
        _calls("sagemaker", "AddTags CreateEndpoint DescribeEndpoint"),
        _calls("sagemaker", "DeleteEndpoint"),
        _calls("sagemaker", "DeleteTags UpdateEndpoint UpdateEndpointWeightsAndCapacities"),
        name="EndpointName",
        read=_calls("sagemaker", "ListTags"),
        beside=(("arn:{p}:sagemaker:{r}:endpoint-config/*", _calls("sagemaker", "CreateEndpoint UpdateEndpoint")),),
    ),
    "AWS::SageMaker::NotebookInstance": Type(
        "arn:{p}:sagemaker:{r}:notebook-instance/",
        ("kennel-*",),
        _calls("sagemaker", "AddTags CreateNotebookInstance DescribeNotebookInstance"),
        _calls("sagemaker", "DeleteNotebookInstance StopNotebookInstance"),
        _calls("sagemaker", "DeleteTags StartNotebookInstance StopNotebookInstance UpdateNotebookInstance"),
        passes_role=True,
        name="NotebookInstanceName",
        read=_calls("sagemaker", "ListTags"),
    ),
    "AWS::SageMaker::NotebookInstanceLifecycleConfig": Type(
        "arn:{p}:sagemaker:{r}:notebook-instance-lifecycle-config/",
        ("*",),
        _calls("sagemaker", "CreateNotebookInstanceLifecycleConfig DescribeNotebookInstanceLifecycleConfig"),
        _calls("sagemaker", "DeleteNotebookInstanceLifecycleConfig"),
        _calls("sagemaker", "UpdateNotebookInstanceLifecycleConfig"),
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
        ("Kennel-*",),
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
        ("Kennel-*",),
        _calls("lambda", "GetFunctionConfiguration ListVersionsByFunction PublishVersion"),
        _calls("lambda", "DeleteFunction"),
        name="FunctionName",
        read=_calls("lambda", "GetFunctionScalingConfig GetRuntimeManagementConfig"),
    ),
    "AWS::Lambda::Alias": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-*",),
        _calls("lambda", "CreateAlias GetAlias GetProvisionedConcurrencyConfig PutProvisionedConcurrencyConfig"),
        _calls("lambda", "DeleteAlias DeleteProvisionedConcurrencyConfig"),
        _calls("lambda", "UpdateAlias"),
        name="FunctionName",
    ),
    "AWS::Lambda::Permission": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-*",),
        _calls("lambda", "AddPermission GetPolicy"),
        _calls("lambda", "RemovePermission"),
        name="FunctionName",
    ),
    "AWS::Lambda::Url": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-*",),
        _calls("lambda", "CreateFunctionUrlConfig GetFunctionUrlConfig"),
        _calls("lambda", "DeleteFunctionUrlConfig"),
        _calls("lambda", "UpdateFunctionUrlConfig"),
        name="TargetFunctionArn",
    ),
    "AWS::AutoScaling::AutoScalingGroup": Type(
        "arn:{p}:autoscaling:{r}:autoScalingGroup:*:autoScalingGroupName/",
        ("Kennel-*",),
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
            (EC2 + "*", ("ec2:RunInstances",)),
            ("arn:{p}:ec2:{region}::image/*", ("ec2:RunInstances",)),
            ("arn:{p}:ec2:{region}::snapshot/*", ("ec2:RunInstances",)),
            ("arn:{p}:ssm:{region}::parameter/aws/service/ami-amazon-linux-latest/*", ("ssm:GetParameters",)),
        ),
        name="AutoScalingGroupName",
    ),
    "AWS::Scheduler::Schedule": Type(
        "arn:{p}:scheduler:{r}:schedule/default/",
        ("Kennel-*",),
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
        tagged=True,
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
        EC2,
        ("*",),
        _calls("ec2", "CreateLaunchTemplate CreateTags"),
        _calls("ec2", "DeleteLaunchTemplate"),
        _calls("ec2", "CreateLaunchTemplateVersion DeleteTags"),
        anywhere=_calls("ec2", "DescribeLaunchTemplateVersions DescribeLaunchTemplates"),
    ),
    "AWS::EC2::VPC": Type(
        EC2,
        ("*",),
        _calls("ec2", "CreateTags CreateVpc ModifyVpcAttribute"),
        _calls("ec2", "DeleteVpc"),
        _calls("ec2", "DeleteTags"),
        anywhere=_calls(
            "ec2",
            "DescribeAvailabilityZones DescribeNetworkAcls DescribeSecurityGroups DescribeVpcAttribute"
            " DescribeVpcEncryptionControls DescribeVpcs",
        ),
        tagged=True,
    ),
    "AWS::EC2::Subnet": Type(
        EC2,
        ("*",),
        _calls("ec2", "CreateSubnet CreateTags ModifySubnetAttribute"),
        _calls("ec2", "DeleteSubnet"),
        _calls("ec2", "DeleteTags"),
        anywhere=_calls("ec2", "DescribeNetworkAcls DescribeSubnets"),
        tagged=True,
    ),
    "AWS::EC2::InternetGateway": Type(
        EC2,
        ("*",),
        _calls("ec2", "CreateInternetGateway CreateTags"),
        _calls("ec2", "DeleteInternetGateway"),
        _calls("ec2", "DeleteTags"),
        anywhere=_calls("ec2", "DescribeInternetGateways"),
        tagged=True,
    ),
    "AWS::EC2::VPCGatewayAttachment": Type(
        EC2,
        ("*",),
        _calls("ec2", "AttachInternetGateway"),
        _calls("ec2", "DetachInternetGateway"),
        anywhere=_calls("ec2", "DescribeInternetGateways DescribeVpnGateways"),
    ),
    "AWS::EC2::RouteTable": Type(
        EC2,
        ("*",),
        _calls("ec2", "CreateRouteTable CreateTags"),
        _calls("ec2", "DeleteRouteTable"),
        _calls("ec2", "DeleteTags"),
        anywhere=_calls("ec2", "DescribeRouteTables"),
        tagged=True,
    ),
    "AWS::EC2::Route": Type(
        EC2,
        ("*",),
        _calls("ec2", "CreateRoute"),
        _calls("ec2", "DeleteRoute"),
        _calls("ec2", "ReplaceRoute"),
        anywhere=_calls("ec2", "DescribeNetworkInterfaces DescribeRouteTables"),
    ),
    "AWS::EC2::SubnetRouteTableAssociation": Type(
        EC2,
        ("*",),
        _calls("ec2", "AssociateRouteTable"),
        _calls("ec2", "DisassociateRouteTable"),
        _calls("ec2", "ReplaceRouteTableAssociation"),
        anywhere=_calls("ec2", "DescribeRouteTables"),
    ),
    "AWS::EC2::SecurityGroup": Type(
        EC2,
        ("*",),
        _calls("ec2", "AuthorizeSecurityGroupEgress CreateSecurityGroup CreateTags RevokeSecurityGroupEgress"),
        _calls("ec2", "DeleteSecurityGroup"),
        _calls(
            "ec2",
            "AuthorizeSecurityGroupIngress DeleteTags RevokeSecurityGroupIngress"
            " UpdateSecurityGroupRuleDescriptionsEgress UpdateSecurityGroupRuleDescriptionsIngress",
        ),
        anywhere=_calls("ec2", "DescribeInstances DescribeSecurityGroups"),
        tagged=True,
    ),
    "AWS::EC2::VPCEndpoint": Type(
        EC2,
        ("*",),
        _calls("ec2", "CreateTags CreateVpcEndpoint"),
        _calls("ec2", "DeleteVpcEndpoints"),
        _calls("ec2", "DeleteTags ModifyVpcEndpoint"),
        anywhere=_calls("ec2", "DescribeVpcEndpoints"),
    ),
    # CDK's own functions: they empty buckets, and close the default security group.
    "Custom::S3AutoDeleteObjects": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-*",),
        _calls("lambda", "InvokeFunction"),
        _calls("lambda", "InvokeFunction"),
        _calls("lambda", "InvokeFunction"),
        name="ServiceToken",
    ),
    "Custom::VpcRestrictDefaultSG": Type(
        "arn:{p}:lambda:{r}:function:",
        ("Kennel-*",),
        _calls("lambda", "InvokeFunction"),
        _calls("lambda", "InvokeFunction"),
        _calls("lambda", "InvokeFunction"),
        name="ServiceToken",
    ),
}


def boundary_name(region: str) -> str:
    """The name of the policy that is the boundary of every role of a region."""
    return f"kennel-boundary-{region}"


# What the deploy calls beside the resources' own.
EXTRA: list[Statement] = [
    {
        "Sid": "RolesToServices",
        "Action": ["iam:PassRole"],
        "Resource": ["arn:{p}:iam::{a}:role/Kennel-*"],
        "Condition": {"StringEquals": {"iam:PassedToService": list(SERVICES)}},
    },
    {
        "Sid": "RolesUnderTheBoundary",
        "Action": ["iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"],
        "Resource": ["arn:{p}:iam::{a}:role/Kennel-*"],
        "Condition": {
            "StringEquals": {"iam:PermissionsBoundary": "arn:{p}:iam::{a}:policy/" + boundary_name("{region}")},
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
        "Resource": ["arn:{p}:s3:::cdk-*-assets-{a}-*/*"],
    },
    {
        "Sid": "Parameters",
        "Action": ["ssm:GetParameters"],
        "Resource": ["arn:{p}:ssm:{r}:parameter/cdk-bootstrap/*", "arn:{p}:ssm:{r}:parameter/kennel/*"],
    },
    {
        "Sid": "Volumes",
        "Action": ["kms:CreateGrant"],
        "Resource": ["arn:{p}:kms:{r}:key/*"],
        "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
    },
    {
        # Application Auto Scaling asks whether its caller may hand it the role that it acts in.
        "Sid": "RolesOfScaling",
        "Action": ["iam:PassRole"],
        "Resource": ["arn:{p}:iam::{a}:role/aws-service-role/*.application-autoscaling.amazonaws.com/*"],
    },
]
CONDITIONAL = {"iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"}

# The most that a role of a stage can be given. tests/infra holds every role's own policy to be within it.
BOUNDARY: list[Statement] = [
    {
        "Sid": "Objects",
        "Action": ["s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:PutObjectTagging"],
        "Resource": ["arn:{p}:s3:::kennel-*", "arn:{p}:s3:::cdk-*-assets-{a}-*"],
    },
    {
        "Sid": "EmptyingBuckets",
        "Action": ["s3:DeleteObject*", "s3:GetBucket*", "s3:List*", "s3:PutBucketPolicy"],
        "Resource": ["arn:{p}:s3:::kennel-*"],
    },
    {
        "Sid": "Key",
        "Action": ["kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": ["arn:{p}:kms:{r}:key/*"],
    },
    {
        "Sid": "SageMaker",
        "Action": [
            *(
                f"sagemaker:{verb}{noun}"
                for noun in ("Model", "EndpointConfig", "Endpoint")
                for verb in ("Create", "Delete", "Describe")
                if verb + noun != "CreateModel"
            ),
            *_calls(
                "sagemaker",
                "AddTags DescribeNotebookInstance DescribeTrainingJob InvokeEndpoint StopNotebookInstance"
                " StopTrainingJob",
            ),
        ],
        "Resource": ["arn:{p}:sagemaker:{r}:*"],
    },
    {
        # What has data in it gets no network.
        "Sid": "WithoutNetwork",
        "Action": _calls("sagemaker", "CreateModel CreateTrainingJob"),
        "Resource": ["arn:{p}:sagemaker:{r}:*"],
        "Condition": {"Bool": {"sagemaker:NetworkIsolation": "true"}},
    },
    {
        "Sid": "RolesOfJobsAndEndpoints",
        "Action": ["iam:PassRole"],
        "Resource": ["arn:{p}:iam::{a}:role/Kennel-*"],
        "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    },
    {
        "Sid": "Logs",
        "Action": [
            *_calls("logs", "CreateLogGroup CreateLogStream DescribeLogStreams GetLogEvents PutLogEvents"),
        ],
        "Resource": [
            "arn:{p}:logs:{r}:log-group:/kennel/*",
            "arn:{p}:logs:{r}:log-group:/aws/sagemaker/*",
            # The log groups of CDK's own functions.
            "arn:{p}:logs:{r}:log-group:/aws/lambda/Kennel-*",
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
            "arn:{p}:autoscaling:{r}:autoScalingGroup:*:autoScalingGroupName/Kennel-*",
            "arn:{p}:cloudformation:{r}:stack/Kennel-*",
            "arn:{p}:cloudwatch:{r}:alarm:kennel-*",
            "arn:{p}:ssm:{r}:parameter/kennel/*",
        ],
    },
    {
        "Sid": "NightStop",
        "Action": ["cloudformation:DeleteStack"],
        "Resource": ["arn:{p}:cloudformation:{r}:stack/Kennel-*-Serving/*"],
    },
    {
        "Sid": "DefaultSecurityGroup",
        "Action": [
            *(f"ec2:{verb}SecurityGroup{way}" for verb in ("Authorize", "Revoke") for way in ("Egress", "Ingress")),
        ],
        "Resource": ["arn:{p}:ec2:{r}:security-group/*"],
    },
    {
        "Sid": "SessionManager",
        "Action": ["ssm:UpdateInstanceInformation"],
        "Resource": ["arn:{p}:ec2:{r}:instance/*"],
    },
]


def execution_policies(partition: str, region: str, account: str) -> list[dict[str, Any]]:
    """The documents of CloudFormation's policies, as many as their size takes."""
    filled = _filled([*_by_pattern(), *EXTRA], partition, region, account)
    documents: list[list[Statement]] = [[]]
    for statement in filled:
        if _size([*documents[-1], statement]) > MAX_CHARACTERS:
            documents.append([])
        documents[-1].append(statement)
    return [_document(statements) for statements in documents]


def boundary_policy(partition: str, region: str, account: str) -> dict[str, Any]:
    """The document of the boundary of every role."""
    return _document(_filled(BOUNDARY, partition, region, account))


def _by_pattern() -> Iterator[Statement]:
    """One statement for each pattern, one for what only a tag marks as ours, one for what has no resource level."""
    plain: dict[tuple[str, ...], set[str]] = {}
    marked: dict[tuple[str, ...], set[str]] = {}
    for kind in TYPES.values():
        patterns = tuple(kind.on + scope for scope in kind.scope)
        changes = {*kind.update, *kind.delete} - {*kind.create, *kind.read}
        (marked if kind.tagged else plain).setdefault(patterns, set()).update(changes)
        plain.setdefault(patterns, set()).update(kind.create, kind.read)
        for other, calls in kind.beside:
            plain.setdefault((other,), set()).update(calls)
    for patterns, actions in plain.items():
        if wanted := sorted(actions - CONDITIONAL - marked.get(patterns, set())):
            yield {"Action": wanted, "Resource": list(patterns)}
    for patterns, actions in marked.items():
        yield {
            "Action": sorted(actions),
            "Resource": list(patterns),
            "Condition": {"StringLike": {"aws:ResourceTag/kennel:stage": "*"}},
        }
    yield {"Action": sorted({call for kind in TYPES.values() for call in kind.anywhere}), "Resource": ["*"]}


def _filled(statements: list[Statement], partition: str, region: str, account: str) -> list[Statement]:
    text = json.dumps(statements)
    for name, value in (
        ("{p}", partition),
        ("{r}", f"{region}:{account}"),
        ("{a}", account),
        ("{region}", region),
    ):
        text = text.replace(name, value)
    return [{"Effect": "Allow", **statement} for statement in json.loads(text)]


def _document(statements: list[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _size(statements: list[Statement]) -> int:
    return len(json.dumps(_document(statements), separators=(",", ":")))
