"""The stage model: what AWS would refuse at deploy is refused here, all at once, with the remedy."""

import json
from typing import Any

import pytest

from helpers import REPOSITORY
from infra.config import REMOVED, RENAMED, ConfigurationError, parse_stage, validated
from infra.settings import StageSettings

STAGES = json.loads((REPOSITORY / "cdk.json").read_text())["context"]["stages"]


@pytest.mark.parametrize("name", STAGES)
def test_stages_in_cdk_json_are_valid(name: str) -> None:
    assert parse_stage(name, STAGES[name]).prefix == f"Kennel-{name}"


def test_dev_stage_has_expected_instances() -> None:
    stage = parse_stage("dev", STAGES["dev"])
    assert stage.notebook.instance_type == "ml.t3.medium"
    assert stage.ec2.instance_type == "m5.xlarge"
    assert (stage.endpoint.instance_type, stage.endpoint.min_instances, stage.endpoint.max_instances) == (
        "ml.m5.large",
        1,
        4,
    )


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"endpoint": {"min_instances": 3, "max_instances": 2}}, "raise it"),
        ({"endpoint": {"min_instances": 1}}, "outlive one"),
        ({"endpoint": {"fixed": True, "fixed_instances": 1}}, "outlive one"),
        (
            {"endpoint": {"instance_hours": [{"cron": "0 7 ? * * *", "min_instances": 1, "max_instances": 2}]}},
            "outlive one",
        ),
        (
            {"endpoint": {"instance_hours": [{"cron": "0 7 ? * * *", "min_instances": 3, "max_instances": 2}]}},
            "raise it",
        ),
        ({"endpoint": {"concurrent_requests_per_instance": 4}}, "no such setting"),
        ({"endpoint": {"instance_type": "ml.c7g.large"}}, "has Graviton processors"),
        ({"endpoint": {"instance_type": "ml.r6gd.large"}}, "has Graviton processors"),
        ({"endpoint": {"instance_type": "ml.g5.xlarge"}}, "has an accelerator"),
        ({"endpoint": {"instance_type": "ml.inf2.xlarge"}}, "has an accelerator"),
        ({"endpoint": {"instance_type": "ml.m5"}}, "AWS has no instance type 'ml.m5'"),
        ({"endpoint": {"instance_type": "ml.m5.lrge"}}, "did you mean ml.m5.large"),
        ({"endpoint": {"instance_type": "ml.m5.large "}}, "AWS has no instance type"),
        ({"endpoint": {"instance_type": "ml.M5.large"}}, "AWS has no instance type"),
        ({"endpoint": {"instance_type": "m5.large"}}, "AWS has no instance type"),
        (
            {"endpoint": {"instance_type": "ml.t2.medium", "scaling_target_instance_type": "ml.t2.medium"}},
            "does not scale burstable",
        ),
        ({"notebook": {"instance_type": "ml.nonsense"}}, "for a SageMaker notebook instance"),
        ({"ec2": {"instance_type": "m5.nonsense"}}, "AWS has no instance type 'm5.nonsense' for EC2"),
        ({"ec2": {"instance_type": "m7g.large"}}, "has Graviton processors"),
        ({"ec2": {"instance_type": "g5g.xlarge"}}, "a GPU and Graviton"),
        ({"ec2": {"instance_type": "g5.xlarge"}}, "has an accelerator"),
        ({"ec2": {"instance_type": "mac1.metal"}}, "has macOS"),
        ({"endpoint": {"instance_type": "ml.c5.xlarge"}}, "Use three deploys"),
        ({"endpoint": {"scaling_target_instance_type": "ml.c5.xlarge"}}, "Use three deploys"),
        ({"endpoint": {"capture_percent": 0, "capture_inputs": True}}, "set capture_percent"),
        ({"endpoint": {"target_cpu_percent": 95}}, "less than or equal to 90"),
        ({"endpoint": {"bake_time_s": 60}}, "set at least 180"),
        ({"endpoint": {"canary_percent": 10}}, "omit canary_percent"),
        ({"endpoint": {"canary_percent": 60, "min_instances": 4}}, "less than or equal to 50"),
        ({"endpoint": {"timeout_s": 28}}, "must exceed endpoint.timeout_s"),
        ({"function": {"provisioned_min": 5}}, "set both, or neither"),
        ({"function": {"provisioned_min": 5, "provisioned_max": 4}}, "raise it"),
        (
            {"function": {"provisioned_min": 1, "provisioned_max": 4, "reserved_concurrency": 2}},
            "raise reserved_concurrency",
        ),
        (
            {"function": {"snap_start": True, "provisioned_min": 1, "provisioned_max": 1}},
            "exclude each other",
        ),
        ({"function": {"provisioned_hours": [{"cron": "0 7 ? * MON-FRI *", "provisioned_min": 1}]}}, "provisioned_max"),
        ({"function": {"provisioned_hours": [{"cron": "7 o'clock", "provisioned_min": 1}]}}, "six fields"),
        (
            {"function": {"provisioned_hours": [{"cron": "0 7 ? * * *", "provisioned_min": 0}]}},
            "greater than or equal to 1",
        ),
        (
            {"function": {"provisioned_hours": [{"cron": "0 7 ? * * *", "time_zone": "CH", "provisioned_min": 1}]}},
            "is not a time zone",
        ),
        ({"function": {"url_fetch": "off", "url_fetch_hosts": ["a.example.com"]}}, "omit one of them"),
        ({"function": {"url_fetch_hosts": ["https://a.example.com/"]}}, "use host names only"),
        ({"function": {"cloudfront": True, "public_url_reason": "x"}}, "set web_page"),
        ({"function": {"cloudfront": True, "web_page": True}}, "public_url_reason"),
        (
            {"function": {"cloudfront": True, "web_page": True, "url_auth": "NONE", "public_url_reason": "x"}},
            "use AWS_IAM",
        ),
        ({"function": {"url_auth": "NONE"}}, "public_url_reason"),
        ({"shutdown_schedule": {"cron": "0 20 ? * * *"}}, "serves others"),
        ({"shutdown_schedule": {"cron": "20:00"}, "retain_data": False}, "six fields"),
        ({"function": {"max_image_bytes": 7_000_000}}, "less than or equal to 6000000"),
        ({"region": "mars-north-1"}, "choose another region"),
        ({"region": "eu-central-2"}, "no function URLs in 'eu-central-2'"),
        ({"log_retention_days": 15}, "choose one"),
        ({"account": "1234-5678-9012"}, "12 digits without hyphens"),
        ({"endpoint": {"instances": 3}}, "no such setting"),
        ({"operations": {"alarm_emails": ["oncall", "a@b.example", "x@"]}}, "'oncall', 'x@': not an e-mail address"),
        ({"operations": {"alarm_emails": "a@b.example"}}, "Input should be a list"),
        ({"operations": []}, "Input should be an object"),
        ({"operations": {"max_url_latency_ms": 29_000}}, "no response takes longer"),
        ({"operations": {"budget_usd_month": 0}}, "greater than 0"),
        ({"operations": {"budget_usd_month": float("inf")}}, "finite number"),
        ({"operations": {"budget_usd_month": 1e300}}, "less than or equal to"),
    ],
)
def test_undeployable_setting_suggests_fix(settings: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        parse_stage("dev", {"region": "us-east-1", **settings})


SERVERLESS = {"serverless": {}, "scaling_target_instance_type": "none", "capture_percent": 0}
HOURS = {"cron": "0 7 ? * * *", "min_instances": 2, "max_instances": 3}


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"capture_percent": 10}, "have no data capture: set 0"),
        ({"scaling_target_instance_type": "ml.m5.large"}, "scale by themselves: set none"),
        ({"canary_percent": 50}, "have no instances to take a share of"),
        ({"fixed": True}, "without network isolation: set false"),
        ({"instance_hours": [HOURS]}, "have no instances"),
        ({"serverless": {"memory_mib": 5000}}, "1024, 2048"),
        ({"serverless": {"max_concurrency": 201}}, "less than or equal to 200"),
    ],
)
def test_invalid_serverless_setting_suggests_fix(settings: dict[str, Any], remedy: str) -> None:
    stage = {"region": "us-east-1", "retain_data": False, "function": {"max_image_bytes": 4_000_000}}
    assert parse_stage("try", {**stage, "endpoint": SERVERLESS}).endpoint.serverless
    with pytest.raises(ConfigurationError, match=remedy):
        parse_stage("try", {**stage, "endpoint": {**SERVERLESS, **settings}})


