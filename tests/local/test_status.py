"""`kennel status`: quiet when the stage runs what was deployed, and else it says what is not so, and fails."""

import pytest

from environment import Environment

pytestmark = pytest.mark.slow


def test_given_a_deployed_stage_when_asked_then_all_is_well(deployed: Environment) -> None:
    output = deployed.run("kennel", "status").stdout
    assert "endpoint kennel-dev-scaled" in output
    assert "in service, 1 of 1 instances" in output
    assert "none fires" in output
    assert "active, version" in output
    assert "→" not in output


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
