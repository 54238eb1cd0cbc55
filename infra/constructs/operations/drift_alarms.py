"""Alarms for prediction drift, and for failures of the drift check."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.shared.alarm_factory import AlarmFactory, AlarmText, Severity
from infra.settings import StageSettings


class DriftAlarms(Construct):
    """Alarms on the two metrics that `function` publishes in each period `every`, and on its errors."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: StageSettings,
        alarms: AlarmFactory,
        function: lambda_.IFunction,
        every: Duration,
    ) -> None:
        super().__init__(scope, construct_id)
        limits = stage.operations
        confidence, mix = (
            cloudwatch.Metric(namespace=stage.metrics, metric_name=name, statistic="Maximum", period=every)
            for name in ("ConfidenceDrop", "ClassMixShift")
        )
        self.metrics: list[cloudwatch.IMetric] = [confidence, mix]
        self.alarms = [
            alarms.add_alarm(
                self,
                AlarmText(slug, Severity.SEV3, meaning, runbook="drift"),
                metric,
                threshold=limit,
                datapoints_to_alarm=1,
                evaluation_periods=1,
            )
            for slug, meaning, metric, limit in (
                (
                    "confidence-drift",
                    f"mean confidence is more than {limits.max_confidence_drop:g} below that of the validation",
                    confidence,
                    limits.max_confidence_drop,
                ),
                (
                    "class-mix-drift",
                    f"the class mix differs by more than {100 * limits.max_class_mix_shift:g} % from the validation",
                    mix,
                    limits.max_class_mix_shift,
                ),
                (
                    "drift-errors",
                    "the drift check failed: the last hour's responses were not compared",
                    function.metric_errors(period=every),
                    0,
                ),
            )
        ]
