"""The simulation without single requests, for traffic of which there are too many: ten seconds at a time.

The control loop is the exact simulation's own policy. What is an approximation, and how good it is, docs/scaling.md
measures: within ten seconds the queue of an instance is taken as settled (Erlang C, and Allen and Cunneen's correction
for service times that are not exponential) or, where more comes than can be computed, as a fluid that fills the queue.
"""

import math
from collections import deque
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from kennel.capacity.system import BINS, STEPS, Endpoint, Environments, Floats, Instance, Outcome, moment
from kennel.capacity.traffic import DAY_S, Profile
from kennel.local.sagemaker.target_tracking import Tracker

SLICE_S = 10.0
PERIOD_S = 60.0
# Above this share of what an instance can compute its queue does not settle within a slice.
SETTLES = 0.98
# Points that a service time that varies is spread over.
POINTS = 32
# Executions at the same time vary as a Poisson number: all but one moment in a thousand are within so many deviations.
DEVIATIONS = 3.0


class _Control:
    """The number of instances over time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._tracker = Tracker(endpoint.policy) if endpoint.policy else None
        self.active = self._wanted = self._billed = endpoint.instances
        self._ready_at: float | None = None
        self._pending: deque[tuple[float, float | None]] = deque()
        self.billed_s = 0.0

    def advance(self, now: float) -> None:
        """Does what is due at the start of a slice, and bills the slice."""
        if self._tracker:
            for second, minimum in self._endpoint.schedule:
                if now >= second and (now - second) % DAY_S < SLICE_S:
                    self._tracker.bound(minimum, max(minimum, self._tracker.policy.maximum))
                    if self._wanted < minimum and self._ready_at is None:
                        self._resize(now, minimum)
            while self._pending and self._pending[0][0] <= now:
                _, value = self._pending.popleft()
                self._resize(now, self._tracker.observe(now, value, self._wanted, busy=self._ready_at is not None))
        if self._ready_at is not None and now >= self._ready_at:
            self.active, self._ready_at = self._wanted, None
        self.billed_s += self._billed * SLICE_S

    def publish(self, now: float, invocations: float, answers: float, concurrency: float) -> None:
        """Takes the datapoint of a period that ends now, if one does.

        `invocations` and `answers` are those of each instance in the period, `concurrency` its requests now.
        """
        policy, metric = self._endpoint.policy, self._endpoint.metric
        if not policy or now % policy.period_s >= SLICE_S:
            return
        value: float | None = concurrency if metric == "concurrency" else invocations
        if metric == "utilization":
            # Idle instances publish it, too.
            value = min(1.0, answers / policy.period_s / self._endpoint.instance.requests_per_s)
        elif not invocations:
            value = None
        self._pending.append((now + policy.delay_s, value))

    def _resize(self, now: float, wanted: int) -> None:
        if wanted == self._wanted:
            return
        self._ready_at = now + (self._endpoint.instance.start_s if wanted > self.active else 0.0)
        self._wanted = self._billed = wanted


class _Warm:
    """The number of warm environments and of provisioned ones."""

    def __init__(self, settings: Environments) -> None:
        self._settings = settings
        self.ready = settings.provisioned
        self._needed: deque[float] = deque(maxlen=max(1, int(settings.idle_s / SLICE_S)))
        self._most = 0.0
        self._tracker = Tracker(settings.policy) if settings.scales else None

    def take(self, running: float, requests: float) -> tuple[float, float]:
        """The shares of a slice's requests that are throttled and that wait for a start; `running` at the same time."""
        settings = self._settings
        throttled = erlang_b(settings.limit, round(running, 1))
        needed = min(running + DEVIATIONS * math.sqrt(running), settings.limit)
        warm = max(self._needed, default=0.0) + self.ready
        new = max(0.0, needed - warm)
        over = max(0.0, new - settings.burst) / requests if requests else 0.0
        self._needed.append(max(0.0, needed - self.ready))
        self._most = max(self._most, min(needed, self.ready))
        cold = min(1.0, min(new, settings.burst) / requests) if requests else 0.0
        return min(1.0, throttled + over), cold

    def track(self, now: float) -> None:
        """Follows the use of a minute."""
        if self._tracker:
            self.ready = self._tracker.observe(now, self._most / self.ready or None, self.ready)
        self._most = 0.0


