"""The simulation with every request: what controls the instances are SimPy's events, requests go between them.

A first-come queue needs no events of its own: when a request comes it is known when it will begin and end, so that a
request takes a few operations on a heap, not a few events.
"""

import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import simpy

from kennel.capacity.system import STEPS, Endpoint, Environments, Floats, Instance, Outcome, histogram, moment
from kennel.capacity.traffic import DAY_S, Profile
from kennel.local.sagemaker.target_tracking import Policy, Tracker

Process = Generator[simpy.Event, Any, Any]

# Random numbers are drawn in blocks.
BLOCK = 65_536


class _Server:
    """One instance in service: the begin and end of each request decide which are at work and which wait."""

    def __init__(self, instance: Instance, now: float) -> None:
        self._free_at = [now] * instance.workers
        self._begins: deque[float] = deque()
        self._queue = instance.queue

    def take(self, now: float, service_s: float) -> float | None:
        """When a request that comes now is done; none if the queue has no room."""
        begins = self._begins
        while begins and begins[0] <= now:
            begins.popleft()
        if self._queue is not None and len(begins) >= self._queue and self._free_at[0] > now:
            return None
        begin = max(now, self._free_at[0])
        if begin > now:
            begins.append(begin)
        end = begin + service_s
        heapq.heapreplace(self._free_at, end)
        return end

    def holds(self, now: float) -> int:
        """The number of requests in the system, at work or waiting."""
        at_work = sum(free_at > now for free_at in self._free_at)
        return at_work + sum(begin > now for begin in self._begins)


class _Fleet:
    """The instances of an endpoint, and their control loop."""

    def __init__(self, env: simpy.Environment, endpoint: Endpoint, random: np.random.Generator) -> None:
        self._env, self._endpoint, self._random = env, endpoint, random
        self.servers = [_Server(endpoint.instance, 0.0) for _ in range(endpoint.instances)]
        self.wanted = endpoint.instances
        self.history: list[tuple[float, int]] = [(0.0, endpoint.instances)]
        self.billed_s = 0.0
        self._billed_since, self._billed = 0.0, endpoint.instances
        self._updating = False
        # Invocations by the active instances: the metric of SageMaker. And the time that they will be at work for them.
        self._invocations = self._work_s = 0.0
        self._draws: Iterator[int] = iter(())
        if endpoint.policy:
            self._tracker = Tracker(endpoint.policy)
            env.process(self._track(endpoint.policy))
            for second, minimum in endpoint.schedule:
                env.process(self._schedule(second, minimum))

    def take(self, now: float, service_s: float) -> float | None:
        """When one of the instances, chosen at random as SageMaker does, is done; none if it refuses."""
        servers = self.servers
        self._invocations += 1 / len(servers)
        number = 0
        if len(servers) > 1:
            drawn = next(self._draws, None)
            if drawn is None:
                self._draws = iter(self._random.integers(0, 1 << 30, BLOCK).tolist())
                drawn = next(self._draws)
            number = drawn % len(servers)
        done = servers[number].take(now, service_s)
        if done is not None:
            self._work_s += service_s / len(servers)
        return done

    def end(self, now: float) -> None:
        """Closes the bill."""
        self._bill(now, self._billed)

    def _track(self, policy: Policy) -> Process:
        while True:
            yield self._env.timeout(policy.period_s)
            self._env.process(self._decide(policy, self._datapoint(policy.period_s)))

    def _datapoint(self, period_s: float) -> float | None:
        """The value of the tracked metric for the period that ends now; none if it is not published."""
        invocations, self._invocations = self._invocations, 0.0
        if self._endpoint.metric == "utilization":
            could_s = period_s * self._endpoint.instance.workers
            worked_s = min(self._work_s, could_s)
            # The rest is done in the next period.
            self._work_s -= worked_s
            return worked_s / could_s
        if not invocations:
            return None
        if self._endpoint.metric == "concurrency":
            return sum(server.holds(self._env.now) for server in self.servers) / len(self.servers)
        return invocations

    def _decide(self, policy: Policy, value: float | None) -> Process:
        yield self._env.timeout(policy.delay_s)
        self._resize(self._tracker.observe(self._env.now, value, self.wanted, busy=self._updating))

    def _schedule(self, second: float, minimum: int) -> Process:
        yield self._env.timeout(second)
        while True:
            self._tracker.bound(minimum, max(minimum, self._tracker.policy.maximum))
            if self.wanted < minimum and not self._updating:
                self._resize(minimum)
            yield self._env.timeout(DAY_S)

    def _resize(self, wanted: int) -> None:
        if wanted != self.wanted:
            self.wanted, self._updating = wanted, True
            self._env.process(self._update(wanted))

    def _update(self, wanted: int) -> Process:
        missing = wanted - len(self.servers)
        if missing > 0:
            self._bill(self._env.now, wanted)
            yield self._env.timeout(self._endpoint.instance.start_s)
            self.servers += [_Server(self._endpoint.instance, self._env.now) for _ in range(missing)]
        else:
            # Work in progress there ends there.
            del self.servers[wanted:]
            self._bill(self._env.now, wanted)
        self._updating = False
        self.history.append((self._env.now, len(self.servers)))

    def _bill(self, now: float, instances: int) -> None:
        self.billed_s += (now - self._billed_since) * self._billed
        self._billed_since, self._billed = now, instances


