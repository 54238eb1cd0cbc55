"""Metrics of the server, as lines of its log in CloudWatch's embedded metric format (EMF): no call, no permission.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import random
import time
from collections import Counter
from typing import Any

NAMESPACE = "Kennel/Serving"
# Capacities in requests/s: of the model and the decoder alone, without what the adapter takes; and all included.
MODEL_CAPACITY, THROUGHPUT = "ModelCapacity", "Throughput"
# The format allows so many values of one metric in a line; of more, a random sample is kept.
VALUES = 100


class Metrics:
    """Counts and durations since the last line."""

    def __init__(self, model: str, stage: str, instance_type: str) -> None:
        self._dimensions = {"Model": model, "Stage": stage, "InstanceType": instance_type}
        self._clear()

    def _clear(self) -> None:
        self._counts: Counter[str] = Counter()
        self._times: dict[str, list[float]] = {}
        self._seen: Counter[str] = Counter()
        # By name: value and unit.
        self._gauges: dict[str, tuple[float, str]] = {}

    def count(self, name: str) -> None:
        """One more of `name`."""
        self._counts[name] += 1

    def time(self, name: str, ms: float) -> None:
        """A duration of `ms` milliseconds."""
        values = self._times.setdefault(name, [])
        self._seen[name] += 1
        if len(values) < VALUES:
            values.append(round(ms, 2))
        elif (place := random.randrange(self._seen[name])) < VALUES:
            values[place] = round(ms, 2)

    def gauge(self, name: str, value: float, unit: str) -> None:
        """A value of this instance, under its stage and type, where it is found without the model's name."""
        self._gauges[name] = (round(value, 2), unit)

    def line(self) -> str | None:
        """The log line of the time since the last one; None if nothing happened."""
        if not self._counts and not self._gauges:
            return None
        metrics: list[dict[str, Any]] = [{"Name": name, "Unit": "Count"} for name in self._counts]
        metrics += [{"Name": name, "Unit": "Milliseconds"} for name in self._times]
        gauges = [{"Name": name, "Unit": unit} for name, (_, unit) in self._gauges.items()]
        by_dimensions = ((["Model"], metrics), (["Stage", "InstanceType"], gauges))
        document = {
            "_aws": {
                "Timestamp": round(time.time() * 1000),
                "CloudWatchMetrics": [
                    {"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": of_them}
                    for dimensions, of_them in by_dimensions
                    if of_them
                ],
            },
            **self._dimensions,
            **self._counts,
            **self._times,
            **{name: value for name, (value, _) in self._gauges.items()},
        }
        self._clear()
        return json.dumps(document)
