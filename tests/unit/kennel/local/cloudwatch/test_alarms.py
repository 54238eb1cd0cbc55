"""Alarms of the embedded AWS, and its metrics, as CloudWatch evaluates them: by dimensions, period by period."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from kennel.local.cloudwatch import alarms
from kennel.local.cloudwatch.metrics import EndpointMetrics, Invocation
from kennel.local.errors import LocalError
from kennel.local.settings import speed

ENDPOINT = {"EndpointName": "dogs", "VariantName": "primary"}
ALARM: dict[str, Any] = {
    "AlarmName": "errors",
    "Namespace": "AWS/SageMaker",
    "MetricName": "Invocation5XXErrors",
    "Dimensions": [{"Name": name, "Value": value} for name, value in ENDPOINT.items()],
    "Statistic": "Average",
    "Period": 60,
    "EvaluationPeriods": 2,
    "Threshold": 0.05,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
    "StateValue": "OK",
}


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CloudWatch's datapoints, empty, with a minute as long as a second."""
    from ministack.services import cloudwatch

    monkeypatch.setenv("KENNEL_LOCAL_SPEED", "60")
    cloudwatch._metrics.clear()
    yield cloudwatch
    cloudwatch._metrics.clear()


def put(store: Any, ages_s: list[int], values: list[float], **dimensions: str) -> None:
    now = int(time.time())
    for age, value in zip(ages_s, values, strict=True):
        store._store_datum(
            "AWS/SageMaker", "Invocation5XXErrors", {**ENDPOINT, **dimensions}, now - age, "None", value, *[None] * 3
        )


def state(store: Any, now: float | None = None, **changes: Any) -> str:
    alarm = {**ALARM, **changes}
    values = alarms.recent(alarm, alarm["EvaluationPeriods"], now=now or int(time.time()))
    return alarms._state(alarm, values)


@pytest.mark.parametrize("wrong", ["fast", "0", "61", "nan"])
def test_invalid_speed_is_rejected(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("KENNEL_LOCAL_SPEED", wrong)
    with pytest.raises(LocalError, match="from 1"):
        speed()


def test_alarm_fires_if_every_period_breaches(store: Any) -> None:
    put(store, [3, 2], [1.0, 1.0])
    assert state(store) == "ALARM"


def test_alarm_ignores_other_variant(store: Any) -> None:
    put(store, [3, 2], [1.0, 1.0], VariantName="AllTraffic")
    assert state(store) == "OK"


def test_ministack_still_mixes_variants(store: Any) -> None:
    # Once this fails, kennel/local/cloudwatch/alarms.py need not replace it.
    put(store, [1, 0], [1.0, 1.0], VariantName="AllTraffic")
    alarm = {**ALARM}
    store._evaluate_alarm(alarm)
    assert alarm["StateValue"] == "ALARM"


def test_datapoints_to_alarm_is_respected(store: Any) -> None:
    put(store, [3, 2], [1.0, 0.0])
    assert state(store) == "OK"
    assert state(store, DatapointsToAlarm=1) == "ALARM"


@pytest.mark.parametrize(
    ("treatment", "wanted"),
    [("notBreaching", "OK"), ("breaching", "ALARM"), ("missing", "INSUFFICIENT_DATA"), ("ignore", "OK")],
)
def test_treat_missing_data_is_respected(store: Any, treatment: str, wanted: str) -> None:
    assert state(store, TreatMissingData=treatment) == wanted


def test_recent_datapoint_is_not_yet_visible(store: Any) -> None:
    put(store, [2, 1, 0], [0.0, 1.0, 1.0])
    assert state(store, EvaluationPeriods=1) == "OK"
    assert state(store, now=time.time() + 1, EvaluationPeriods=1) == "ALARM"


def test_endpoint_metrics_scale_to_a_minute(store: Any) -> None:
    metrics = EndpointMetrics()
    for _ in range(10):
        metrics.add(Invocation("dogs", "primary", "one", 4, 200, 0.02, 0.001))
    now = time.time() + 1
    while int(time.time()) < int(now):
        time.sleep(0.05)
    metrics.publish()
    (point,) = {p["Timestamp"] for p in store._metrics[next(iter(store._metrics))]}

    def total(name: str) -> float | None:
        (value,) = alarms.recent({**ALARM, "MetricName": name, "Statistic": "Sum"}, 1, now=point + 2)
        return value

    # Ten in a second: six hundred a minute.
    assert total("Invocations") == 600
    assert total("InvocationsPerInstance") == 150
    (latency,) = alarms.recent(
        {**ALARM, "MetricName": "ModelLatency", "Statistic": "", "ExtendedStatistic": "p90"}, 1, now=point + 2
    )
    assert latency == 20_000


@pytest.mark.parametrize(
    ("comparison", "breaching"),
    [
        ("GreaterThanThreshold", [False, False, True]),
        ("GreaterThanOrEqualToThreshold", [False, True, True]),
        ("LessThanThreshold", [True, False, False]),
        ("LessThanOrEqualToThreshold", [True, True, False]),
    ],
)
def test_threshold_itself_breaches_by_comparison(comparison: str, breaching: list[bool]) -> None:
    alarm = {**ALARM, "ComparisonOperator": comparison, "Threshold": 5.0}
    assert [alarms._state(alarm, [value]) == "ALARM" for value in (4.0, 5.0, 6.0)] == breaching
