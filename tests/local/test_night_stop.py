"""The scheduled stop: the notebook stops, the Serving stack goes in the deploy's role, `make deploy` brings it back."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from environment import Environment

pytestmark = pytest.mark.slow


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def notebook(deployed: Environment) -> str:
    described = deployed.client("sagemaker").describe_notebook_instance(NotebookInstanceName="kennel-dev-notebook")
    return str(described["NotebookInstanceStatus"])


def serving_is_gone(deployed: Environment) -> bool:
    try:
        stacks = deployed.client("cloudformation").describe_stacks(StackName="Kennel-dev-Serving")["Stacks"]
    except ClientError as error:
        return "does not exist" in str(error)
    return bool(stacks[0]["StackStatus"] == "DELETE_COMPLETE")


def test_given_the_hour_when_it_comes_then_notebook_and_endpoints_stop_and_a_deploy_brings_them_back(
    deployed: Environment,
) -> None:
    scheduler = deployed.client("scheduler")
    assert notebook(deployed) == "InService"
    for part in ("notebook", "endpoints"):
        schedule = scheduler.get_schedule(Name=f"Kennel-dev-stop-{part}")
        assert schedule["ScheduleExpression"] == "cron(0 20 ? * * *)"
        # As the stage's own, and now.
        scheduler.create_schedule(
            Name=f"{schedule['Name']}-now",
            ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow=schedule["FlexibleTimeWindow"],
            Target=schedule["Target"],
        )
    until(lambda: notebook(deployed) == "Stopped")
    until(lambda: serving_is_gone(deployed))
    assert deployed.servers() == []
    targets = deployed.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert targets["ScalableTargets"] == []

    refused = deployed.run("kennel", "status", check=False)
    assert refused.returncode == 1
    assert "Kennel-dev-Serving is not deployed: run `make deploy STAGE=dev`" in refused.stdout

    for part in ("notebook", "endpoints"):
        scheduler.delete_schedule(Name=f"Kennel-dev-stop-{part}-now")
    deployed.deploy("Serving")
    assert deployed.url().call(deployed.picture(), "image/jpeg").status == 200
