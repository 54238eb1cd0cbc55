"""SageMaker's metrics of invocations and instances; and how a metric is read, a period at a time."""

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from ministack.services import cloudwatch

NAMESPACE = "AWS/SageMaker"
INSTANCES = "/aws/sagemaker/Endpoints"
# A late datapoint, published after newer ones, does it within this.
LATE_S = 60


@dataclass(frozen=True)
class Invocation:
    """One request: by the fleet of which config it was answered, among how many instances, how, in how many seconds."""

    endpoint: str
    variant: str
    config: str
    instances: int
    status: int
    model_s: float
    overhead_s: float


class EndpointMetrics:
    """Counts invocations, and publishes each second once it is over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[int, str, str, str], dict[str, Counter[float]]] = {}

    def add(self, invocation: Invocation) -> None:
        """Counts one invocation in the second that it ended in."""
        key = (int(time.time()), invocation.endpoint, invocation.variant, invocation.config)
        with self._lock:
            counts = self._counts.setdefault(key, defaultdict(Counter))
            counts["Invocations"][1.0] += 1
            counts["InvocationsPerInstance"][1 / max(invocation.instances, 1)] += 1
            counts["Invocation4XXErrors"][float(400 <= invocation.status < 500)] += 1
            counts["Invocation5XXErrors"][float(invocation.status >= 500)] += 1
            for name, seconds in (("ModelLatency", invocation.model_s), ("OverheadLatency", invocation.overhead_s)):
                # In microseconds, and to three digits: a second then has few values, however many requests.
                counts[name][float(f"{1e6 * seconds:.3g}")] += 1

    def publish(self) -> None:
        """Hands the seconds that are over to CloudWatch."""
        now = int(time.time())
        with self._lock:
            over = {key: self._counts.pop(key) for key in list(self._counts) if key[0] < now}
        for (second, endpoint, variant, config), counts in over.items():
            of_variant = {"EndpointName": endpoint, "VariantName": variant}
            for name, values in counts.items():
                unit = "Microseconds" if name.endswith("Latency") else "None"
                # For the variant, and for the fleet by itself.
                for dimensions in (of_variant, {**of_variant, "EndpointConfigName": config}):
                    cloudwatch._store_datum(
                        NAMESPACE, name, dimensions, second, unit, None, list(values), list(values.values()), None
                    )


def publish_uses(endpoint: str, variant: str, instances: list[dict[str, float]]) -> None:
    """The utilization of a variant's instances, in percent, by metric; each instance is one sample."""
    for uses in instances:
        for name, percent in uses.items():
            dimensions = {"EndpointName": endpoint, "VariantName": variant}
            cloudwatch.record_metric(INSTANCES, name, percent, "Percent", dimensions)


def datapoint(metric: dict[str, Any], begin: float, end: float) -> float | None:
    """The statistic of a metric from `begin` until `end`, in seconds of the epoch; None where nothing was published.

    `metric` has Namespace, MetricName, Dimensions, and Statistic or ExtendedStatistic, as an alarm has.
    """
    dimensions = {item["Name"]: item["Value"] for item in metric.get("Dimensions", [])}
    key = (metric["Namespace"], metric["MetricName"], cloudwatch._dims_key(dimensions))
    points = []
    # Newest last: what is asked for is near the end.
    for point in reversed(cloudwatch._metrics.get(key) or []):
        if point["Timestamp"] < begin - LATE_S:
            break
        if begin <= point["Timestamp"] < end:
            points.append(point)
    if not points:
        return None
    statistic = metric.get("ExtendedStatistic") or metric.get("Statistic", "Average")
    value: float | None = cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points)
    return value
