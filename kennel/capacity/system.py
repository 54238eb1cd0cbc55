"""The simulated system: the function, the endpoint's instances, and the outcome of requests. Times in seconds."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from kennel.capacity import START_S
from kennel.local.sagemaker.target_tracking import Policy

Floats = npt.NDArray[np.float64]

# Upper ends of the latencies' bins in s, from 0.1 ms to an hour. Each is 1.5 % wider than the one before: what is read
# off them is as precise.
BINS: Floats = np.geomspace(1e-4, 3600, 1170)
# Rows of the timeline.
STEPS = 180


@dataclass(frozen=True)
class Instance:
    """One instance: `workers` requests are computed at the same time, `queue` more wait, the next is refused (503)."""

    service_s: float
    workers: int = 1
    # Standard deviation of the service time by its mean: 0 is always the same, 1 exponential.
    variation: float = 0.0
    queue: int | None = None
    start_s: float = START_S

    @property
    def requests_per_s(self) -> float:
        """Its largest throughput."""
        return self.workers / self.service_s


Metric = Literal["invocations", "utilization", "concurrency"]


@dataclass(frozen=True)
class Endpoint:
    """Instances behind one name: as many as the policy wants, or `instances` always."""

    instance: Instance
    instances: int
    policy: Policy | None = None
    # The metric that the policy tracks, per instance: requests in one period, utilization (0 to 1), or concurrent
    # requests.
    metric: Metric = "invocations"
    # (second of the day, least instances) from when on a scheduled action keeps so many.
    schedule: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True)
class Environments:
    """Lambda's execution environments, or a serverless endpoint's: one request each."""

    # Beside the waiting for what it calls.
    own_s: float
    cold_start_s: float
    # More at the same time are throttled (429).
    limit: int
    # Kept ready; with a maximum above it, target tracking keeps `utilization` of them in use.
    provisioned: int = 0
    provisioned_max: int = 0
    utilization: float = 0.7
    # Lambda keeps an idle one for some minutes; how many, it does not say.
    idle_s: float = 300.0
    # New ones in ten seconds.
    burst: int = 1000

    @property
    def scales(self) -> bool:
        """True if provisioned concurrency follows its utilization."""
        return self.provisioned_max > self.provisioned

    @property
    def policy(self) -> Policy:
        """The policy by which it follows: it counts environments, and its metric is the share of them at work."""
        return Policy(
            self.utilization,
            self.provisioned,
            self.provisioned_max,
            scale_out_cooldown_s=0,
            scale_in_cooldown_s=0,
            delay_s=0,
        )


@dataclass
class Outcome:
    """The outcome of the requests. Shares are of all requests."""

    requests: float
    answered: float
    throttled: float
    refused: float
    late: float
    cold_starts: float
    # The number of responses in each of BINS.
    counts: Floats
    # Sums over all responses, and over their waiting times at an instance.
    mean_s: float
    mean_wait_s: float
    # One row for each step of the report: second, requests/s, p50, p95, p99 in s, instances in service, failed share.
    timeline: list[dict[str, float]] = field(default_factory=list)
    instance_s: float = 0.0
    # What the function and a serverless endpoint are billed for, beside the requests.
    busy_s: float = 0.0
    # The part of it in provisioned environments.
    ready_busy_s: float = 0.0
    provisioned_s: float = 0.0
    peak_concurrency: float = 0.0
    exact: bool = True

    def latency_s(self, share: float) -> float:
        """The latency that `share` of the answers stay within, in s; nan without an answer."""
        return quantile(self.counts, share)

    @property
    def failed(self) -> float:
        """The share of the requests that got no answer in time."""
        return (self.throttled + self.refused + self.late) / self.requests if self.requests else 0.0


def histogram(latencies: Floats) -> Floats:
    """The number of `latencies` in each of BINS."""
    where = np.clip(np.searchsorted(BINS, latencies), 0, len(BINS) - 1)
    return np.bincount(where, minlength=len(BINS)).astype(np.float64)


def quantile(counts: Floats, share: float) -> float:
    """The latency in s that `share` of what is counted in BINS stays within, linear within a bin; nan for nothing."""
    total = counts.sum()
    if total <= 0:
        return float("nan")
    below = np.cumsum(counts)
    index = min(int(np.searchsorted(below, share * total)), len(BINS) - 1)
    low = BINS[index - 1] if index else 0.0
    inside = (share * total - (below[index] - counts[index])) / counts[index] if counts[index] else 1.0
    return float(low + (BINS[index] - low) * inside)


def moment(second: float, step_s: float, came: float, counts: Floats, instances: float) -> dict[str, float]:
    """A row of the timeline, of the requests that came in `step_s` seconds and the `counts` of those in time."""
    return {
        "second": second,
        "requests_per_s": came / step_s,
        "p50": quantile(counts, 0.5),
        "p95": quantile(counts, 0.95),
        "p99": quantile(counts, 0.99),
        "instances": float(instances),
        "failed": 1 - float(counts.sum()) / came if came else 0.0,
    }
