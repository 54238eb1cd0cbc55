"""Instances of unequal speed under one stage file: they measure themselves, and scale by their CPU utilization."""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
from botocore.config import Config

from helpers.stage import Environment, deployed_stage
from helpers.workday import until
from infra.names import VARIANT
from kennel.capacity import published
from kennel.capacity.load_generator import THREADS, Answer, drive
from kennel.capacity.system import Floats
from kennel.local.settings import CORES_VARIABLE
from kennel.stage.deployed import DeployedStage

pytestmark = pytest.mark.own_stage

# Of a core of this machine, by the place of the instance: busy neighbours, another generation of processors. Together
# less than half of two cores: the caller and the embedded AWS need the rest.
CORES = "0.25,0.5"
# Shares of the first instance's processors in use, and for how many seconds: one instance is enough, then it is not.
LOW, LOW_S, HIGH, HIGH_S = 0.35, 8, 0.88, 30
OBJECTIVE_S = 2.0


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with (
        mock.patch.dict(os.environ, {CORES_VARIABLE: CORES}),
        deployed_stage(tmp_path_factory.mktemp("own")) as stage,
    ):
        yield stage


def capacity() -> float:
    found = published.capacity(DeployedStage("dev"))
    assert found
    return found.requests_per_s


def steady(rate: float, seconds: float) -> Floats:
    return np.arange(0, seconds, 1 / rate)


def utilization(stage: Environment) -> float:
    """The share of its processors that the one instance used in the last seconds."""
    now = datetime.now(UTC)
    dimensions = [{"Name": "EndpointName", "Value": "kennel-dev-scaled"}, {"Name": "VariantName", "Value": VARIANT}]
    metric = {"Namespace": "/aws/sagemaker/Endpoints", "MetricName": "CPUUtilization", "Dimensions": dimensions}
    (found,) = stage.client("cloudwatch").get_metric_data(
        StartTime=now - timedelta(seconds=LOW_S / 2),
        EndTime=now,
        MetricDataQueries=[{"Id": "cpu", "MetricStat": {"Metric": metric, "Period": 1, "Stat": "Average"}}],
    )["MetricDataResults"]
    return float(np.mean(found["Values"])) / 200


def counts(stage: Environment) -> list[int]:
    """The numbers of instances that scaling set, oldest first."""
    scaling = stage.client("application-autoscaling")
    steps = scaling.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"]
    return [int(re.findall(r"count to (\d+)", step["Description"])[0]) for step in reversed(steps)]


def test_capacity_is_shown_where_it_is_needed(limited: Environment) -> None:
    state = f"{capacity():,.0f} requests/s per instance, 60% of what its model measured"
    assert state in " ".join(limited.run("kennel", "status").stdout.split())
    plan = limited.run("kennel", "plan", "step", "--json").stdout
    assumptions = json.loads(plan)["assumptions"]
    assert assumptions["requests_per_s"] == capacity()
    assert "60% of what its model measured" in assumptions["requests_per_s_source"]


def test_slow_instances_scale_out_before_they_refuse(limited: Environment) -> None:
    """Nothing in the stage says what an instance can do; a target of invocations would be for another processor."""
    image = limited.image()
    once = Config(retries={"total_max_attempts": 1}, max_pool_connections=THREADS)
    runtime = DeployedStage("dev").client("sagemaker-runtime", once)
    name = limited.endpoint()["EndpointName"]

    def send(number: int) -> int:
        answer = runtime.invoke_endpoint(EndpointName=name, Body=image, ContentType="image/jpeg")
        return int(answer["ResponseMetadata"]["HTTPStatusCode"])

    def load(rate: float, seconds: float) -> list[Answer]:
        # The latency of a request that is sent late counts from when it was due: a short halt of this machine is in it.
        return drive(steady(rate, seconds), send, allowed_late_s=OBJECTIVE_S)

    rate = LOW * capacity()
    answers = load(rate, LOW_S)
    assert not counts(limited)
    rate *= HIGH / utilization(limited)
    answers += load(rate, HIGH_S)
    latencies = np.array([answer.latency_s for answer in answers])
    grown = counts(limited)
    print(f"{capacity():.1f}/s, {rate:.1f}/s, {grown}, p99 {np.quantile(latencies, 0.99):.3f} s")
    assert {answer.status for answer in answers} == {200}
    assert np.quantile(latencies, 0.99) < OBJECTIVE_S
    assert grown
    assert all(later > earlier for earlier, later in pairwise([1, *grown]))

    def shrunk() -> bool:
        return limited.endpoint()["ProductionVariants"][0]["CurrentInstanceCount"] == 1

    # Idle instances publish their utilization, too: nobody has to call them.
    until(shrunk, timeout_s=180)