def test_serverless_takes_smaller_images() -> None:
    with pytest.raises(ConfigurationError, match="a serverless endpoint takes 4 MB; set 4000000 or less"):
        parse_stage("try", {"region": "us-east-1", "retain_data": False, "endpoint": SERVERLESS})


@pytest.mark.parametrize("name", ["stage-2", "Staging", "production-eu", "x"])
def test_stage_name_is_explained(name: str) -> None:
    with pytest.raises(ConfigurationError, match="2 to 12 lower-case letters and digits"):
        parse_stage(name, {"region": "us-east-1"})


@pytest.mark.parametrize("days", [5, 60, 120, 150, 400, 545, 1096, 1827, 3288])
def test_each_retention_of_cloudwatch_is_accepted(days: int) -> None:
    assert parse_stage("dev", {"region": "us-east-1", "log_retention_days": days}).log_retention_days == days


@pytest.mark.parametrize("zone", ["Factory", "localtime", "posixrules", "posix/Europe/Zurich", "CET", "Europe/Nowhere"])
def test_time_zone_that_aws_lacks_is_rejected(zone: str) -> None:
    hours = {"cron": "0 20 ? * * *", "time_zone": zone}
    with pytest.raises(ConfigurationError, match="is not a time zone such as Europe/Zurich"):
        parse_stage("dev", {"region": "us-east-1", "retain_data": False, "shutdown_schedule": hours})


