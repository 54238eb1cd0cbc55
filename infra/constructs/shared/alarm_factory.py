"""What every alarm of a stage has: a severity, a runbook, a topic that it tells when it fires and when it is over."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.config import StageSettings


class Severity(Enum):
    """How soon somebody has to look."""

    NOW = "SEV1"
    TODAY = "SEV2"
    THIS_WEEK = "SEV3"


@dataclass(frozen=True)
class Message:
    """What people are told by an alarm: the end of its name, how soon to look, what is wrong.

    The runbook is the heading of that name, or another's. A construct id is given where the name does not make it.
    """

    slug: str
    severity: Severity
    meaning: str
    runbook: str = ""
    construct_id: str = ""


class Alarms:
    """Makes the alarms of one stage, which tell its topic."""

    def __init__(self, stage: StageSettings, topic: sns.ITopic) -> None:
        self._stage = stage
        self._tell = actions.SnsAction(topic)

    def on(
        self,
        scope: Construct,
        message: Message,
        metric: cloudwatch.IMetric,
        *,
        over: float,
        periods: tuple[int, int] = (3, 5),
    ) -> cloudwatch.Alarm:
        """An alarm that fires when `metric` is `over` a value in so many of so many periods.

        Without data it is quiet: no request is no error.
        """
        compared = {
            "comparison_operator": cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            "threshold": over,
            "treat_missing_data": cloudwatch.TreatMissingData.NOT_BREACHING,
        }
        return self._alarm(scope, message, metric, periods, compared)

    def on_silence(
        self, scope: Construct, message: Message, metric: cloudwatch.IMetric, *, periods: int
    ) -> cloudwatch.Alarm:
        """An alarm that fires when nothing is heard of `metric`, a count of samples, for so many periods."""
        compared = {
            "comparison_operator": cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            "threshold": 1,
            "treat_missing_data": cloudwatch.TreatMissingData.BREACHING,
        }
        return self._alarm(scope, message, metric, (periods, periods), compared)

    def any_of(
        self, scope: Construct, message: Message, alarms: Sequence[cloudwatch.IAlarm]
    ) -> cloudwatch.CompositeAlarm:
        """An alarm that fires when one of others does. They must be of the same stack: none goes before it."""
        composite = cloudwatch.CompositeAlarm(
            scope,
            _construct_id(message),
            composite_alarm_name=self._name(message),
            alarm_description=self._says(message),
            alarm_rule=cloudwatch.AlarmRule.any_of(*alarms),
        )
        self._notify(composite)
        return composite

    def _alarm(
        self,
        scope: Construct,
        message: Message,
        metric: cloudwatch.IMetric,
        periods: tuple[int, int],
        compared: dict[str, Any],
    ) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            scope,
            _construct_id(message),
            alarm_name=self._name(message),
            alarm_description=self._says(message),
            metric=metric,
            datapoints_to_alarm=periods[0],
            evaluation_periods=periods[1],
            **compared,
        )
        self._notify(alarm)
        return alarm

    def _notify(self, alarm: cloudwatch.AlarmBase) -> None:
        alarm.add_alarm_action(self._tell)
        alarm.add_ok_action(self._tell)

    def _name(self, message: Message) -> str:
        return f"{self._stage.prefix.lower()}-{message.slug}"

    def _says(self, message: Message) -> str:
        runbook = f"{self._stage.operations.runbooks}#{message.runbook or message.slug}"
        return f"{message.severity.value}: {message.meaning}. {runbook}"


def _construct_id(message: Message) -> str:
    return message.construct_id or "".join(word.capitalize() for word in message.slug.split("-"))
