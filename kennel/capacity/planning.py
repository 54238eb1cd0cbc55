"""Simulation of a stage under a traffic profile: latency and cost of alternative settings, and a recommendation."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from infra.settings import SERVERLESS_BODY_BYTES, EndpointSettings, FunctionSettings, ServerlessSettings
from kennel.capacity import event_simulation, fluid_simulation
from kennel.capacity.system import START_S, Endpoint, Environments, Instance, Metric, Outcome
from kennel.capacity.traffic import DAY_S, Profile
from kennel.local.sagemaker.target_tracking import Policy
from kennel.pricing.prices import Prices

# More requests than this are not followed one by one.
EXACT_REQUESTS = 3_000_000
# The server's own queue (inference/server.py).
QUEUE = 64
# For a stage whose instances have not measured themselves: little enough for an ml.m5.large, so that it plans too many.
UNMEASURED_REQUESTS_PER_S = 40.0
# Concurrent executions in an account with the default quota.
ACCOUNT_LIMIT = 1000
# Concurrent requests of a serverless endpoint.
SERVERLESS_LIMIT = 200
# Concurrent requests arrive in ten-second datapoints, sooner than the one-minute ones.
CONCURRENT_PERIOD_S, CONCURRENT_DELAY_S = 10, 10.0


@dataclass(frozen=True)
class Assumptions:
    """Assumptions, measured or not known from anybody; the report lists all of them."""

    # Throughput of one instance at saturation; a request takes workers / requests_per_s. And where it is from.
    requests_per_s: float
    requests_per_s_source: str = "given"
    workers: int = 2
    variation: float = 0.3
    instance_start_s: float = START_S
    # Function to endpoint and back, TLS, SageMaker's own part.
    network_s: float = 0.010
    function_own_s: float = 0.001
    function_cold_start_s: float = 0.19
    # Time in which Lambda restores a snapshot, which the embedded AWS cannot show.
    snap_start_s: float = 0.10
    # AWS's script sleeps for 15 of them; the rest is Ray and the model, assumed.
    serverless_cold_start_s: float = 30.0
    serverless_memory_gb: float = 4.0
    seed: int = 1


@dataclass(frozen=True)
class Goal:
    """`share` of the requests are answered within `latency_s`, and at most `failed` of them not at all."""

    latency_s: float
    share: float = 0.95
    failed: float = 0.001

    def met(self, outcome: Outcome) -> bool:
        """True if an outcome meets the goal."""
        return outcome.latency_s(self.share) <= self.latency_s and outcome.failed <= self.failed


@dataclass(frozen=True)
class Option:
    """One way to run a part of the stage; `settings` are what to write into the stage, none if it cannot be."""

    name: str
    settings: dict[str, Any] | None
    endpoint: Endpoint
    function: Environments | None
    hourly_usd: float = 0.0
    snap_start: bool = False
    note: str = ""


@dataclass(frozen=True)
class Row:
    """An option, what became of the requests under it, and its cost over the traffic's time in USD."""

    option: Option
    outcome: Outcome
    endpoint_usd: float
    function_usd: float
    duration_s: float

    @property
    def most_instances(self) -> int:
        """At any time."""
        return round(max(moment["instances"] for moment in self.outcome.timeline))

    @property
    def usd_per_day(self) -> float:
        """The whole cost of a day of this traffic."""
        return (self.endpoint_usd + self.function_usd) * DAY_S / self.duration_s

    @property
    def usd_per_million(self) -> float:
        """The whole cost of a million answers."""
        total = self.endpoint_usd + self.function_usd
        return total / self.outcome.answered * 1e6 if self.outcome.answered else math.inf


@dataclass(frozen=True)
class Plan:
    """The rows of both tables, and the cheapest endpoint option that meets the goal, if one does."""

    profile: Profile
    goal: Goal
    assumptions: Assumptions
    prices: Prices
    instance_type: str
    endpoints: list[Row]
    functions: list[Row]
    chosen: Row | None