def simulate(
    profile: Profile,
    endpoint: Endpoint,
    function: Environments | None = None,
    *,
    network_s: float = 0.0,
    timeout_s: float = 60.0,
    progress: Callable[[float], None] = lambda share: None,
) -> Outcome:
    """The same as event_simulation.simulate, on average: numbers of requests are expected ones."""
    instance = endpoint.instance
    control, warm = _Control(endpoint), _Warm(function) if function else None
    extra_s = network_s + (function.own_s if function else 0.0)
    slices = math.ceil(profile.duration_s / SLICE_S)
    total = np.zeros(len(BINS))
    steps = [_Step() for _ in range(min(STEPS, slices))]
    throttled = refused = late = cold_starts = latency_sum = busy_s = ready_busy_s = provisioned_s = peak = 0.0
    backlog = invocations = answers = 0.0
    response_s = instance.service_s
    for number in range(slices):
        now = number * SLICE_S
        control.advance(now)
        came = _requests(profile, now)
        taken, cold, ready_share = came, 0.0, 0.0
        if warm and function:
            running = min(came / SLICE_S, control.active * instance.requests_per_s) * (extra_s + response_s)
            lost, cold = warm.take(running, came)
            throttled += came * lost
            taken = came * (1 - lost)
            cold_starts += taken * cold
            peak = max(peak, min(function.limit, running + DEVIATIONS * math.sqrt(running)))
            provisioned_s += warm.ready * SLICE_S
            ready_share = min(1.0, warm.ready / running) if running else 0.0
        # Who waits at an instance is at work in the function: its limit holds there too.
        callers = function.limit / control.active - instance.workers if function else math.inf
        room = max(0.0, min(math.inf if instance.queue is None else instance.queue, callers))
        shares, mean_s, over, backlog = _queue(instance, taken / SLICE_S / control.active, backlog, room)
        turned_away = taken * over
        answered = taken - turned_away
        if callers == room:
            throttled, turned_away = throttled + turned_away, 0.0
        response_s = mean_s
        counts = answered * (1 - cold) * _shifted(shares, extra_s)
        if cold:
            cold_s = extra_s + mean_s + (function.cold_start_s if function else 0.0)
            counts[min(int(np.searchsorted(BINS, cold_s)), len(BINS) - 1)] += answered * cold
        in_time = timeout_s >= BINS
        late += float(counts[~in_time].sum())
        counts[~in_time] = 0.0
        refused += turned_away
        latency_sum += answered * (mean_s + extra_s + cold * (function.cold_start_s if function else 0.0))
        busy_s += answered * (mean_s + extra_s)
        ready_busy_s += ready_share * answered * (mean_s + extra_s)
        total += counts
        steps[number * len(steps) // slices].add(counts, came, control.active)
        invocations += taken / control.active
        ends = now + SLICE_S
        answers += answered / control.active
        control.publish(ends, invocations, answers, answered / SLICE_S / control.active * mean_s)
        if not endpoint.policy or ends % endpoint.policy.period_s < SLICE_S:
            invocations = answers = 0.0
        if ends % PERIOD_S < SLICE_S:
            if warm:
                warm.track(now + SLICE_S)
            progress(number / slices)
    progress(1)
    answered = float(total.sum())
    step_s = profile.duration_s / len(steps)
    return Outcome(
        requests=profile.requests,
        answered=answered,
        throttled=throttled,
        refused=refused,
        late=late,
        cold_starts=cold_starts,
        counts=total,
        mean_s=latency_sum / answered if answered else float("nan"),
        mean_wait_s=latency_sum / answered - extra_s - instance.service_s if answered else float("nan"),
        timeline=[step.row(place * step_s, step_s) for place, step in enumerate(steps)],
        instance_s=control.billed_s,
        busy_s=busy_s,
        ready_busy_s=ready_busy_s,
        provisioned_s=provisioned_s,
        peak_concurrency=peak,
        exact=False,
    )


class _Step:
    """The sums of one row of the timeline."""

    def __init__(self) -> None:
        self._counts = np.zeros(len(BINS))
        self._came = 0.0
        self._instances = 0

    def add(self, counts: Floats, came: float, instances: int) -> None:
        self._counts += counts
        self._came += came
        self._instances = instances

    def row(self, second: float, step_s: float) -> dict[str, float]:
        return moment(second, step_s, self._came, self._counts, self._instances)


def _requests(profile: Profile, now: float) -> float:
    """The expected number of requests in a slice."""
    if profile.step_s >= SLICE_S:
        return profile.rate(now) * SLICE_S
    first = int(now / profile.step_s)
    return float(profile.rates[first : first + int(SLICE_S / profile.step_s)].sum() * profile.step_s)


def _queue(instance: Instance, rate: float, backlog: float, room: float) -> tuple[Floats, float, float, float]:
    """The outcome of a slice of `rate` requests/s at one instance with `room` to wait and an initial `backlog`.

    Returns the shares of the bins of the response, its mean, the share that is refused, and who waits at the end.
    """
    capacity = instance.requests_per_s
    if rate <= SETTLES * capacity and backlog <= 0:
        shares, mean_s, refused = _settled(instance, round(rate / capacity, 3))
        return shares, mean_s, refused, 0.0
    free = backlog + (rate - capacity) * SLICE_S
    after = min(max(free, 0.0), room)
    refused = max(0.0, free - room) / (rate * SLICE_S) if rate else 0.0
    first_s, last_s = backlog / capacity + instance.service_s, after / capacity + instance.service_s
    low, high = min(first_s, last_s), max(first_s, last_s)
    # The wait moves evenly from the one to the other.
    below = np.clip((BINS - low) / max(high - low, 1e-9), 0, 1)
    return np.diff(below, prepend=0.0), (low + high) / 2, min(refused, 1.0), after


@lru_cache(maxsize=20_000)
def _settled(instance: Instance, load: float) -> tuple[Floats, float, float]:
    """The response of a queue that has settled: shares of the bins, mean, share refused."""
    waits = erlang_c(instance.workers, load)
    # Waiting is exponential for those who wait.
    mean_wait_s = instance.service_s / (instance.workers * (1 - load)) * (1 + instance.variation**2) / 2
    if instance.variation:
        # The mean of each part of equal weight, of a gamma distribution.
        shape = 1 / instance.variation**2
        drawn = np.sort(np.random.default_rng(0).gamma(shape, instance.service_s / shape, POINTS * 2000))
        service = drawn.reshape(POINTS, -1).mean(axis=1)
    else:
        service = np.array([instance.service_s])
    after = np.maximum(BINS[:, None] - service[None, :], 0.0)
    below = np.where(BINS[:, None] >= service[None, :], 1 - waits * np.exp(-after / mean_wait_s), 0.0).mean(axis=1)
    refused = 0.0
    if instance.queue is not None:
        refused = waits * math.exp(-instance.queue / instance.requests_per_s / mean_wait_s)
    below[-1] = 1.0
    return np.diff(below, prepend=0.0), instance.service_s + waits * mean_wait_s, refused


def _shifted(shares: Floats, by_s: float) -> Floats:
    """The shares of what takes `by_s` more."""
    if by_s <= 0:
        return shares.copy()
    shifted: Floats = np.bincount(_places(by_s), weights=shares, minlength=len(BINS)).astype(np.float64)
    return shifted


@lru_cache
def _places(by_s: float) -> npt.NDArray[np.intp]:
    """The bin of the middle of each bin, `by_s` later."""
    middles = BINS - np.diff(BINS, prepend=0.0) / 2
    return np.minimum(np.searchsorted(BINS, middles + by_s), len(BINS) - 1)


@lru_cache(maxsize=20_000)
def erlang_b(servers: int, load: float) -> float:
    """The share of requests that find all `servers` at work and are lost; `load` in servers."""
    if load <= 0:
        return 0.0
    inverse = 1.0
    for number in range(1, servers + 1):
        inverse = 1.0 + number / load * inverse
        if inverse > 1e15:
            return 0.0
    return 1 / inverse


def erlang_c(servers: int, load: float) -> float:
    """The share of requests that wait; `load` as a share of all servers, under 1."""
    lost = erlang_b(servers, servers * load)
    return lost / (1 - load * (1 - lost))
