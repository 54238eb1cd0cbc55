"""The scheduled stop: the notebook stops, the Serving stack is deleted in the deploy's role, a deploy restores it."""

import pytest

from helpers.stage import Environment
from helpers.workday import notebook_status, stop_for_the_night

pytestmark = pytest.mark.own_stage


def test_scheduled_stop_is_undone_by_deploy(
    deployed: Environment,
) -> None:
    assert notebook_status(deployed) == "InService"
    stop_for_the_night(deployed)
    assert deployed.servers() == []
    targets = deployed.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert targets["ScalableTargets"] == []

    refused = deployed.run("kennel", "status", check=False)
    assert refused.returncode == 1
    assert "Kennel-dev-Serving is not deployed: run `make deploy STAGE=dev`" in refused.stdout

    deployed.deploy("Serving")
    assert deployed.url().call(deployed.image(), "image/jpeg").status == 200