def plan(
    profile: Profile,
    goal: Goal,
    endpoint: EndpointSettings,
    function: FunctionSettings,
    assumptions: Assumptions,
    prices: Prices,
    fewest: int = 1,
    progress: Callable[[str], None] = lambda message: None,
) -> Plan:
    """Simulates every option on `profile`; one with fewer than `fewest` instances is not recommended.

    Raises KennelError for an instance type without a price.
    """
    hourly = prices.instance(endpoint.instance_type)
    if endpoint.serverless:
        assumptions = replace(assumptions, serverless_memory_gb=endpoint.serverless.memory_mib / 1024)
    instance = Instance(
        assumptions.workers / assumptions.requests_per_s,
        assumptions.workers,
        assumptions.variation,
        QUEUE,
        assumptions.instance_start_s,
    )
    # The endpoints are compared behind a function that throttles nobody before the account's limit does.
    called = replace(_environments(function, assumptions), limit=ACCOUNT_LIMIT)
    rows = [
        _row(
            replace(option, snap_start=function.snap_start), profile, endpoint, function, assumptions, prices, progress
        )
        for option in endpoint_options(profile, endpoint, instance, called, hourly, assumptions, fewest)
    ]
    usable = [row for row in rows if goal.met(row.outcome) and row.option.settings is not None]
    chosen = min(usable, key=lambda row: row.usd_per_day, default=None)
    base = chosen or min((row for row in rows if row.option.hourly_usd), key=lambda row: row.outcome.failed)
    functions = [
        _row(option, profile, endpoint, function, assumptions, prices, progress)
        for option in function_options(base, function, assumptions)
    ]
    return Plan(profile, goal, assumptions, prices, endpoint.instance_type, rows, functions, chosen)


def endpoint_options(
    profile: Profile,
    settings: EndpointSettings,
    instance: Instance,
    function: Environments,
    hourly_usd: float,
    assumptions: Assumptions,
    fewest: int = 1,
) -> list[Option]:
    """Fixed counts, the stage as it is, autoscaling by each policy from sensible minimums, and serverless.

    Options with fewer than `fewest` instances are there to compare with.
    """
    utilization = settings.target_cpu_percent / 100
    safe = instance.requests_per_s * utilization
    peak = max(1, math.ceil(profile.peak / safe))
    quiet = max(1, math.ceil(float(profile.rates.min()) / safe))
    most = max(settings.max_instances, peak + 1)

    def option(name: str, endpoint: Endpoint, wanted: dict[str, Any], note: str = "") -> Option:
        if endpoint.instances < fewest:
            note = f"the stage needs {fewest}: one is in one zone"
        if settings.serverless:
            wanted = {"serverless": None, "scaling_target_instance_type": settings.instance_type, **wanted}
        return Option(name, None if note else {"endpoint": wanted}, endpoint, function, hourly_usd, note=note)

    def scaled(words: str, policy: Policy, metric: Metric, wanted: dict[str, Any], note: str = "") -> Option:
        bounds = {"min_instances": policy.minimum, "max_instances": policy.maximum}
        name = f"{policy.minimum} to {policy.maximum}, {words}"
        return option(name, Endpoint(instance, policy.minimum, policy, metric), {**bounds, **wanted}, note)

    def fixed(count: int, why: str) -> Option:
        wanted = {"min_instances": count, "max_instances": count}
        return option(f"{count} fixed, {why}", Endpoint(instance, count), wanted)

    by_invocations = settings.invocations_per_instance_per_min
    as_it_is = Policy(
        by_invocations or utilization,
        settings.min_instances,
        settings.max_instances,
        scale_out_cooldown_s=settings.scale_out_cooldown_s,
        scale_in_cooldown_s=settings.scale_in_cooldown_s,
    )
    # Where queueing begins: a request for each worker, by the share that is safe.
    at_once = instance.workers * utilization
    by_cpu = {"invocations_per_instance_per_min": None}
    options = [fixed(1, "one instance")]
    options += [fixed(peak, "for the peak")] if peak > 1 else []
    if settings.scales:
        options.append(scaled("as the stage is", as_it_is, "invocations" if by_invocations else "utilization", {}))
    elif not settings.serverless:
        options.append(fixed(settings.min_instances, "as the stage is"))
    for least in sorted({max(quiet, fewest), max(math.ceil((quiet + peak) / 2), fewest)}):
        by_utilization = replace(as_it_is, target=utilization, minimum=least, maximum=most)
        options.append(scaled("by CPU utilization", by_utilization, "utilization", by_cpu))
        by_concurrency = replace(
            by_utilization, target=at_once, period_s=CONCURRENT_PERIOD_S, delay_s=CONCURRENT_DELAY_S
        )
        note = "only accelerated instances have this metric"
        options.append(scaled("by concurrency", by_concurrency, "concurrency", {}, note))
    serverless = settings.serverless or ServerlessSettings(max_concurrency=SERVERLESS_LIMIT)
    environments = Environments(
        assumptions.function_own_s,
        assumptions.serverless_cold_start_s,
        min(serverless.max_concurrency, function.limit),
    )
    # These settings of the stage are removed: infra/settings/endpoint.py says why.
    without = {"scaling_target_instance_type": "none", "capture_percent": 0, "fixed": False}
    smaller = {"max_image_bytes": SERVERLESS_BODY_BYTES}
    options.append(
        Option(
            f"serverless, {serverless.memory_mib / 1024:g} GB{', as the stage is' if settings.serverless else ''}",
            {"endpoint": {"serverless": serverless.model_dump(), **without}, "function": smaller}
            if fewest == 1
            else None,
            # Each environment is an instance of one worker that is there when it is asked for.
            Endpoint(replace(instance, workers=SERVERLESS_LIMIT, queue=None), 1),
            environments,
            note="" if fewest == 1 else "it has no network isolation, which a stage with retain_data keeps",
        )
    )
    return options


