"""Metrics of the server, as lines of its log in CloudWatch's embedded metric format (EMF): no call, no permission.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import random
import time
from collections import Counter
from typing import Any

NAMESPACE = "Kennel/Serving"
# The format allows so many values of one metric in a line; of more, a random sample is kept.
VALUES = 100


class Metrics:
    """Counts and durations since the last line."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._clear()

    def _clear(self) -> None:
        self._counts: Counter[str] = Counter()
        self._times: dict[str, list[float]] = {}
        self._seen: Counter[str] = Counter()

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

    def line(self) -> str | None:
        """The log line of the time since the last one; None if nothing happened."""
        if not self._counts:
            return None
        metrics: list[dict[str, Any]] = [{"Name": name, "Unit": "Count"} for name in self._counts]
        metrics += [{"Name": name, "Unit": "Milliseconds"} for name in self._times]
        document = {
            "_aws": {
                "Timestamp": round(time.time() * 1000),
                "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["Model"]], "Metrics": metrics}],
            },
            "Model": self._model,
            **self._counts,
            **self._times,
        }
        self._clear()
        return json.dumps(document)
