"""Alarm factory: severity, runbook link and SNS notification on ALARM and OK."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.settings import StageSettings


class Severity(Enum):
    """The severity of an alarm: how soon somebody has to act."""

    # Now, today, this week.
    SEV1, SEV2, SEV3 = "SEV1", "SEV2", "SEV3"


@dataclass(frozen=True)
class AlarmText:
    """Name and description of an alarm.

    `slug` ends its name. The runbook is the heading `runbook` of docs/runbooks.md, by default the slug; the construct
    id is `construct_id`, by default made of the slug.
    """

    slug: str
    severity: Severity
    meaning: str
    runbook: str = ""
    construct_id: str = ""


class AlarmFactory:
    """Creates the alarms of one stage; each notifies the stage's topic."""

    def __init__(self, stage: StageSettings, topic: sns.ITopic) -> None:
        self._stage = stage
        self._action = actions.SnsAction(topic)

    def add_alarm(
        self,
        scope: Construct,
        text: AlarmText,
        metric: cloudwatch.IMetric,
        *,
        threshold: float,
        datapoints_to_alarm: int = 3,
        evaluation_periods: int = 5,
    ) -> cloudwatch.Alarm:
        """Add an alarm for `metric` above `threshold` in M of N periods. Missing data is not breaching."""
        compared = {
            "comparison_operator": cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            "threshold": threshold,
            "treat_missing_data": cloudwatch.TreatMissingData.NOT_BREACHING,
        }
        return self._alarm(scope, text, metric, (datapoints_to_alarm, evaluation_periods), compared)

    def add_missing_data_alarm(
        self, scope: Construct, text: AlarmText, metric: cloudwatch.IMetric, *, periods: int
    ) -> cloudwatch.Alarm:
        """Add an alarm for `metric`, a SampleCount, that fires after `periods` periods without data."""
        compared = {
            "comparison_operator": cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            "threshold": 1,
            "treat_missing_data": cloudwatch.TreatMissingData.BREACHING,
        }
        return self._alarm(scope, text, metric, (periods, periods), compared)

    def add_composite(
        self, scope: Construct, text: AlarmText, alarms: Sequence[cloudwatch.IAlarm]
    ) -> cloudwatch.CompositeAlarm:
        """Add a composite alarm that fires when any of `alarms` does; they must be in the same stack."""
        composite = cloudwatch.CompositeAlarm(
            scope,
            _construct_id(text),
            composite_alarm_name=self._name(text),
            alarm_description=self._description(text),
            alarm_rule=cloudwatch.AlarmRule.any_of(*alarms),
        )
        self._notify(composite)
        return composite

    def _alarm(
        self,
        scope: Construct,
        text: AlarmText,
        metric: cloudwatch.IMetric,
        periods: tuple[int, int],
        compared: dict[str, Any],
    ) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            scope,
            _construct_id(text),
            alarm_name=self._name(text),
            alarm_description=self._description(text),
            metric=metric,
            datapoints_to_alarm=periods[0],
            evaluation_periods=periods[1],
            **compared,
        )
        self._notify(alarm)
        return alarm

    def _notify(self, alarm: cloudwatch.AlarmBase) -> None:
        alarm.add_alarm_action(self._action)
        alarm.add_ok_action(self._action)

    def _name(self, text: AlarmText) -> str:
        return f"{self._stage.prefix.lower()}-{text.slug}"

    def _description(self, text: AlarmText) -> str:
        runbook = f"{self._stage.operations.runbooks}#{text.runbook or text.slug}"
        return f"{text.severity.value}: {text.meaning}. {runbook}"


def _construct_id(text: AlarmText) -> str:
    return text.construct_id or "".join(word.capitalize() for word in text.slug.split("-"))