class _Pool:
    """Execution environments: which are at work, which are warm, which are kept ready."""

    def __init__(self, env: simpy.Environment, settings: Environments) -> None:
        self._settings, self._env = settings, env
        self.ready = settings.provisioned
        self._ready_busy = 0
        self.busy = self.peak = 0
        # Ends of executions: (when, whether on one that is kept ready).
        self._ends: list[tuple[float, bool]] = []
        # When each warm one was used last, the oldest first.
        self._idle: deque[float] = deque()
        self._started: deque[float] = deque()
        self.cold_starts = 0
        self.provisioned_s = 0.0
        self._ready_since = 0.0
        self._most_ready = 0
        if settings.scales:
            env.process(self._track())

    def begin(self, now: float) -> tuple[float, bool] | None:
        """The time until it runs, and whether in a provisioned environment; none if it is throttled."""
        settings = self._settings
        self._return(now)
        if self.busy >= settings.limit:
            return None
        if self._ready_busy < self.ready:
            self._ready_busy += 1
            self._most_ready = max(self._most_ready, self._ready_busy)
            self._count()
            return 0.0, True
        while self._idle and self._idle[0] < now - settings.idle_s:
            self._idle.popleft()
        if self._idle:
            self._idle.pop()
            self._count()
            return 0.0, False
        while self._started and self._started[0] < now - 10:
            self._started.popleft()
        if len(self._started) >= settings.burst:
            return None
        self._started.append(now)
        self.cold_starts += 1
        self._count()
        return settings.cold_start_s, False

    def end(self, at: float, *, ready: bool) -> None:
        """Says when an execution that began ends."""
        heapq.heappush(self._ends, (at, ready))

    def close(self, now: float) -> None:
        """Closes the bill."""
        self.provisioned_s += (now - self._ready_since) * self.ready
        self._ready_since = now

    def _count(self) -> None:
        self.busy += 1
        self.peak = max(self.peak, self.busy)

    def _return(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            at, ready = heapq.heappop(self._ends)
            self.busy -= 1
            if ready:
                self._ready_busy -= 1
            else:
                self._idle.append(at)

    def _track(self) -> Process:
        settings = self._settings
        tracker = Tracker(settings.policy)
        while True:
            yield self._env.timeout(settings.policy.period_s)
            self._return(self._env.now)
            used = self._most_ready / self.ready if self._most_ready else None
            self._most_ready = self._ready_busy
            wanted = tracker.observe(self._env.now, used, self.ready)
            if wanted != self.ready:
                self.close(self._env.now)
                self.ready = wanted


def simulate(
    profile: Profile,
    endpoint: Endpoint,
    function: Environments | None = None,
    *,
    network_s: float = 0.0,
    timeout_s: float = 60.0,
    seed: int = 1,
    progress: Callable[[float], None] = lambda share: None,
) -> Outcome:
    """Every request of `profile` through the function, if there is one, to the endpoint and back.

    `network_s` is what the ways take beside waiting and computing; an answer later than `timeout_s` is none.
    """
    random = np.random.default_rng(seed)
    env = simpy.Environment()
    fleet = _Fleet(env, endpoint, random)
    pool = _Pool(env, function) if function else None
    arrivals = profile.arrivals(seed)
    services = _services(endpoint.instance, len(arrivals), random)
    latencies = np.full(len(arrivals), np.nan)
    throttled = np.zeros(len(arrivals), bool)
    refused = np.zeros(len(arrivals), bool)
    # Behind a cold start: when it reaches the endpoint, its number, when it came, whether on one kept ready.
    delayed: list[tuple[float, int, float, bool]] = []
    own_s = function.own_s if function else 0.0
    busy_s = ready_busy_s = waited_s = 0.0
    peek, step = env.peek, env.step

    def serve(now: float, number: int, came: float, ready: bool) -> None:
        nonlocal busy_s, ready_busy_s, waited_s
        done = fleet.take(now, services[number])
        if done is None:
            refused[number] = True
            done = now
        else:
            latencies[number] = done - came + network_s + own_s
            waited_s += done - now - services[number]
        if pool:
            took_s = done - now + network_s + own_s
            busy_s += took_s
            ready_busy_s += took_s if ready else 0.0
            pool.end(done + network_s + own_s, ready=ready)

    every = max(1, len(arrivals) // 50)
    for number, came in enumerate(arrivals.tolist()):
        while delayed and delayed[0][0] <= came:
            reaches, earlier, first, ready = heapq.heappop(delayed)
            while peek() <= reaches:
                step()
            serve(reaches, earlier, first, ready)
        while peek() <= came:
            step()
        if number % every == 0:
            progress(number / len(arrivals))
        if pool is None:
            serve(came, number, came, False)
            continue
        begun = pool.begin(came)
        if begun is None:
            throttled[number] = True
        elif begun[0]:
            heapq.heappush(delayed, (came + begun[0], number, came, begun[1]))
        else:
            serve(came, number, came, begun[1])
    for reaches, earlier, first, ready in sorted(delayed):
        serve(reaches, earlier, first, ready)
    env.run(until=max(profile.duration_s, env.now + 1e-9))
    fleet.end(profile.duration_s)
    if pool:
        pool.close(profile.duration_s)
    progress(1)

    late = latencies > timeout_s
    latencies[late] = np.nan
    answered = latencies[~np.isnan(latencies)]
    return Outcome(
        requests=len(arrivals),
        answered=len(answered),
        throttled=int(throttled.sum()),
        refused=int(refused.sum()),
        late=int(late.sum()),
        cold_starts=pool.cold_starts if pool else 0,
        counts=histogram(answered),
        mean_s=float(answered.mean()) if len(answered) else float("nan"),
        mean_wait_s=waited_s / len(answered) if len(answered) else float("nan"),
        timeline=_timeline(profile, arrivals, latencies, fleet.history),
        instance_s=fleet.billed_s,
        busy_s=busy_s,
        ready_busy_s=ready_busy_s,
        provisioned_s=pool.provisioned_s if pool else 0.0,
        peak_concurrency=pool.peak if pool else 0,
    )


def _services(instance: Instance, number: int, random: np.random.Generator) -> list[float]:
    if not instance.variation:
        return [instance.service_s] * number
    shape = 1 / instance.variation**2
    drawn: list[float] = random.gamma(shape, instance.service_s / shape, number).tolist()
    return drawn


def _timeline(
    profile: Profile, arrivals: Floats, latencies: Floats, history: list[tuple[float, int]]
) -> list[dict[str, float]]:
    edges = np.linspace(0, profile.duration_s, STEPS + 1)
    places = np.searchsorted(arrivals, edges)
    times = [time for time, _ in history]
    rows = []
    for start, end, low, high in zip(edges[:-1], edges[1:], places[:-1], places[1:], strict=True):
        part = latencies[low:high]
        counts = histogram(part[~np.isnan(part)])
        instances = history[int(np.searchsorted(times, end, side="right")) - 1][1]
        rows.append(moment(float(start), float(end - start), int(high - low), counts, instances))
    return rows
