"""The two endpoints under the same load: the scaled one grows and shrinks again, by the policy of the template."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.kept import assembly
from helpers.stage import Environment, project_copy
from helpers.workday import until

pytestmark = pytest.mark.own_stage


# A minute passes in a second here: low and high are 0.6 and 2.4 times what one instance is to take, and few enough
# requests/s for two endpoints on one machine.
TARGET_PER_MIN = 300
LOW, HIGH, MINUTES, PERIOD_S = 3, 12, 2, 5


# The project's own kennel.
COMPARE = (sys.executable, "-m", "kennel", "compare")
SETTINGS = {
    "fixed": True,
    "fixed_instances": 1,
    "max_instances": 3,
    "invocations_per_instance_per_min": TARGET_PER_MIN,
    "instance_hours": [{"cron": "0 7 ? * MON-FRI *", "min_instances": 1, "max_instances": 3}],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with both endpoints: `kennel compare` reads the stage in its cdk.json."""
    return project_copy(tmp_path_factory.mktemp("both") / "project", endpoint=SETTINGS)


@pytest.fixture(scope="module")
def both(deployed: Environment) -> Path:
    """The stage with both endpoints and a target that this machine can exceed: its cloud assembly."""
    app = assembly(endpoint=SETTINGS)
    deployed.deploy("Serving", app=app)
    return app


def declared(app: Path) -> list[dict[str, Any]]:
    """The scaling policies of the template."""
    template = json.loads((app / "Kennel-dev-Serving.template.json").read_text())
    kind = "AWS::ApplicationAutoScaling::ScalingPolicy"
    return [item["Properties"] for item in template["Resources"].values() if item["Type"] == kind]


def test_scaled_endpoint_grows_and_shrinks_with_load(
    deployed: Environment, both: Path, project: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    load = ("--low", str(LOW), "--high", str(HIGH), "--minutes", str(MINUTES), "--period", str(PERIOD_S))
    output = deployed.run(*COMPARE, *load, "--yes", "--output", str(report), "--json", cwd=project).stdout
    found = json.loads(output[output.index("{") :])

    fixed, scaled = found["endpoints"]
    assert {round(count) for count in fixed["instances"]} == {1}
    assert round(scaled["instances"][0]) == 1
    assert max(scaled["instances"]) > 1.9
    assert fixed["requests"] == scaled["requests"] > 800
    assert fixed["answered"] == fixed["requests"]
    assert scaled["answered"] == scaled["requests"]

    # Each step was the declared policy's, and there is no other.
    (policy,) = declared(both)
    assert [item["PolicyName"] for item in found["policies"]] == [policy["PolicyName"]]
    registered = found["policies"][0]["TargetTrackingScalingPolicyConfiguration"]
    assert registered == policy["TargetTrackingScalingPolicyConfiguration"]
    assert found["steps"]

    def shrunk() -> bool:
        deployed.url().call(deployed.image(), "image/jpeg")
        return deployed.endpoint()["ProductionVariants"][0]["CurrentInstanceCount"] == 1

    # At the end of the load on a quiet machine; a busy one takes longer for a step, and is called on in the meantime.
    until(shrunk, timeout_s=180)
    scaling = deployed.client("application-autoscaling")
    steps = scaling.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"]
    assert len(steps) >= 2
    told = [(step["cause"], step["description"]) for step in found["steps"]]
    for cause, description in [*told, *((step["Cause"], step["Description"]) for step in steps)]:
        assert cause.endswith(f"triggered policy {policy['PolicyName']}")
        (count,) = re.findall(r"count to (\d+)", description)
        assert 1 <= int(count) <= 3

    page = report.read_text()
    assert "kennel-dev-fixed" in page
    assert "by CloudWatch" in page
    assert f"at {TARGET_PER_MIN}" in page


def test_scheduled_actions_follow_settings(deployed: Environment, both: Path) -> None:
    def schedules() -> list[str]:
        found = deployed.client("application-autoscaling").describe_scheduled_actions(ServiceNamespace="sagemaker")
        return [action["Schedule"] for action in found["ScheduledActions"]]

    assert schedules() == ["cron(0 7 ? * MON-FRI *)"]
    deployed.deploy("Serving")
    assert schedules() == []
    deployed.deploy("Serving", app=both)


def test_compare_without_yes_sends_no_requests(deployed: Environment, both: Path, project: Path) -> None:
    result = deployed.run(*COMPARE, cwd=project, check=False)
    assert result.returncode == 1
    assert "USD an hour" in result.stdout
    assert "pass --yes" in result.stdout


def test_compare_without_fixed_suggests_fix(deployed: Environment) -> None:
    deployed.deploy("Serving")
    result = deployed.run("kennel", "compare", "--yes", check=False)
    assert result.returncode == 1
    assert "set endpoint.fixed in cdk.json" in " ".join(result.stdout.split())
