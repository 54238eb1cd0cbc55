"""What says that the model is asked for other images than it was made for, or that nobody knows."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.config import StageSettings
from infra.constructs.shared.alarm_factory import Alarms, Message, Severity


class DriftAlarms(Construct):
    """On each of the two numbers that `function` publishes once every so long, and on its errors."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: StageSettings,
        alarms: Alarms,
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
            alarms.on(
                self, Message(slug, Severity.THIS_WEEK, meaning, runbook="drift"), metric, over=limit, periods=(1, 1)
            )
            for slug, meaning, metric, limit in (
                (
                    "confidence-drift",
                    f"the model is less sure than in its validation, by more than {limits.max_confidence_drop:g}",
                    confidence,
                    limits.max_confidence_drop,
                ),
                (
                    "class-mix-drift",
                    f"over {100 * limits.max_class_mix_shift:g} % of the answers are of other classes than then",
                    mix,
                    limits.max_class_mix_shift,
                ),
                (
                    "drift-errors",
                    "the last hour's answers were not compared: the function failed",
                    function.metric_errors(period=every),
                    0,
                ),
            )
        ]
