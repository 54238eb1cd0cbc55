"""Alarms as CloudWatch evaluates them: a metric with exactly these dimensions, period by period, M of N breaching."""

import ast
import math
import operator
import time
from collections.abc import Callable
from typing import Any

from ministack.services import cloudwatch
from ministack.services.cloudformation import provisioners

from kennel.local.cloudwatch.metrics import datapoint
from kennel.local.settings import METRIC_DELAY_S, speed

COMPARISONS = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def install() -> None:
    """Lets ministack evaluate alarms like this, and make those on an expression.

    ministack 1.5.33 takes all metrics of a name whatever their dimensions, takes all periods as one, and never leaves
    ALARM for lack of data: an alarm on another variant's errors would roll back an update here, and never on AWS.
    """
    cloudwatch._evaluate_alarm = _evaluate
    upstream = provisioners._cw_metric_alarm_record

    def record(name: str, properties: dict[str, Any]) -> Any:
        if not (metrics := properties.get("Metrics")):
            return upstream(name, properties)
        (expression,) = (item for item in metrics if "Expression" in item)
        named = {"MetricName": expression["Expression"], "Namespace": "expression"}
        return {**upstream(name, {**properties, **named, "Metrics": None}), "Metrics": metrics}

    provisioners._cw_metric_alarm_record = record


def evaluate_all() -> None:
    """Brings every alarm's state up to date."""
    cloudwatch._evaluate_all_alarms()


def firing(names: tuple[str, ...]) -> list[str]:
    """Those of the alarms that are in ALARM."""
    alarms = [cloudwatch._alarms.get(name) for name in names]
    return [alarm["AlarmName"] for alarm in alarms if alarm and alarm["StateValue"] == "ALARM"]


def recent(metric: dict[str, Any], periods: int, *, now: float | None = None) -> list[float | None]:
    """The last `periods` datapoints of a metric, oldest first, as they would be `speed()` times slower.

    A period is that much shorter here, and a sum or count is that much larger: rates are what they are.
    """
    scale = speed()
    shorter_s = float(metric.get("Period", 60)) / scale
    last = math.floor(((now or time.time()) - METRIC_DELAY_S / scale) / shorter_s) * shorter_s
    values = [datapoint(metric, last - (n + 1) * shorter_s, last - n * shorter_s) for n in reversed(range(periods))]
    if metric.get("Statistic") in ("Sum", "SampleCount"):
        return [None if value is None else value * scale for value in values]
    return values


def _evaluate(alarm: dict[str, Any]) -> None:
    if not alarm.get("MetricName"):
        return
    periods = int(alarm.get("EvaluationPeriods", 1))
    values = _computed(alarm["Metrics"], periods) if alarm.get("Metrics") else recent(alarm, periods)
    state = _state(alarm, values)
    if state == alarm["StateValue"]:
        return
    shown = ", ".join("none" if value is None else f"{value:g}" for value in values)
    reason = f"Threshold Crossed: datapoints [{shown}], threshold {alarm['Threshold']:g}"
    old, alarm["StateValue"], alarm["StateReason"] = alarm["StateValue"], state, reason
    alarm["StateUpdatedTimestamp"] = int(time.time())
    cloudwatch._record_history(alarm["AlarmName"], old, state, reason)
    cloudwatch._dispatch_alarm_actions(alarm, old, state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _computed(metrics: list[dict[str, Any]], periods: int) -> list[float | None]:
    """The last values of the one expression among `metrics`, oldest first."""
    (expression,) = (item["Expression"] for item in metrics if "Expression" in item)
    series: dict[str, list[float | None]] = {}
    for item in metrics:
        if stat := item.get("MetricStat"):
            kind = "Statistic" if stat["Stat"] in ("Average", "Maximum", "Minimum", "SampleCount", "Sum") else ""
            metric = {**stat["Metric"], "Period": stat["Period"], kind or "ExtendedStatistic": stat["Stat"]}
            series[item["Id"]] = recent(metric, periods)
    tree = ast.parse(expression, mode="eval").body
    return [_value(tree, {name: values[n] for name, values in series.items()}) for n in range(periods)]


def _value(node: ast.expr, named: dict[str, float | None]) -> float | None:
    """CloudWatch's arithmetic of one period: without one of the metrics, or divided by 0, it has no value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name):
        return named[node.id]
    if not isinstance(node, ast.BinOp) or type(node.op) not in ARITHMETIC:
        raise ValueError(f"The embedded AWS knows + - * / of metrics, and not {ast.unparse(node)}")
    left, right = _value(node.left, named), _value(node.right, named)
    if left is None or right is None or (isinstance(node.op, ast.Div) and right == 0):
        return None
    return ARITHMETIC[type(node.op)](left, right)


def _state(alarm: dict[str, Any], values: list[float | None]) -> str:
    missing = alarm.get("TreatMissingData", "missing")
    if all(value is None for value in values) and missing in ("missing", "ignore"):
        return "INSUFFICIENT_DATA" if missing == "missing" else str(alarm["StateValue"])
    breaches = COMPARISONS[alarm["ComparisonOperator"]]
    breaching = [missing == "breaching" if value is None else breaches(value, alarm["Threshold"]) for value in values]
    needed = int(alarm.get("DatapointsToAlarm") or len(values))
    return "ALARM" if sum(breaching) >= needed else "OK"
