"""`kennel status`: quiet when the stage runs what was deployed, and else it says what is not so, and fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from environment import Environment

pytestmark = pytest.mark.slow


@contextmanager
def changed(deployed: Environment, **members: Any) -> Iterator[None]:
    """The endpoint as the embedded AWS would describe it, had something happened to it."""
    sagemaker = deployed.client("sagemaker")
    config = sagemaker.describe_endpoint(EndpointName="kennel-dev-scaled")["EndpointConfigName"]
    original = sagemaker.describe_endpoint_config(EndpointConfigName=config)
    sagemaker.create_endpoint_config(
        EndpointConfigName="by-hand", ProductionVariants=original["ProductionVariants"], **members
    )
    sagemaker.update_endpoint(EndpointName="kennel-dev-scaled", EndpointConfigName="by-hand")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="kennel-dev-scaled", WaiterConfig={"Delay": 1})
    try:
        yield
    finally:
        sagemaker.update_endpoint(EndpointName="kennel-dev-scaled", EndpointConfigName=config)
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="kennel-dev-scaled", WaiterConfig={"Delay": 1})
        sagemaker.delete_endpoint_config(EndpointConfigName="by-hand")


def test_given_a_deployed_stage_when_asked_then_all_is_well(deployed: Environment) -> None:
    output = deployed.run("kennel", "status").stdout
    assert "endpoint kennel-dev-scaled" in output
    assert "in service, 1 of 1 instances" in output
    assert "none fires" in output
    assert "active, version" in output
    assert "→" not in output


def test_given_an_endpoint_that_runs_another_config_when_asked_then_it_fails_and_says_so(
    deployed: Environment,
) -> None:
    with changed(deployed):
        result = deployed.run("kennel", "status", check=False)
    assert result.returncode == 1
    assert "runs by-hand, not" in result.stdout
    assert "which was deployed" in result.stdout


def test_given_an_alarm_that_fires_when_asked_then_it_fails_and_names_it(deployed: Environment) -> None:
    cloudwatch = deployed.client("cloudwatch")
    alarm = {"AlarmName": "kennel-dev-scaled-errors", "StateReason": "a test"}
    cloudwatch.set_alarm_state(**alarm, StateValue="ALARM")
    try:
        result = deployed.run("kennel", "status", check=False)
    finally:
        cloudwatch.set_alarm_state(**alarm, StateValue="OK")
    assert result.returncode == 1
    assert "alarm kennel-dev-scaled-errors" in result.stdout
    assert "fires: a test" in result.stdout


def test_given_a_package_that_is_promoted_but_not_deployed_when_asked_then_it_says_what_to_run(
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


def test_given_a_stage_that_is_not_deployed_when_asked_then_it_says_what_to_run(deployed: Environment) -> None:
    result = deployed.run("kennel", "status", "--stage", "prod", check=False)
    assert result.returncode == 1
    assert "Kennel-prod-Serving is not deployed: run `make deploy STAGE=prod`" in result.stdout
