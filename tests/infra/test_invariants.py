"""Every invariant holds over the matrix of stages, and each can fail."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers import invariants
from helpers.invariants import INVARIANTS, Templates

Invariant = Callable[[Templates], Iterator[str]]


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda function: function.__name__)
def test_invariant_holds_for_every_stage(invariant: Invariant, templates: Templates) -> None:
    assert list(invariant(templates)) == []


def first(templates: Templates, kind: str) -> dict[str, Any]:
    return next(properties for _, properties in invariants.resources(templates, kind))


def statement(templates: Templates, action: str) -> dict[str, Any]:
    return next(s for _, s in invariants.statements(templates) if action in invariants.as_list(s["Action"]))


def _target_without_dependency(templates: Templates) -> None:
    for resource in templates["Serving"]["Resources"].values():
        resource.pop("DependsOn", None)


def _config_dimension(templates: Templates) -> dict[str, Any]:
    dimensions = first({"Serving": templates["Serving"]}, "AWS::CloudWatch::Alarm")["Dimensions"]
    return next(item for item in dimensions if item["Name"] == "EndpointConfigName")


def _endpoint(templates: Templates) -> dict[str, Any]:
    policy: dict[str, Any] = first(templates, "AWS::SageMaker::Endpoint")["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    return policy


def _serverless(templates: Templates) -> None:
    """Whoever turns the scaled endpoint into a serverless one by hand meets all that it excludes."""
    variant = first(templates, "AWS::SageMaker::EndpointConfig")["ProductionVariants"][0]
    variant["ServerlessConfig"] = {"MemorySizeInMB": 4096, "MaxConcurrency": 10}


def _retained(templates: Templates) -> None:
    for resource in templates["Data"]["Resources"].values():
        if resource["Type"] == "AWS::KMS::Key":
            resource["DeletionPolicy"] = "Retain"


# One change for each invariant that violates it.
BREAKS: dict[str, Callable[[Templates], Any]] = {
    "no_action_is_a_wildcard": lambda t: statement(t, "ssm:GetParameter").update(Action="ssm:*"),
    "every_resource_is_named_where_aws_offers_it": lambda t: statement(t, "ssm:GetParameter").update(Resource="*"),
    "no_full_access_policy_is_attached": lambda t: first(t, "AWS::IAM::Role").update(
        ManagedPolicyArns=["arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"]
    ),
    "a_role_is_passed_to_one_service_only": lambda t: statement(t, "iam:PassRole").pop("Condition"),
    "sagemaker_roles_trust_this_account_only": lambda t: first(t, "AWS::IAM::Role")["AssumeRolePolicyDocument"][
        "Statement"
    ][0].pop("Condition"),
    "buckets_are_private_versioned_and_encrypted": lambda t: first(t, "AWS::S3::Bucket").pop("VersioningConfiguration"),
    "buckets_refuse_plain_http_and_foreign_accounts": lambda t: first(t, "AWS::S3::BucketPolicy")[
        "PolicyDocument"
    ].update(Statement=[]),
    "buckets_refuse_other_keys": lambda t: [
        policy["PolicyDocument"].update(Statement=[]) for _, policy in invariants.resources(t, "AWS::S3::BucketPolicy")
    ],
    "no_resource_lets_everyone_in": lambda t: first(t, "AWS::KMS::Key")["KeyPolicy"]["Statement"][1].update(
        Principal={"AWS": "*"}
    ),
    "the_key_is_used_through_services_only": lambda t: first(t, "AWS::KMS::Key")["KeyPolicy"]["Statement"][1].pop(
        "Condition"
    ),
    "endpoints_are_encrypted_with_the_stages_key": lambda t: first(t, "AWS::SageMaker::EndpointConfig").pop("KmsKeyId"),
    "stages_that_keep_their_data_have_two_instances": _retained,
    "the_key_rotates": lambda t: first(t, "AWS::KMS::Key").pop("EnableKeyRotation"),
    "models_have_no_network": lambda t: first(t, "AWS::SageMaker::Model").pop("EnableNetworkIsolation"),
    "only_endpoints_and_variants_are_named": lambda t: first(t, "AWS::SageMaker::Model").update(ModelName="model"),
    "endpoint_updates_are_watched_and_keep_their_counts": lambda t: first(t, "AWS::SageMaker::Endpoint").pop(
        "RetainAllVariantProperties"
    ),
    "serverless_endpoints_have_nothing_that_sagemaker_excludes": _serverless,
    "the_bake_covers_the_alarms": lambda t: _endpoint(t)["TrafficRoutingConfiguration"].update(
        WaitIntervalInSeconds=120
    ),
    "canaries_are_at_most_half": lambda t: _endpoint(t).update(
        TrafficRoutingConfiguration={"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 60}}
    ),
    "captures_leave_the_images_out_unless_asked": lambda t: first(t, "AWS::SageMaker::EndpointConfig")[
        "DataCaptureConfig"
    ]["CaptureOptions"].append({"CaptureMode": "Input"}),
    "rollback_alarms_watch_the_endpoint_itself": lambda t: first(t, "AWS::CloudWatch::Alarm").update(
        Dimensions=[{"Name": "VariantName", "Value": "AllTraffic"}]
    ),
    "rollback_alarms_watch_the_new_fleet_alone": lambda t: first({"Serving": t["Serving"]}, "AWS::CloudWatch::Alarm")[
        "Dimensions"
    ].remove(_config_dimension(t)),
    "scaling_waits_for_its_endpoint": _target_without_dependency,
    "nothing_reaches_the_training_instance": lambda t: first(t, "AWS::EC2::SecurityGroup").update(
        SecurityGroupIngress=[{"CidrIp": "0.0.0.0/0", "FromPort": 22}]
    ),
    "ec2_training_is_empty_at_rest": lambda t: first(t, "AWS::AutoScaling::AutoScalingGroup").update(MinSize="1"),
    "notebooks_stop_when_idle_and_have_no_root": lambda t: first(t, "AWS::SageMaker::NotebookInstance").pop(
        "LifecycleConfigName"
    ),
    "logs_are_not_kept_for_ever": lambda t: first(t, "AWS::Logs::LogGroup").pop("RetentionInDays"),
    "provisioned_fits_into_reserved_concurrency": lambda t: first(t, "AWS::Lambda::Function").update(
        ReservedConcurrentExecutions=1
    ),
    "a_service_calls_the_function_for_one_resource_only": lambda t: first(t, "AWS::Lambda::Permission").update(
        Principal="cloudfront.amazonaws.com"
    ),
    "alarms_tell_somebody_how_bad_it_is_and_what_to_do": lambda t: first(t, "AWS::CloudWatch::Alarm").pop("OKActions"),
    "alarms_fire_within_their_limits": lambda t: first(t, "AWS::CloudWatch::Alarm").update(EvaluationPeriods=1441),
    "the_dashboard_shows_every_alarm": lambda t: first(t, "AWS::CloudWatch::Alarm").update(AlarmName="kennel-dev-new"),
    "what_is_counted_is_published": lambda t: first(t, "AWS::AutoScaling::AutoScalingGroup").pop("MetricsCollection"),
    "topics_are_encrypted_and_take_from_the_stage_alone": lambda t: first(t, "AWS::SNS::Topic").pop("KmsMasterKeyId"),
    "the_key_knows_the_topic": lambda t: first(t, "AWS::SNS::Topic").update(TopicName="Kennel-other-alarms"),
    "every_month_has_a_budget_with_a_forecast": lambda t: first(t, "AWS::Budgets::Budget")[
        "NotificationsWithSubscribers"
    ].pop(),
    "the_url_takes_both_permissions": lambda t: first(t, "AWS::Lambda::Permission").update(Action="lambda:GetFunction"),
}


# More ways in which the invariants of scaling and change can be violated.
MORE: list[tuple[str, Callable[[Templates], Any]]] = [
    ("the_bake_covers_the_alarms", lambda t: first(t, "AWS::CloudWatch::Alarm").update(EvaluationPeriods=6)),
    ("the_bake_covers_the_alarms", lambda t: _endpoint(t).update(MaximumExecutionTimeoutInSeconds=400)),
    (
        "rollback_alarms_watch_the_endpoint_itself",
        lambda t: first(t, "AWS::SageMaker::EndpointConfig")["ProductionVariants"][0].update(VariantName="AllTraffic"),
    ),
    (
        "endpoint_updates_are_watched_and_keep_their_counts",
        lambda t: first(t, "AWS::SageMaker::Endpoint").pop("ExcludeRetainedVariantProperties"),
    ),
    (
        "endpoint_updates_are_watched_and_keep_their_counts",
        lambda t: first(t, "AWS::SageMaker::Endpoint")["DeploymentConfig"].pop("AutoRollbackConfiguration"),
    ),
    (
        "only_endpoints_and_variants_are_named",
        lambda t: first(t, "AWS::SageMaker::EndpointConfig").update(EndpointConfigName="config"),
    ),
    ("only_endpoints_and_variants_are_named", lambda t: first(t, "AWS::SageMaker::Endpoint").pop("EndpointName")),
    (
        "endpoints_are_encrypted_with_the_stages_key",
        lambda t: first(t, "AWS::SageMaker::EndpointConfig")["DataCaptureConfig"].pop("KmsKeyId"),
    ),
    (
        "alarms_tell_somebody_how_bad_it_is_and_what_to_do",
        lambda t: first(t, "AWS::CloudWatch::Alarm").update(
            AlarmDescription="SEV1: it is bad. docs/runbooks.md#no-such"
        ),
    ),
    (
        "topics_are_encrypted_and_take_from_the_stage_alone",
        lambda t: first(t, "AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"][1].pop("Condition"),
    ),
    (
        "the_key_is_used_through_services_only",
        lambda t: first(t, "AWS::KMS::Key")["KeyPolicy"]["Statement"][-1]["Condition"]["StringEquals"].pop(
            "kms:EncryptionContext:aws:sns:topicArn"
        ),
    ),
]


@pytest.mark.parametrize(("name", "change"), MORE, ids=[f"{name}-{number}" for number, (name, _) in enumerate(MORE)])
def test_invariant_detects_other_violations(
    name: str, change: Callable[[Templates], Any], matrix: dict[str, Templates]
) -> None:
    (invariant,) = (function for function in INVARIANTS if function.__name__ == name)
    broken = copy.deepcopy(matrix["dev"])
    change(broken)
    assert list(invariant(broken)) != []


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda function: function.__name__)
def test_invariant_detects_violation(invariant: Invariant, matrix: dict[str, Templates]) -> None:
    broken = copy.deepcopy(matrix["dev"])
    BREAKS[invariant.__name__](broken)
    assert list(invariant(broken)) != []