def function_options(base: Row, settings: FunctionSettings, assumptions: Assumptions) -> list[Option]:
    """The ways of the function's concurrency, in front of the endpoint of `base`."""
    enough = enough_concurrency(base)
    as_now = _environments(settings, assumptions)
    cold = replace(
        as_now, cold_start_s=assumptions.function_cold_start_s, limit=enough, provisioned=0, provisioned_max=0
    )
    kept = settings.provisioned_min or 1
    most = max(kept, settings.provisioned_max or 4)
    reserved = {"reserved_concurrency": enough}

    def option(name: str, function: Environments, *, snap_start: bool = False, **wanted: Any) -> Option:
        chosen = {"function": {**reserved, **wanted}}
        return replace(base.option, name=name, settings=chosen, function=function, snap_start=snap_start, note="")

    return [
        option("on demand, nothing reserved", replace(cold, limit=ACCOUNT_LIMIT), reserved_concurrency=None),
        option(
            f"as the stage is: {settings.reserved_concurrency or 'nothing'} reserved",
            as_now,
            snap_start=settings.snap_start,
            reserved_concurrency=settings.reserved_concurrency,
        ),
        option(f"{enough} reserved", cold),
        option(
            f"{enough} reserved, {kept} to {most} provisioned",
            replace(cold, provisioned=kept, provisioned_max=most),
            provisioned_min=kept,
            provisioned_max=most,
        ),
        option(f"{enough} reserved, SnapStart", replace(cold, cold_start_s=assumptions.snap_start_s), snap_start=True),
    ]


def enough_concurrency(row: Row) -> int:
    """A fifth more than were ever at work at the same time, rounded up to tens."""
    return max(10, math.ceil(row.outcome.peak_concurrency * 1.2 / 10) * 10)


def _environments(settings: FunctionSettings, assumptions: Assumptions) -> Environments:
    return Environments(
        assumptions.function_own_s,
        assumptions.snap_start_s if settings.snap_start else assumptions.function_cold_start_s,
        settings.reserved_concurrency or ACCOUNT_LIMIT,
        settings.provisioned_min or 0,
        settings.provisioned_max or 0,
        settings.provisioned_utilization,
    )


def _row(
    option: Option,
    profile: Profile,
    endpoint: EndpointSettings,
    function: FunctionSettings,
    assumptions: Assumptions,
    prices: Prices,
    progress: Callable[[str], None],
) -> Row:
    progress(option.name)
    network, timeout = assumptions.network_s, float(endpoint.timeout_s)

    def said(share: float) -> None:
        progress(f"{option.name}: {share:.0%}")

    if profile.requests <= EXACT_REQUESTS:
        outcome = event_simulation.simulate(
            profile,
            option.endpoint,
            option.function,
            network_s=network,
            timeout_s=timeout,
            seed=assumptions.seed,
            progress=said,
        )
    else:
        outcome = fluid_simulation.simulate(
            profile, option.endpoint, option.function, network_s=network, timeout_s=timeout, progress=said
        )
    endpoint_usd = outcome.instance_s / 3600 * option.hourly_usd
    if not option.hourly_usd:
        endpoint_usd = outcome.busy_s * assumptions.serverless_memory_gb * prices.serverless_usd_gb_s
    return Row(
        option,
        outcome,
        endpoint_usd + prices.log_usd(outcome.requests - outcome.throttled),
        _function_usd(option, outcome, function, prices, profile.duration_s),
        profile.duration_s,
    )


def _function_usd(
    option: Option, outcome: Outcome, settings: FunctionSettings, prices: Prices, duration_s: float
) -> float:
    usd, gb = prices.lambda_usd, settings.memory_mib / 1024
    # A throttled call is not billed.
    asked = (outcome.requests - outcome.throttled) * usd["request"]
    on_demand_s = outcome.busy_s - outcome.ready_busy_s
    computed = gb * (on_demand_s * usd["gb_s"] + outcome.ready_busy_s * usd["provisioned_busy_gb_s"])
    computed += gb * outcome.provisioned_s * usd["provisioned_gb_s"]
    if option.snap_start:
        cached = duration_s * gb * usd["snapstart_cache_gb_s"]
        return asked + computed + cached + outcome.cold_starts * gb * usd["snapstart_restore_gb"]
    return asked + computed
