"""Metrics in lines of a log: CloudWatch's embedded metric format.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
from contextlib import suppress
from typing import Any

from ministack.services import cloudwatch

# The specification's limits: of dimensions of a metric, and of the values of one in a line.
MAX_DIMENSIONS, MAX_VALUES = 30, 100


def publish(line: str) -> None:
    """Publishes the metrics of a line, if it is a document of the format; CloudWatch leaves a malformed one out."""
    if not line.startswith("{") or '"_aws"' not in line:
        return
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        document = json.loads(line)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            _publish(document, directive, document["_aws"]["Timestamp"] / 1000)


def _publish(document: dict[str, Any], directive: dict[str, Any], second: float) -> None:
    for names in directive["Dimensions"]:
        dimensions = {name: document[name] for name in names}
        if len(dimensions) > MAX_DIMENSIONS or not all(isinstance(value, str) for value in dimensions.values()):
            continue
        for metric in directive["Metrics"]:
            given = document[metric["Name"]]
            values = [float(value) for value in (given if isinstance(given, list) else [given])]
            if len(values) <= MAX_VALUES:
                unit, counts = metric.get("Unit", "None"), [1.0] * len(values)
                cloudwatch._store_datum(
                    directive["Namespace"], metric["Name"], dimensions, second, unit, None, values, counts, None
                )
