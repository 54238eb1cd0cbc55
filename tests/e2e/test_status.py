"""`kennel status`: quiet when the stage runs what was deployed, and else it says what is not so, and fails."""

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from helpers.stage import Environment

pytestmark = pytest.mark.own_stage


FAILING_S = 15
TYPES = ["MetricAlarm", "CompositeAlarm"]


@pytest.fixture(autouse=True)
def quiet(deployed: Environment) -> None:
    """What tests before this one made fire is over."""
    cloudwatch = deployed.client("cloudwatch")
    deadline = time.monotonic() + 180  # an hour of an alarm is a minute here
    while any(cloudwatch.describe_alarms(StateValue="ALARM", AlarmTypes=TYPES)[f"{kind}s"] for kind in TYPES):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def until_state(cloudwatch: Any, wanted: str, name: str = "kennel-dev-scaled-errors") -> None:
    deadline = time.monotonic() + 180  # an hour of an alarm is a minute here
    while True:
        (alarm,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        if alarm["StateValue"] == wanted:
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_deployed_stage_is_healthy(deployed: Environment) -> None:
    output = deployed.run("kennel", "status").stdout
    assert "endpoint kennel-dev-scaled" in output
    assert "in service, 1 of 1 instances" in output
    assert "none fires" in output
    assert "active, version" in output
    assert "97.83 USD a month" in output
    assert re.search(r"cost so far +\d+\.\d\d of 150\.00 USD this month, \d+\.\d\d expected", output)
    assert "serving ray:serve-ml" in output
    assert "→" not in output


def test_firing_alarm_fails_status(deployed: Environment) -> None:
    cloudwatch = deployed.client("cloudwatch")
    now = datetime.now(UTC)
    of_fleet = {
        "EndpointName": "kennel-dev-scaled",
        "VariantName": "primary",
        "EndpointConfigName": deployed.endpoint()["EndpointConfigName"],
    }
    dimensions = [{"Name": name, "Value": value} for name, value in of_fleet.items()]
    failing = {"MetricName": "Invocation5XXErrors", "Dimensions": dimensions, "Value": 1.0}
    # A minute is a second here: so many minutes of failures, and then none.
    seconds = [now + timedelta(seconds=number) for number in range(FAILING_S)]
    data = [{**failing, "Timestamp": second} for second in seconds]
    cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=data)
    until_state(cloudwatch, "ALARM")
    result = deployed.run("kennel", "status", check=False)
    assert result.returncode == 1
    assert "alarm kennel-dev-scaled-errors" in result.stdout
    assert "SEV2: the update of kennel-dev-scaled is rolled back" in result.stdout
    assert "→ docs/runbooks.md#rolled-back" in result.stdout
    until_state(cloudwatch, "OK")


@pytest.mark.parametrize(
    ("metric", "alarm", "says", "runbook"),
    [
        ("FailedJobs", "failed-jobs", "SEV3: a training job or EC2 run failed", "failed-jobs"),
        ("ClassMixShift", "class-mix-drift", "the class mix differs by more than", "drift"),
    ],
)
def test_minor_alarm_is_shown_without_failing(
    deployed: Environment, metric: str, alarm: str, says: str, runbook: str
) -> None:
    cloudwatch = deployed.client("cloudwatch")
    now = datetime.now(UTC)
    data = [{"MetricName": metric, "Value": 1.0, "Timestamp": now + timedelta(seconds=n)} for n in range(FAILING_S)]
    cloudwatch.put_metric_data(Namespace="Kennel/dev", MetricData=data)
    until_state(cloudwatch, "ALARM", f"kennel-dev-{alarm}")
    result = deployed.run("kennel", "status")
    assert says in result.stdout
    assert f"→ docs/runbooks.md#{runbook}" in result.stdout
    until_state(cloudwatch, "OK", f"kennel-dev-{alarm}")


def test_undeployed_promotion_suggests_deploy(
    deployed: Environment,
) -> None:
    ssm = deployed.client("ssm")
    before = ssm.get_parameter(Name="/kennel/dev/model")["Parameter"]["Value"]
    ssm.put_parameter(Name="/kennel/dev/model", Value=f"{before}other/", Type="String", Overwrite=True)
    try:
        result = deployed.run("kennel", "status", check=False)
    finally:
        ssm.put_parameter(Name="/kennel/dev/model", Value=before, Type="String", Overwrite=True)
    assert result.returncode == 1
    assert "make deploy, or kennel promote --previous" in result.stdout


def test_undeployed_stage_suggests_deploy(deployed: Environment) -> None:
    result = deployed.run("kennel", "status", "--stage", "prod", check=False)
    assert result.returncode == 1
    assert "Kennel-prod-Serving is not deployed: run `make deploy STAGE=prod`" in result.stdout


def test_review_of_deployed_shows_only_differences(deployed: Environment, tmp_path: Path) -> None:
    head = tmp_path / "cdk.out"
    deployed.run("cdk", "synth", "--quiet", "--output", str(head))
    assert deployed.run("kennel", "review", "deployed", str(head)).stdout == ""
    template = head / "Kennel-dev-Serving.template.json"
    template.write_text(template.read_text().replace('"MinCapacity": 1', '"MinCapacity": 2'))
    result = deployed.run("kennel", "review", "deployed", str(head), "--fail-on", "destroy,widen")
    assert "`MinCapacity`: `1` → `2`" in result.stdout
    assert "+83.95 USD per month idle" in result.stdout
