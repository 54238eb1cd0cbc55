"""Metrics in log lines, as CloudWatch takes them from the embedded metric format."""

import json
import time
from typing import Any

import pytest
from ministack.services import cloudwatch

from kennel.local.cloudwatch import embedded_metrics
from kennel.local.cloudwatch.metrics import datapoint


def line(**changes: Any) -> str:
    directive = {
        "Namespace": "N",
        "Dimensions": [["Stage"], ["Stage", "Kind"]],
        "Metrics": [{"Name": "Time", "Unit": "Milliseconds"}],
    }
    document = {
        "_aws": {"Timestamp": time.time() * 1000, "CloudWatchMetrics": [directive]},
        "Stage": "dev",
        "Kind": "fast",
        "Time": [1, 3],
    }
    return json.dumps(document | changes)


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudwatch, "_metrics", {})


def mean(**dimensions: str) -> float | None:
    named = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    metric = {"Namespace": "N", "MetricName": "Time", "Dimensions": named}
    return datapoint(metric, time.time() - 5, time.time() + 5)


def test_metric_is_published_for_each_set_of_dimensions() -> None:
    embedded_metrics.publish(line())
    assert mean(Stage="dev") == mean(Stage="dev", Kind="fast") == 2
    assert mean(Kind="fast") is None


@pytest.mark.parametrize(
    "text",
    [
        "text",
        "{",
        '{"_aws": 1}',
        line(_aws={"CloudWatchMetrics": []}),
        line(Stage=1),
        line(Time="x"),
        line(Time=[1] * 101),
    ],
)
def test_malformed_line_publishes_nothing(text: str) -> None:
    embedded_metrics.publish(text)
    assert not cloudwatch._metrics
