"""Alarms of the embedded AWS, and its metrics, as CloudWatch evaluates them: by dimensions, period by period."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from kennel.errors import KennelError
from kennel.local import alarms
from kennel.local.metrics import EndpointMetrics, Invocation
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
def test_given_a_speed_that_cannot_be_when_read_then_it_says_which_can(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("KENNEL_LOCAL_SPEED", wrong)
    with pytest.raises(KennelError, match="from 1"):
        speed()


def test_given_errors_in_every_period_when_evaluated_then_it_fires(store: Any) -> None:
    put(store, [3, 2], [1.0, 1.0])
    assert state(store) == "ALARM"


def test_given_errors_of_another_variant_when_evaluated_then_it_does_not_fire(store: Any) -> None:
    put(store, [3, 2], [1.0, 1.0], VariantName="AllTraffic")
    assert state(store) == "OK"


def test_given_errors_of_another_variant_when_ministack_evaluates_by_itself_then_it_fires_still(store: Any) -> None:
    # Once this fails, kennel/local/alarms.py need not replace it.
    put(store, [1, 0], [1.0, 1.0], VariantName="AllTraffic")
    alarm = {**ALARM}
    store._evaluate_alarm(alarm)
    assert alarm["StateValue"] == "ALARM"


def test_given_errors_in_one_of_two_periods_when_evaluated_then_it_fires_only_where_one_is_enough(store: Any) -> None:
    put(store, [3, 2], [1.0, 0.0])
    assert state(store) == "OK"
    assert state(store, DatapointsToAlarm=1) == "ALARM"


@pytest.mark.parametrize(
    ("treatment", "wanted"),
    [("notBreaching", "OK"), ("breaching", "ALARM"), ("missing", "INSUFFICIENT_DATA"), ("ignore", "OK")],
)
def test_given_no_datapoints_when_evaluated_then_they_are_treated_as_the_alarm_says(
    store: Any, treatment: str, wanted: str
) -> None:
    assert state(store, TreatMissingData=treatment) == wanted


def test_given_an_error_that_cloudwatch_cannot_have_yet_when_evaluated_then_it_is_not_seen(store: Any) -> None:
    put(store, [2, 1, 0], [0.0, 1.0, 1.0])
    assert state(store, EvaluationPeriods=1) == "OK"
    assert state(store, now=time.time() + 1, EvaluationPeriods=1) == "ALARM"


def test_given_invocations_when_published_then_a_sum_is_that_of_a_minute_and_instances_can_be_told(store: Any) -> None:
    metrics = EndpointMetrics()
    for _ in range(10):
        metrics.add(Invocation("dogs", "primary", 4, 200, 0.02, 0.001))
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
