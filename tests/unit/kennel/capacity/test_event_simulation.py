"""The simulator against closed forms, against itself without single requests, and against what AWS has published."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from kennel.capacity import event_simulation, fluid_simulation
from kennel.capacity.fluid_simulation import erlang_b, erlang_c
from kennel.capacity.system import Endpoint, Environments, Instance, Outcome
from kennel.capacity.traffic import Profile, shaped
from kennel.local.sagemaker.target_tracking import Policy

SERVICE_S = 0.1
REQUESTS = 1_500_000


def constant(load: float, workers: int, requests: float = REQUESTS) -> Profile:
    rate = load * workers / SERVICE_S
    return shaped("constant", 0, rate, hours=requests / rate / 3600)


def mean_wait(workers: int, load: float, variation: float, seed: int = 1) -> float:
    """Seconds, of every request through one instance with room for all."""
    endpoint = Endpoint(Instance(SERVICE_S, workers, variation), 1)
    outcome = event_simulation.simulate(constant(load, workers), endpoint, timeout_s=math.inf, seed=seed)
    return outcome.mean_wait_s


@pytest.mark.parametrize("load", [0.3, 0.5, 0.7])
def test_wait_matches_m_m_1(load: float) -> None:
    assert mean_wait(1, load, 1.0) == pytest.approx(SERVICE_S * load / (1 - load), rel=0.03)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.7])
def test_wait_matches_m_d_1(load: float) -> None:
    assert mean_wait(1, load, 0.0) == pytest.approx(SERVICE_S * load / (1 - load) / 2, rel=0.03)


@pytest.mark.parametrize(("workers", "load"), [(2, 0.6), (4, 0.7), (8, 0.7)])
def test_wait_matches_m_m_c(workers: int, load: float) -> None:
    formula = erlang_c(workers, load) * SERVICE_S / workers / (1 - load)
    assert mean_wait(workers, load, 1.0) == pytest.approx(formula, rel=0.03)


def test_erlang_formulas_match_textbook() -> None:
    assert erlang_b(2, 1.0) == pytest.approx(0.2)
    assert erlang_b(10, 5.0) == pytest.approx(0.018385, rel=1e-4)
    assert erlang_c(1, 0.5) == pytest.approx(0.5)
    assert erlang_c(2, 0.75) == pytest.approx(0.642857, rel=1e-4)


def test_queue_rejections_match_m_m_1_k() -> None:
    # One at work and four waiting: K = 5.
    endpoint = Endpoint(Instance(SERVICE_S, 1, 1.0, queue=4), 1)
    outcome = event_simulation.simulate(constant(0.9, 1, 500_000), endpoint)
    share = (1 - 0.9) * 0.9**5 / (1 - 0.9**6)
    assert outcome.refused / outcome.requests == pytest.approx(share, rel=0.03)
    assert outcome.answered + outcome.refused == outcome.requests


def test_throttling_matches_erlang_b() -> None:
    # The endpoint has room for all: each execution takes its service time.
    function = Environments(own_s=0.0, cold_start_s=0.0, limit=5)
    endpoint = Endpoint(Instance(SERVICE_S, 1000, 1.0), 1)
    outcome = event_simulation.simulate(shaped("constant", 0, 40, hours=3), endpoint, function)
    assert outcome.throttled / outcome.requests == pytest.approx(erlang_b(5, 4.0), rel=0.03)
    assert outcome.peak_concurrency == 5


def scaled(minimum: int = 1, start_s: float = 181.0) -> Endpoint:
    instance = Instance(0.01, 2, 0.3, queue=64, start_s=start_s)
    return Endpoint(instance, minimum, Policy(140 * 60, minimum, 8, scale_out_cooldown_s=60))


def test_scale_out_takes_alarm_and_start_time() -> None:
    profile = shaped("step", 50, 400)
    outcome = event_simulation.simulate(profile, scaled())
    step_s = outcome.timeline[1]["second"]
    began = next(row["second"] for row in outcome.timeline if row["requests_per_s"] > 200)
    grew = next(row["second"] for row in outcome.timeline if row["instances"] > 1)
    # Three datapoints of a minute, up to a minute for the metric, and the start.
    assert grew - began == pytest.approx(180 + 60 + 181, abs=2 * step_s)
    assert outcome.timeline[-1]["instances"] < max(row["instances"] for row in outcome.timeline)


def test_concurrency_scaling_matches_aws_figures() -> None:
    # Published: 260 s from the load to the new instance, 181 s of them its start.
    by_invocations = scaled()
    assert by_invocations.policy is not None
    policy = replace(by_invocations.policy, target=1.4, period_s=10, delay_s=10.0)
    by_concurrency = replace(by_invocations, policy=policy, metric="concurrency")
    outcome = event_simulation.simulate(shaped("step", 50, 400), by_concurrency)
    began = next(row["second"] for row in outcome.timeline if row["requests_per_s"] > 200)
    grew = next(row["second"] for row in outcome.timeline if row["instances"] > 1)
    # Three datapoints of ten seconds at least; a row of the timeline is half a minute.
    assert 181 + 30 - 30 <= grew - began <= 260


@pytest.mark.parametrize("engine", [event_simulation, fluid_simulation])
def test_utilization_is_never_over_all_of_it(engine: Any) -> None:
    """An instance of 200 requests/s that gets 800 is fully used and no more: a step from 1 leads to 2 and not to 6."""
    by_cpu = replace(scaled(), policy=Policy(0.7, 1, 8, scale_out_cooldown_s=60), metric="utilization")
    outcome = engine.simulate(shaped("step", 50, 800), by_cpu)
    counts = [row["instances"] for row in outcome.timeline]
    steps = [later for earlier, later in pairwise(counts) if later > earlier]
    assert steps[:3] == [2, 3, 5]
    assert counts[-1] == 1, "idle instances publish their utilization"


def test_instances_follow_schedule() -> None:
    endpoint = replace(scaled(), schedule=((8 * 3600.0, 3), (18 * 3600.0, 1)))
    outcome = fluid_simulation.simulate(shaped("constant", 0, 20, hours=24), endpoint)
    by_hour = {int(row["second"] // 3600): row["instances"] for row in outcome.timeline}
    assert (by_hour[7], by_hour[9], by_hour[17], by_hour[20]) == (1, 3, 3, 1)


def test_provisioning_avoids_cold_starts() -> None:
    profile, endpoint = shaped("constant", 0, 20, hours=0.5), Endpoint(Instance(0.01, 100), 1)
    cold = event_simulation.simulate(profile, endpoint, Environments(0.001, 0.5, 100))
    ready = event_simulation.simulate(profile, endpoint, Environments(0.001, 0.5, 100, provisioned=20))
    assert cold.cold_starts >= 1
    assert cold.latency_s(1.0) > 0.5
    assert ready.cold_starts == 0
    assert ready.ready_busy_s == pytest.approx(ready.busy_s)
    assert cold.ready_busy_s == 0
    assert ready.provisioned_s == pytest.approx(20 * profile.duration_s)


@pytest.mark.parametrize(
    ("profile", "endpoint"),
    [
        (shaped("constant", 0, 120, hours=0.5), scaled(1)),
        (shaped("step", 50, 600), scaled(1)),
        (shaped("daily", 1, 60), scaled(1)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_aggregate_matches_exact_simulation(profile: Profile, endpoint: Endpoint) -> None:
    one, other = event_simulation.simulate(profile, endpoint), fluid_simulation.simulate(profile, endpoint)
    assert not other.exact
    for share in (0.5, 0.95):
        assert other.latency_s(share) == pytest.approx(one.latency_s(share), rel=0.1)
    assert other.failed == pytest.approx(one.failed, abs=0.01)
    assert other.instance_s == pytest.approx(one.instance_s, rel=0.02)


def test_aggregate_accounts_for_every_request() -> None:
    function = Environments(0.001, 0.2, 5000)
    endpoint = Endpoint(Instance(0.01, 2, 0.3, queue=64), 40, Policy(140 * 60, 5, 200))
    outcome = fluid_simulation.simulate(shaped("daily", 1000, 10_000), endpoint, function, network_s=0.01)
    assert accounted(outcome) == pytest.approx(outcome.requests, rel=1e-6)
    assert outcome.requests == pytest.approx(5500 * 86_400, rel=1e-3)


def accounted(outcome: Outcome) -> float:
    return outcome.answered + outcome.throttled + outcome.refused + outcome.late
