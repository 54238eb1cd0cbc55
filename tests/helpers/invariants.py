"""What holds in every stage. Each invariant gives its violations, as sentences.

In brackets: the control of AWS Security Hub that asks for it, or the rule of AWS Config where there is no control.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from helpers import REPOSITORY
from helpers.pages import anchors
from infra.instance_types import local_storage
from infra.settings import METRIC_DELAY_S

RUNBOOKS = REPOSITORY / "docs" / "runbooks.md"

Templates = dict[str, dict[str, Any]]
Resource = dict[str, Any]

# Actions for which AWS offers no resource level.
NO_RESOURCE_LEVEL = {
    "cloudformation:ListStacks",
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
# Of the one stage of the matrix that asks for images in its captures.
ASKED_FOR_INPUTS = "ml.m5d.xlarge"
# Written by CDK for its own custom resources.
CDK_OWNED = ("CustomS3AutoDeleteObjects", "CustomVpcRestrictDefaultSG")


def resources(templates: Templates, kind: str) -> Iterator[tuple[str, Resource]]:
    for template in templates.values():
        for name, resource in template["Resources"].items():
            if resource["Type"] == kind and not name.startswith(CDK_OWNED):
                yield name, resource.get("Properties", {})


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(templates: Templates) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        for name, policy in resources(templates, kind):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


def no_action_is_a_wildcard(templates: Templates) -> Iterator[str]:
    for name, statement in statements(templates):
        for action in as_list(statement["Action"]):
            if "*" in action:
                yield f"{name} allows {action} (IAM.21)"


def every_resource_is_named_where_aws_offers_it(templates: Templates) -> Iterator[str]:
    for name, statement in statements(templates):
        if "*" in as_list(statement["Resource"]) and not set(as_list(statement["Action"])) <= NO_RESOURCE_LEVEL:
            yield f"{name} allows {statement['Action']} on every resource (AwsSolutions-IAM5)"


def no_full_access_policy_is_attached(templates: Templates) -> Iterator[str]:
    for name, role in resources(templates, "AWS::IAM::Role"):
        for policy in role.get("ManagedPolicyArns", []):
            if "FullAccess" in json.dumps(policy) or "PowerUser" in json.dumps(policy):
                yield f"{name} has {json.dumps(policy)} (iam-policy-blacklisted-check)"


def a_role_is_passed_to_one_service_only(templates: Templates) -> Iterator[str]:
    for name, statement in statements(templates):
        if "iam:PassRole" in as_list(statement["Action"]) and "iam:PassedToService" not in json.dumps(statement):
            yield f"{name} passes roles to any service"


def sagemaker_roles_trust_this_account_only(templates: Templates) -> Iterator[str]:
    for name, role in resources(templates, "AWS::IAM::Role"):
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            asked = statement.get("Condition", {})
            by_sagemaker = "sagemaker" in json.dumps(statement["Principal"])
            if by_sagemaker and "aws:SourceAccount" not in asked.get("StringEquals", {}):
                yield f"{name} can be assumed on behalf of any account"
            if by_sagemaker and "aws:SourceArn" not in asked.get("ArnLike", {}):
                yield f"{name} can be assumed on behalf of what is not SageMaker's"


def buckets_are_private_versioned_and_encrypted(templates: Templates) -> Iterator[str]:
    for name, bucket in resources(templates, "AWS::S3::Bucket"):
        if set(bucket.get("PublicAccessBlockConfiguration", {}).values()) != {True}:
            yield f"{name} is not closed to the public (S3.8)"
        if bucket.get("VersioningConfiguration", {}).get("Status") != "Enabled":
            yield f"{name} is not versioned (S3.14)"
        if "BucketEncryption" not in bucket:
            yield f"{name} is not encrypted (S3.17)"


def buckets_refuse_plain_http_and_foreign_accounts(templates: Templates) -> Iterator[str]:
    for name, _ in resources(templates, "AWS::S3::Bucket"):
        refused = refusals(templates, name)
        if {"aws:SecureTransport": "false"} not in refused:
            yield f"{name} takes plain HTTP (S3.5)"
        if {"s3:TlsVersion": 1.2} not in refused:
            yield f"{name} takes TLS older than 1.2"
        if not any("aws:PrincipalAccount" in asked for asked in refused):
            yield f"{name} would let in other accounts (S3.6)"


def buckets_refuse_other_keys(templates: Templates) -> Iterator[str]:
    for name, bucket in resources(templates, "AWS::S3::Bucket"):
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        if "KMSMasterKeyID" in rule["ServerSideEncryptionByDefault"]:
            for key in ("s3:x-amz-server-side-encryption-aws-kms-key-id", "s3:x-amz-server-side-encryption"):
                if not any(key in asked for asked in refusals(templates, name)):
                    yield f"{name} takes objects with another {key} (s3-default-encryption-kms)"


def refusals(templates: Templates, bucket: str) -> list[dict[str, Any]]:
    """The conditions under which a bucket refuses everybody."""
    return [
        asked
        for _, policy in resources(templates, "AWS::S3::BucketPolicy")
        if policy["Bucket"]["Ref"] == bucket
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and statement["Principal"] in ("*", {"AWS": "*"})
        for asked in statement["Condition"].values()
    ]


def no_resource_lets_everyone_in(templates: Templates) -> Iterator[str]:
    for kind, document in (("AWS::S3::BucketPolicy", "PolicyDocument"), ("AWS::KMS::Key", "KeyPolicy")):
        for name, resource in resources(templates, kind):
            for statement in resource[document]["Statement"]:
                if statement["Effect"] == "Allow" and statement["Principal"] in ("*", {"AWS": "*"}):
                    yield f"{name} allows {statement['Action']} to everyone (S3.2, KMS.5)"


def the_key_is_used_through_services_only(templates: Templates) -> Iterator[str]:
    for name, key in resources(templates, "AWS::KMS::Key"):
        for statement in key["KeyPolicy"]["Statement"]:
            asked = json.dumps(statement.get("Condition", {}))
            for action in as_list(statement["Action"]):
                for_one_topic = "kms:EncryptionContext:aws:sns:topicArn" in asked and "aws:SourceAccount" in asked
                by_service = "kms:ViaService" in asked or ("Service" in statement["Principal"] and for_one_topic)
                if action in ("kms:*", "kms:Decrypt", "kms:GenerateDataKey") and not by_service:
                    yield f"{name} can be used directly: {action}"
                if action == "kms:CreateGrant" and "kms:GrantIsForAWSResource" not in asked:
                    yield f"{name} can be granted to anyone"


def the_key_rotates(templates: Templates) -> Iterator[str]:
    for name, key in resources(templates, "AWS::KMS::Key"):
        if not key.get("EnableKeyRotation"):
            yield f"{name} does not rotate (KMS.4)"


def models_have_no_network(templates: Templates) -> Iterator[str]:
    for name, model in resources(templates, "AWS::SageMaker::Model"):
        if not model.get("EnableNetworkIsolation") and not any(serverless(templates)):
            yield f"{name} has a network (SageMaker.5)"


def serverless(templates: Templates) -> Iterator[tuple[str, Resource]]:
    """The endpoint configs without instances."""
    for name, config in resources(templates, "AWS::SageMaker::EndpointConfig"):
        if any("ServerlessConfig" in variant for variant in config["ProductionVariants"]):
            yield name, config


def serverless_endpoints_have_nothing_that_sagemaker_excludes(templates: Templates) -> Iterator[str]:
    for name, config in serverless(templates):
        for prop in ("DataCaptureConfig", "KmsKeyId"):
            if prop in config:
                yield f"{name} is serverless and has a {prop}"
        for _, model in resources(templates, "AWS::SageMaker::Model"):
            if model["EnableNetworkIsolation"] or "ModelDataSource" in model["PrimaryContainer"]:
                yield f"{name} is serverless, and its model is isolated or no archive"
        if "CANARY" in json.dumps(list(resources(templates, "AWS::SageMaker::Endpoint"))):
            yield f"{name} is serverless and has no instances to take a share of"
        for target, properties in resources(templates, "AWS::ApplicationAutoScaling::ScalableTarget"):
            if properties["ServiceNamespace"] == "sagemaker":
                yield f"{name} is serverless and {target} counts its instances"


def endpoints_are_encrypted_with_the_stages_key(templates: Templates) -> Iterator[str]:
    for name, config in resources(templates, "AWS::SageMaker::EndpointConfig"):
        # Serverless, it has no disks.
        types = [variant["InstanceType"] for variant in config["ProductionVariants"] if "InstanceType" in variant]
        # Disks that are part of the instance have a key of the hardware, and SageMaker refuses another.
        if "KmsKeyId" not in config and not all(local_storage(instance_type) for instance_type in types):
            yield f"{name} has volumes of another key (sagemaker-endpoint-configuration-kms-key-configured)"
        if "KmsKeyId" not in config.get("DataCaptureConfig", {"KmsKeyId": "none is captured"}):
            yield f"{name} captures under another key"


def stages_that_keep_their_data_have_two_instances(templates: Templates) -> Iterator[str]:
    data = templates["Data"]["Resources"].values()
    if not any(item["Type"] == "AWS::KMS::Key" and item["DeletionPolicy"] == "Retain" for item in data):
        return
    for name, config in resources(templates, "AWS::SageMaker::EndpointConfig"):
        for variant in config["ProductionVariants"]:
            if variant.get("InitialInstanceCount", 0) < 2:
                yield f"{name} has one instance, in one zone (SageMaker.4)"
    for name, target in resources(templates, "AWS::ApplicationAutoScaling::ScalableTarget"):
        if target["ServiceNamespace"] == "sagemaker" and target["MinCapacity"] < 2:
            yield f"{name} scales in to one instance (SageMaker.4)"


def only_endpoints_and_variants_are_named(templates: Templates) -> Iterator[str]:
    for kind, prop in (("Model", "ModelName"), ("EndpointConfig", "EndpointConfigName")):
        for name, resource in resources(templates, f"AWS::SageMaker::{kind}"):
            if prop in resource:
                yield f"{name} has a name of its own, so that it cannot be replaced"
    for name, endpoint in resources(templates, "AWS::SageMaker::Endpoint"):
        if not isinstance(endpoint.get("EndpointName"), str):
            yield f"{name} has no constant name"


def endpoint_updates_are_watched_and_keep_their_counts(templates: Templates) -> Iterator[str]:
    for name, endpoint in resources(templates, "AWS::SageMaker::Endpoint"):
        deployment = endpoint.get("DeploymentConfig", {})
        if len(deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])) < 2:
            yield f"{name} is not rolled back by alarms"
        if not endpoint.get("RetainAllVariantProperties"):
            yield f"{name} loses the count that scaling has reached"
        excluded = endpoint.get("ExcludeRetainedVariantProperties", [])
        if {"VariantPropertyType": "DataCaptureConfig"} not in excluded:
            yield f"{name} keeps the capture settings of its last config"


def the_bake_covers_the_alarms(templates: Templates) -> Iterator[str]:
    alarms = dict(resources(templates, "AWS::CloudWatch::Alarm"))
    for name, endpoint in resources(templates, "AWS::SageMaker::Endpoint"):
        deployment = endpoint["DeploymentConfig"]
        policy = deployment["BlueGreenUpdatePolicy"]
        routing = policy["TrafficRoutingConfiguration"]
        bake_s = routing["WaitIntervalInSeconds"]
        for item in deployment["AutoRollbackConfiguration"]["Alarms"]:
            alarm = alarms[item["AlarmName"]["Ref"]]
            needed_s = METRIC_DELAY_S + alarm["Period"] * alarm["EvaluationPeriods"]
            if bake_s < needed_s:
                yield f"{name} bakes {bake_s} s, and {alarm['AlarmName']} fires after {needed_s} s at the soonest"
        bakes = 2 if routing["Type"] == "CANARY" else 1
        if policy["MaximumExecutionTimeoutInSeconds"] < bakes * bake_s + policy["TerminationWaitInSeconds"]:
            yield f"{name} is given up before it has baked"


def canaries_are_at_most_half(templates: Templates) -> Iterator[str]:
    for name, endpoint in resources(templates, "AWS::SageMaker::Endpoint"):
        routing = endpoint["DeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
        if routing["Type"] == "CANARY" and not 0 < routing["CanarySize"]["Value"] <= 50:
            yield f"{name} tries a new model on {routing['CanarySize']['Value']} % of its callers"


def captures_leave_the_images_out_unless_asked(templates: Templates) -> Iterator[str]:
    for name, config in resources(templates, "AWS::SageMaker::EndpointConfig"):
        modes = [option["CaptureMode"] for option in config.get("DataCaptureConfig", {}).get("CaptureOptions", [])]
        if "Input" in modes and config["ProductionVariants"][0].get("InstanceType") != ASKED_FOR_INPUTS:
            yield f"{name} captures the images"


def rollback_alarms_watch_the_endpoint_itself(templates: Templates) -> Iterator[str]:
    variants = {
        variant["VariantName"]
        for _, config in resources(templates, "AWS::SageMaker::EndpointConfig")
        for variant in config["ProductionVariants"]
    }
    names = {endpoint["EndpointName"] for _, endpoint in resources(templates, "AWS::SageMaker::Endpoint")}
    for name, alarm in resources({"Serving": templates["Serving"]}, "AWS::CloudWatch::Alarm"):
        dimensions = {item["Name"]: item["Value"] for item in alarm["Dimensions"]}
        if dimensions.get("VariantName") not in variants or dimensions.get("EndpointName") not in names:
            yield f"{name} watches {dimensions}"


def rollback_alarms_watch_the_new_fleet_alone(templates: Templates) -> Iterator[str]:
    alarms = dict(resources(templates, "AWS::CloudWatch::Alarm"))
    for name, endpoint in resources(templates, "AWS::SageMaker::Endpoint"):
        rollback = endpoint["DeploymentConfig"]["AutoRollbackConfiguration"]
        for item in rollback["Alarms"]:
            alarm = alarms[item["AlarmName"]["Ref"]]
            watched = {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}
            if watched.get("EndpointConfigName") != endpoint["EndpointConfigName"]:
                yield f"{name} is rolled back for the errors of the fleet that an update replaces"


def scaling_waits_for_its_endpoint(templates: Templates) -> Iterator[str]:
    endpoints = {name for name, _ in resources(templates, "AWS::SageMaker::Endpoint")}
    for name, resource in templates["Serving"]["Resources"].items():
        if resource["Type"] == "AWS::ApplicationAutoScaling::ScalableTarget" and not endpoints & set(
            as_list(resource.get("DependsOn", []))
        ):
            yield f"{name} may be registered before its endpoint exists"


def nothing_reaches_the_training_instance(templates: Templates) -> Iterator[str]:
    for name, group in resources(templates, "AWS::EC2::SecurityGroup"):
        if group.get("SecurityGroupIngress"):
            yield f"{name} has inbound rules (EC2.13, EC2.18)"
    for name, template in resources(templates, "AWS::EC2::LaunchTemplate"):
        data = template["LaunchTemplateData"]
        if data.get("MetadataOptions", {}).get("HttpTokens") != "required":
            yield f"{name} allows IMDSv1 (EC2.170)"
        if "KeyName" in data:
            yield f"{name} has an SSH key"
        for device in data["BlockDeviceMappings"]:
            if not device["Ebs"].get("Encrypted"):
                yield f"{name} has an unencrypted volume (EC2.3)"


def ec2_training_is_empty_at_rest(templates: Templates) -> Iterator[str]:
    for name, group in resources(templates, "AWS::AutoScaling::AutoScalingGroup"):
        if (group["MinSize"], group["MaxSize"]) != ("0", "1") or group.get("DesiredCapacity", "0") != "0":
            yield f"{name} has instances at rest"


def notebooks_stop_when_idle_and_have_no_root(templates: Templates) -> Iterator[str]:
    for name, notebook in resources(templates, "AWS::SageMaker::NotebookInstance"):
        if "LifecycleConfigName" not in notebook:
            yield f"{name} never stops"
        if notebook.get("RootAccess") != "Disabled":
            yield f"{name} gives root (SageMaker.3)"
        if "KmsKeyId" not in notebook:
            yield f"{name} is not encrypted with the stage's key (sagemaker-notebook-instance-kms-key-configured)"


def logs_are_not_kept_for_ever(templates: Templates) -> Iterator[str]:
    for name, group in resources(templates, "AWS::Logs::LogGroup"):
        if "RetentionInDays" not in group:
            yield f"{name} is kept for ever (CloudWatch.16)"


def provisioned_fits_into_reserved_concurrency(templates: Templates) -> Iterator[str]:
    of_api = resources({"Api": templates["Api"]}, "AWS::Lambda::Function")
    reserved = [f["ReservedConcurrentExecutions"] for _, f in of_api if "ReservedConcurrentExecutions" in f]
    for name, target in resources(templates, "AWS::ApplicationAutoScaling::ScalableTarget"):
        if target["ServiceNamespace"] == "lambda" and target["MaxCapacity"] > min(reserved, default=math.inf):
            yield f"{name} may provision more than is reserved"


def the_url_takes_both_permissions(templates: Templates) -> Iterator[str]:
    for name, url in resources(templates, "AWS::Lambda::Url"):
        granted = [p for _, p in resources(templates, "AWS::Lambda::Permission")]
        if not any(p["Action"] == "lambda:InvokeFunctionUrl" for p in granted):
            yield f"{name} grants no InvokeFunctionUrl"
        if not any(p["Action"] == "lambda:InvokeFunction" and p.get("InvokedViaFunctionUrl") for p in granted):
            yield f"{name} grants no InvokeFunction via the URL"
        if url["AuthType"] == "AWS_IAM" and any(p["Principal"] == "*" for p in granted):
            yield f"{name} is open to everyone (Lambda.1)"


def a_service_calls_the_function_for_one_resource_only(templates: Templates) -> Iterator[str]:
    for name, permission in resources(templates, "AWS::Lambda::Permission"):
        if str(permission["Principal"]).endswith(".amazonaws.com") and "SourceArn" not in permission:
            yield f"{name} lets in what {permission['Principal']} does for anybody (Lambda.1)"


def alarms_tell_somebody_how_bad_it_is_and_what_to_do(templates: Templates) -> Iterator[str]:
    runbooks = anchors(RUNBOOKS)
    for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"):
        for name, alarm in resources(templates, kind):
            if not alarm.get("AlarmActions") or not alarm.get("OKActions"):
                yield f"{name} tells nobody (CloudWatch.15)"
            said = re.fullmatch(r"SEV[123]: .+\. \S+#([a-z0-9-]+)", alarm.get("AlarmDescription", ""))
            if not said:
                yield f"{name} has no severity, no meaning or no runbook"
            elif said[1] not in runbooks:
                yield f"{name} refers to {said[1]}, which docs/runbooks.md does not have"
            if "TreatMissingData" not in alarm and kind == "AWS::CloudWatch::Alarm":
                yield f"{name} does not say what silence means"
            if not alarm.get("AlarmName", "").startswith("kennel-"):
                yield f"{name} has a name that says nothing of its stage"


def alarms_fire_within_their_limits(templates: Templates) -> Iterator[str]:
    for name, alarm in resources(templates, "AWS::CloudWatch::Alarm"):
        period_s = alarm.get("Period", 60)
        # CloudWatch looks back for a day, and for a week by the hour.
        most_s = 7 * 86_400 if period_s >= 3600 else 86_400
        if period_s * alarm["EvaluationPeriods"] > most_s:
            yield f"{name} looks back for longer than CloudWatch does"


def the_dashboard_shows_every_alarm(templates: Templates) -> Iterator[str]:
    for board, properties in resources(templates, "AWS::CloudWatch::Dashboard"):
        body = json.dumps(properties["DashboardBody"])
        for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"):
            for name, alarm in resources(templates, kind):
                # By its logical id in the same stack, by its name in another one.
                if f'"{name}"' not in body and f":alarm:{alarm['AlarmName']}" not in body:
                    yield f"{board} does not show {name}"


def what_is_counted_is_published(templates: Templates) -> Iterator[str]:
    groups = list(resources(templates, "AWS::AutoScaling::AutoScalingGroup"))
    for name, alarm in resources(templates, "AWS::CloudWatch::Alarm"):
        if alarm.get("Namespace") != "AWS/AutoScaling":
            continue
        watched = {item["Value"] for item in alarm["Dimensions"]}
        for group, properties in groups:
            collected = [metric for item in properties.get("MetricsCollection", []) for metric in item["Metrics"]]
            if properties["AutoScalingGroupName"] in watched and alarm["MetricName"] not in collected:
                yield f"{name} waits for {alarm['MetricName']}, which {group} does not publish"


def topics_are_encrypted_and_take_from_the_stage_alone(templates: Templates) -> Iterator[str]:
    for name, topic in resources(templates, "AWS::SNS::Topic"):
        if "KmsMasterKeyId" not in topic:
            yield f"{name} is not encrypted (SNS.1)"
    for name, policy in resources(templates, "AWS::SNS::TopicPolicy"):
        for statement in policy["PolicyDocument"]["Statement"]:
            asked = json.dumps(statement.get("Condition", {}))
            if statement["Effect"] == "Allow" and not ("aws:SourceAccount" in asked and "aws:SourceArn" in asked):
                yield f"{name} lets in whoever asks a service to (SNS.4)"


def the_key_knows_the_topic(templates: Templates) -> Iterator[str]:
    """CloudWatch says nothing of an alarm that it could not tell a topic of, for lack of the key."""
    for name, topic in resources(templates, "AWS::SNS::Topic"):
        for key, properties in resources(templates, "AWS::KMS::Key"):
            policy = json.dumps(properties["KeyPolicy"])
            for service in ("budgets", "cloudwatch"):
                if f"{service}.amazonaws.com" not in policy or f":{topic['TopicName']}" not in policy:
                    yield f"{key} does not let {service} encrypt for {name}"


def every_month_has_a_budget_with_a_forecast(templates: Templates) -> Iterator[str]:
    budgets = list(resources(templates, "AWS::Budgets::Budget"))
    if not budgets:
        yield "nobody is told what the month costs"
    for name, budget in budgets:
        kinds = {item["Notification"]["NotificationType"] for item in budget["NotificationsWithSubscribers"]}
        if kinds != {"ACTUAL", "FORECASTED"}:
            yield f"{name} tells of {sorted(kinds)} alone"


INVARIANTS = [
    value
    for value in list(globals().values())
    if callable(value) and getattr(value, "__annotations__", {}).get("return") == Iterator[str]
]
