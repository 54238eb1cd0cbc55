"""The two endpoints under the same load: the scaled one grows and shrinks again, by the policy of the template."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from environment import Environment

pytestmark = pytest.mark.slow

# A minute passes in a second here: low and high are 0.3 and 2.5 times what one instance is to take.
TARGET_PER_MIN = 480
LOW, HIGH, MINUTES, PERIOD_S = 3, 20, 2, 5


@pytest.fixture(scope="module")
def both(deployed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stage with both endpoints and a target that this machine can exceed."""
    project = deployed.project_copy(tmp_path_factory.mktemp("both") / "project")
    settings = json.loads((project / "cdk.json").read_text())
    settings["context"]["stages"]["dev"]["endpoint"] |= {
        "fixed": True,
        "fixed_instances": 1,
        "max_instances": 3,
        "invocations_per_instance_per_min": TARGET_PER_MIN,
        "instance_hours": [{"cron": "0 7 ? * MON-FRI *", "min_instances": 1, "max_instances": 3}],
    }
    (project / "cdk.json").write_text(json.dumps(settings))
    deployed.deploy("Serving", cwd=project)
    # What tests before this one scaled out stays so without traffic.
    sagemaker = deployed.client("sagemaker")
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="kennel-dev-scaled",
        DesiredWeightsAndCapacities=[{"VariantName": "primary", "DesiredInstanceCount": 1}],
    )
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName="kennel-dev-scaled", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    yield project
    deployed.deploy("Serving")


def declared(project: Path) -> list[dict[str, Any]]:
    """The scaling policies of the template."""
    template = json.loads((project / "cdk.out" / "Kennel-dev-Serving.template.json").read_text())
    kind = "AWS::ApplicationAutoScaling::ScalingPolicy"
    return [item["Properties"] for item in template["Resources"].values() if item["Type"] == kind]


def test_given_both_endpoints_when_compared_then_the_scaled_one_grows_under_load_and_shrinks_after(
    deployed: Environment, both: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    load = ("--low", str(LOW), "--high", str(HIGH), "--minutes", str(MINUTES), "--period", str(PERIOD_S))
    output = deployed.run("kennel", "compare", *load, "--yes", "--output", str(report), "--json", cwd=both).stdout
    found = json.loads(output[output.index("{") :])

    fixed, scaled = found["endpoints"]
    assert {round(count) for count in fixed["instances"]} == {1}
    assert round(scaled["instances"][0]) == 1
    assert max(scaled["instances"]) > 1.9
    assert round(scaled["instances"][-1]) == 1
    assert fixed["requests"] == scaled["requests"] > 800
    assert fixed["answered"] == fixed["requests"]
    assert scaled["answered"] == scaled["requests"]

    # Each step was the declared policy's, and there is no other.
    (policy,) = declared(both)
    assert [item["PolicyName"] for item in found["policies"]] == [policy["PolicyName"]]
    registered = found["policies"][0]["TargetTrackingScalingPolicyConfiguration"]
    assert registered == policy["TargetTrackingScalingPolicyConfiguration"]
    assert len(found["steps"]) >= 2
    for step in found["steps"]:
        assert step["cause"].endswith(f"triggered policy {policy['PolicyName']}")
        (count,) = re.findall(r"count to (\d+)", step["description"])
        assert 1 <= int(count) <= 3

    page = report.read_text()
    assert "kennel-dev-fixed" in page
    assert "by CloudWatch" in page
    assert f"at {TARGET_PER_MIN}" in page


def test_given_hours_when_deployed_then_application_autoscaling_has_them_until_they_are_left_out(
    deployed: Environment, both: Path
) -> None:
    def schedules() -> list[str]:
        found = deployed.client("application-autoscaling").describe_scheduled_actions(ServiceNamespace="sagemaker")
        return [action["Schedule"] for action in found["ScheduledActions"]]

    assert schedules() == ["cron(0 7 ? * MON-FRI *)"]
    deployed.deploy("Serving")
    assert schedules() == []
    deployed.deploy("Serving", cwd=both)


def test_given_nobody_to_ask_when_compared_then_it_says_the_cost_and_sends_nothing(
    deployed: Environment, both: Path
) -> None:
    result = deployed.run("kennel", "compare", cwd=both, check=False)
    assert result.returncode == 1
    assert "USD an hour" in result.stdout
    assert "give --yes" in result.stdout


def test_given_a_stage_without_a_fixed_endpoint_when_compared_then_it_says_what_to_set(deployed: Environment) -> None:
    deployed.deploy("Serving")
    result = deployed.run("kennel", "compare", "--yes", check=False)
    assert result.returncode == 1
    assert "set endpoint.fixed in cdk.json" in " ".join(result.stdout.split())