def test_serverless_is_rejected_if_data_is_retained() -> None:
    with pytest.raises(ConfigurationError, match=r"SageMaker\.5"):
        parse_stage("try", {"region": "us-east-1", "endpoint": SERVERLESS})


def test_all_errors_are_reported_at_once() -> None:
    settings = {
        "region": "mars-north-1",
        "log_retention_days": 15,
        "endpoint": {"max_instances": 0, "bake_time_s": -1},
        "function": {"provisioned_min": 1, "provisioned_max": 20, "url_auth": "NONE"},
    }
    with pytest.raises(ConfigurationError) as caught:
        parse_stage("dev", settings)
    message = str(caught.value)
    assert "6 error(s)" in message
    for part in (
        "region",
        "log_retention_days",
        "endpoint.max_instances",
        "bake_time_s",
        "provisioned_max",
        "url_auth",
    ):
        assert part in message


def test_stage_is_immutable() -> None:
    stage = StageSettings(name="dev", region="us-east-1")
    with pytest.raises(ValueError, match="frozen"):
        stage.region = "eu-west-1"


@pytest.mark.parametrize(
    ("instance_type", "target"), [("ml.m5.large", 140), ("ml.c5.xlarge", 280), ("ml.m5.12xlarge", 3360)]
)
def test_cpu_target_counts_the_processors(instance_type: str, target: float) -> None:
    endpoint = {"instance_type": instance_type, "scaling_target_instance_type": instance_type}
    assert parse_stage("try", {"region": "us-east-1", "endpoint": endpoint}).endpoint.target_cpu_utilization == target


@pytest.mark.parametrize("name", REMOVED)
def test_removed_setting_is_explained(name: str) -> None:
    part, _, setting = name.partition(".")
    with pytest.raises(ConfigurationError, match=f"{name}: removed in 0.2.0.*use target_cpu_percent"):
        parse_stage("try", {"region": "us-east-1", part: {setting: 1}})


@pytest.mark.parametrize("old", RENAMED)
def test_renamed_setting_names_its_new_name(old: str) -> None:
    *path, name = old.split(".")
    settings: dict[str, Any] = {name: "x"}
    for part in reversed(path):
        settings = {part: settings}
    with pytest.raises(ConfigurationError, match=f"{old}: renamed in 0.2.0: use {RENAMED[old]}"):
        parse_stage("dev", {"region": "us-east-1", **settings})
    part_of = f"{'.'.join(path)}." if path else ""
    reference = (REPOSITORY / "docs" / "settings.md").read_text()
    assert f"`{part_of}{RENAMED[old]}`" in reference


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"retain": True}, "retain: no such setting: use retain_data, or see docs/settings.md"),
        (
            {"endpoint": {"min_instance": 1}},
            "no such setting: use min_instances, or see docs",
        ),
        ({"endpoint": {"instance_hours": [{"colour": 1}]}}, "colour: no such setting: see docs/settings.md"),
    ],
)
def test_unknown_setting_suggests_a_similar_one(settings: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        parse_stage("dev", {"region": "us-east-1", **settings})


def test_settings_are_validated_without_region() -> None:
    # `kennel status` goes on where synth would not: the region is checked by CDK's data, which takes seconds to load.
    assert validated("dev", {"region": "mars-north-1", "retain_data": False}).region == "mars-north-1"
