"""What the stages are made of, and how they differ."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack

from helpers import REPOSITORY
from helpers.invariants import resources
from helpers.kept import CACHE, CLI_CONTEXT, assembly
from helpers.synthesis import Templates
from infra.constructs.training import training_asset
from infra.names import VARIANT

ROLES = {"JobRole", "NotebookRole", "Ec2Role", "ModelRole", "ClassifierRole", "DriftRole"}


def app(folder: Path, *command: str, stage: str = "dev") -> "subprocess.CompletedProcess[str]":
    """Runs app.py as the CDK CLI does, in an environment without credentials."""
    context = (REPOSITORY / "cdk.json").read_text()
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.run(
        [*command, sys.executable, "app.py"],
        cwd=REPOSITORY,
        env={
            **kept,
            "HOME": str(folder),
            # Below HOME else: 200 MB to unpack each time.
            "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(CACHE / "jsii"),
            "CDK_OUTDIR": str(folder / "cdk.out"),
            "CDK_CONTEXT_JSON": json.dumps({**json.loads(context)["context"], **CLI_CONTEXT, "stage": stage}),
            "CDK_VALIDATION": "false",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def no_network() -> list[str]:
    """A command that runs another one without any network, where this machine can."""
    command = ["unshare", "--map-root-user", "--net"]
    works = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if works else []


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_offline_synth_is_deterministic(tmp_path: Path, stage: str) -> None:
    result = app(tmp_path, *no_network(), stage=stage)
    assert result.returncode == 0, result.stderr
    # The other run is of another process, with the network.
    once, again = (
        {file.name: file.read_bytes() for file in folder.glob("*.template.json")}
        for folder in (tmp_path / "cdk.out", assembly(stage))
    )
    assert len(once) == 5
    assert once == again


def test_unknown_stage_error_is_one_line(tmp_path: Path) -> None:
    result = app(tmp_path, stage="test")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("No stage 'test' in cdk.json (known: dev, prod).")
    assert "Traceback" not in result.stderr


def test_each_actor_has_its_own_role(templates: Templates) -> None:
    names = {re.sub(r"[0-9A-F]{8}$", "", name) for name, _ in resources(templates, "AWS::IAM::Role")}
    # Without captures there is nothing to compare.
    optional = {"NightStopRole", *(["DriftRole"] if "ServerlessConfig" in json.dumps(templates) else [])}
    assert names - optional == ROLES - optional


def test_only_dev_stops_in_the_evening(matrix: dict[str, Templates]) -> None:
    def stopped(stage: str) -> set[str]:
        return {item["Target"]["Input"] for _, item in resources(matrix[stage], "AWS::Scheduler::Schedule")}

    assert stopped("dev") == {
        '{"NotebookInstanceName": "kennel-dev-notebook"}',
        '{"StackName": "Kennel-dev-Serving"}',
    }
    assert stopped("prod") == set()


def test_kept_log_groups_do_not_block_a_second_deploy(matrix: dict[str, Templates]) -> None:
    everything = [item for template in matrix["prod"].values() for item in template["Resources"].values()]
    groups = [item for item in everything if item["Type"] == "AWS::Logs::LogGroup"]
    assert len(groups) == 6
    assert {item["DeletionPolicy"] for item in groups} == {"RetainExceptOnCreate"}
    assert {item["UpdateReplacePolicy"] for item in groups} == {"Retain"}


def test_only_prod_retains_data(matrix: dict[str, Templates]) -> None:
    def policies(stage: str) -> set[str]:
        kept = ("AWS::S3::Bucket", "AWS::KMS::Key")
        return {r["DeletionPolicy"] for r in matrix[stage]["Data"]["Resources"].values() if r["Type"] in kept}

    assert policies("prod") == {"Retain"}
    assert policies("dev") == {"Delete"}


def test_prod_endpoints_share_one_model(matrix: dict[str, Templates]) -> None:
    def names(stage: str) -> list[Any]:
        return sorted(e["EndpointName"] for _, e in resources(matrix[stage], "AWS::SageMaker::Endpoint"))

    assert names("prod") == ["kennel-prod-fixed", "kennel-prod-scaled"]
    assert names("dev") == ["kennel-dev-scaled"]
    configs = [properties for _, properties in resources(matrix["prod"], "AWS::SageMaker::EndpointConfig")]
    models = [config["ProductionVariants"][0]["ModelName"] for config in configs]
    assert models[0] == models[1]


def test_instance_store_endpoint_has_no_kms_key(
    matrix: dict[str, Templates],
) -> None:
    configs = [properties for _, properties in resources(matrix["office"], "AWS::SageMaker::EndpointConfig")]
    assert all("KmsKeyId" not in config for config in configs)
    assert all("KmsKeyId" in c for _, c in resources(matrix["dev"], "AWS::SageMaker::EndpointConfig"))


def test_model_threads_are_set_only_if_configured(
    matrix: dict[str, Templates],
) -> None:
    ((_, given),) = resources(matrix["office"], "AWS::SageMaker::Model")
    ((_, left_out),) = resources(matrix["dev"], "AWS::SageMaker::Model")
    assert given["PrimaryContainer"]["Environment"]["KENNEL_MODEL_THREADS"] == "2"
    assert "KENNEL_MODEL_THREADS" not in left_out["PrimaryContainer"]["Environment"]


def tracked(templates: Templates) -> dict[str, float]:
    """The targets of the scaling policies by metric."""
    found = {}
    for _, policy in resources(templates, "AWS::ApplicationAutoScaling::ScalingPolicy"):
        tracking = policy["TargetTrackingScalingPolicyConfiguration"]
        custom, predefined = (tracking.get(f"{kind}MetricSpecification") for kind in ("Customized", "Predefined"))
        assert (custom is None) != (predefined is None)
        found[custom["MetricName"] if custom else predefined["PredefinedMetricType"]] = tracking["TargetValue"]
    return found


def test_instances_track_cpu_utilization(matrix: dict[str, Templates]) -> None:
    """SageMaker's developer guide, "Define a scaling policy": the customized metric; it has 100 for each processor."""
    assert tracked(matrix["dev"]) == {"CPUUtilization": 140, "LambdaProvisionedConcurrencyUtilization": 0.7}
    (policy,) = (
        policy["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
        for _, policy in resources(matrix["dev"], "AWS::ApplicationAutoScaling::ScalingPolicy")
        if "CustomizedMetricSpecification" in policy["TargetTrackingScalingPolicyConfiguration"]
    )
    assert (policy["Namespace"], policy["Statistic"]) == ("/aws/sagemaker/Endpoints", "Average")
    assert {item["Name"]: item["Value"] for item in policy["Dimensions"]} == {
        "EndpointName": "kennel-dev-scaled",
        "VariantName": VARIANT,
    }


def test_nothing_is_reserved_where_account_has_nothing_to_reserve(matrix: dict[str, Templates]) -> None:
    functions = [f for _, f in resources(matrix["ondemand"], "AWS::Lambda::Function")]
    assert functions
    assert not any("ReservedConcurrentExecutions" in function for function in functions)
    assert any("ReservedConcurrentExecutions" in f for _, f in resources(matrix["dev"], "AWS::Lambda::Function"))


def test_null_in_cdk_json_reaches_the_template(tmp_path: Path) -> None:
    context = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    context["stages"]["dev"]["function"] = {"reserved_concurrency": None}
    environment = {**os.environ, "CDK_OUTDIR": str(tmp_path), "CDK_CONTEXT_JSON": json.dumps(context)}
    subprocess.run([sys.executable, "app.py"], cwd=REPOSITORY, env=environment, check=True)
    template = json.loads((tmp_path / "Kennel-dev-Api.template.json").read_text())
    (function,) = (
        item["Properties"] for item in template["Resources"].values() if item["Type"] == "AWS::Lambda::Function"
    )
    assert "ReservedConcurrentExecutions" not in function


def test_instance_hours_become_scheduled_actions(matrix: dict[str, Templates]) -> None:
    ((_, target),) = resources({"Serving": matrix["office"]["Serving"]}, "AWS::ApplicationAutoScaling::ScalableTarget")
    assert [
        (action["Schedule"], action["Timezone"], action["ScalableTargetAction"])
        for action in target["ScheduledActions"]
    ] == [
        ("cron(0 7 ? * MON-FRI *)", "Europe/Zurich", {"MinCapacity": 2, "MaxCapacity": 4}),
        ("cron(0 19 ? * MON-FRI *)", "Europe/Zurich", {"MinCapacity": 1, "MaxCapacity": 2}),
    ]


def test_cloudfront_signs_requests_over_https(
    matrix: dict[str, Templates],
) -> None:
    ((access, _),) = resources(matrix["page"], "AWS::CloudFront::OriginAccessControl")
    ((_, distribution),) = resources(matrix["page"], "AWS::CloudFront::Distribution")
    (origin,) = distribution["DistributionConfig"]["Origins"]
    assert origin["OriginAccessControlId"] == {"Fn::GetAtt": [access, "Id"]}
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    assert distribution["DistributionConfig"]["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "redirect-to-https"
    granted = {
        permission["Action"]
        for _, permission in resources(matrix["page"], "AWS::Lambda::Permission")
        if permission["Principal"] == "cloudfront.amazonaws.com"
    }
    assert granted == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert list(resources(matrix["dev"], "AWS::CloudFront::Distribution")) == []


def test_provisioned_minimum_follows_schedule(matrix: dict[str, Templates]) -> None:
    targets = [properties for _, properties in resources(matrix["page"], "AWS::ApplicationAutoScaling::ScalableTarget")]
    ((morning, evening),) = [target["ScheduledActions"] for target in targets if "ScheduledActions" in target]
    assert (morning["Schedule"], morning["Timezone"]) == ("cron(0 7 ? * MON-FRI *)", "Europe/Zurich")
    assert [action["ScalableTargetAction"]["MinCapacity"] for action in (morning, evening)] == [2, 1]


def test_snap_start_drops_provisioning_and_alarm(
    matrix: dict[str, Templates],
) -> None:
    def alarms(stage: str) -> set[str]:
        return {alarm["AlarmName"].removeprefix("kennel-dev-") for alarm in watching(matrix[stage])}

    ((_, function),) = resources({"Api": matrix["snapstart"]["Api"]}, "AWS::Lambda::Function")
    ((_, alias),) = resources(matrix["snapstart"], "AWS::Lambda::Alias")
    assert function["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert "ProvisionedConcurrencyConfig" not in alias
    assert alarms("dev") - alarms("snapstart") == {"spilled-over"}


def watching(templates: Templates) -> list[dict[str, Any]]:
    return [alarm for _, alarm in resources(templates, "AWS::CloudWatch::Alarm")]


def test_dev_alarms_cover_callers_and_operators(
    matrix: dict[str, Templates],
) -> None:
    alarms = {alarm["AlarmName"].removeprefix("kennel-dev-"): alarm for alarm in watching(matrix["dev"])}
    assert set(alarms) == {
        *("url-errors", "url-latency", "throttled", "spilled-over"),
        *("endpoint-errors", "endpoint-refusals", "model-latency", "no-instance", "memory", "disk"),
        *("failed-jobs", "ec2-left-on", "scaled-errors", "scaled-latency"),
        *("confidence-drift", "class-mix-drift", "drift-errors"),
    }
    # Microseconds.
    assert alarms["model-latency"]["Threshold"] == 2_000_000
    silence = {name for name, alarm in alarms.items() if alarm["TreatMissingData"] == "breaching"}
    assert silence == {"no-instance"}
    assert "SEV1" in alarms["no-instance"]["AlarmDescription"]
    ((_, composite),) = resources(matrix["dev"], "AWS::CloudWatch::CompositeAlarm")
    assert json.dumps(composite["AlarmRule"]).count("ALARM(") == 3


def test_serverless_has_no_instance_alarms(matrix: dict[str, Templates]) -> None:
    alarms = {alarm["AlarmName"].removeprefix("kennel-dev-") for alarm in watching(matrix["serverless"])}
    assert not alarms & {"no-instance", "memory", "disk", "confidence-drift"}
    assert {"endpoint-errors", "model-latency", "serverless-errors"} <= alarms


def test_serving_stack_has_no_dependents(
    matrix: dict[str, Templates],
) -> None:
    # What another stack imports, and the children of a composite alarm, could not be deleted.
    assert "Kennel-dev-Serving:" not in json.dumps(matrix["dev"])
    ((_, composite),) = resources(matrix["dev"], "AWS::CloudWatch::CompositeAlarm")
    of_operations = set(matrix["dev"]["Operations"]["Resources"])
    named = re.findall(r'"Fn::GetAtt": \["(\w+)"', json.dumps(composite["AlarmRule"]))
    assert named
    assert set(named) <= of_operations


def test_dashboard_shows_callers_before_causes(
    matrix: dict[str, Templates],
) -> None:
    ((_, dashboard),) = resources(matrix["dev"], "AWS::CloudWatch::Dashboard")
    text = json.dumps(dashboard["DashboardBody"])
    assert re.findall(r"## ([^\\\"]+)", text) == [
        "Function URL, as callers see it",
        "Function: concurrency, throttles, cold starts",
        "Endpoint: responses, latency in microseconds",
        "Instances: highest utilization, %",
        "Training and drift",
    ]
    order = ["CallersNotServed", "UrlRequestCount", "ConcurrentExecutions", '"ModelLatency', "DiskUtilization"]
    places = [text.replace("\\", "").index(word) for word in order]
    assert places == sorted(places)


def test_each_address_gets_a_subscription(matrix: dict[str, Templates]) -> None:
    assert [item["Endpoint"] for _, item in resources(matrix["page"], "AWS::SNS::Subscription")] == [
        "oncall@example.com"
    ]
    assert list(resources(matrix["dev"], "AWS::SNS::Subscription")) == []


def test_user_data_has_no_placeholders(templates: Templates) -> None:
    for _, template in resources(templates, "AWS::EC2::LaunchTemplate"):
        script = str(template["LaunchTemplateData"]["UserData"])
        assert not re.search(r"@[A-Z_]+@", script)
        assert "set-desired-capacity" in script


@pytest.mark.parametrize("script", ["training/ec2_user_data.sh", "infra/constructs/training/notebook_idle_stop.sh"])
def test_shell_script_syntax_is_valid(script: str) -> None:
    result = subprocess.run(["bash", "-n", str(REPOSITORY / script)], capture_output=True, text=True, check=False)
    assert result.stderr == ""


def test_idle_stop_python_syntax_is_valid() -> None:
    script = (REPOSITORY / "infra/constructs/training/notebook_idle_stop.sh").read_text()
    body = script.split("<<'PYTHON'\n")[1].split("\nPYTHON\n")[0]
    ast.parse(body.replace("@IDLE_STOP_MIN@", "60"))


def test_wheels_are_read_only_where_they_are_bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training_asset, "WHEELS", "build/none")
    # So that CDK, for `cdk destroy` and `cdk ls`, bundles no stack.
    app = App(context={"aws:cdk:bundling-stacks": []}, outdir=str(tmp_path / "none"))
    training_asset.TrainingCode(Stack(app, "Training"), "Code")
    with pytest.raises(Exception, match="run `make wheels`"):
        training_asset.TrainingCode(Stack(App(outdir=str(tmp_path / "all")), "Training"), "Code")
