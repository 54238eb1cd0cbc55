"""What says that callers of the URL are not served: errors, slowness, refusals, cold starts."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.config import StageSettings
from infra.constructs.api.classifier_function import ALIAS
from infra.constructs.shared.alarm_factory import Alarms, Message, Severity


class FunctionAlarms(Construct):
    """Errors and latency of the URL, throttled calls, and calls that spilled over to a cold start."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageSettings, alarms: Alarms, function: lambda_.IFunction
    ) -> None:
        super().__init__(scope, construct_id)
        self._name = function.function_name
        limits = stage.operations
        self.share_of_errors = cloudwatch.MathExpression(
            expression="100 * errors / requests",
            label="5xx, % of requests",
            period=Duration.minutes(1),
            using_metrics={"errors": self.url("Url5xxCount"), "requests": self.url("UrlRequestCount")},
        )
        self.symptoms = [
            alarms.on(
                self,
                Message(
                    "url-errors",
                    Severity.NOW,
                    f"over {limits.max_url_error_percent:g} % of the URL's answers are errors of ours (5xx)",
                ),
                self.share_of_errors,
                over=limits.max_url_error_percent,
            ),
            alarms.on(
                self,
                Message(
                    "url-latency",
                    Severity.TODAY,
                    f"one of ten answers of the URL takes over {limits.max_url_latency_ms} ms",
                ),
                self.url("UrlRequestLatency", "p90"),
                over=limits.max_url_latency_ms,
            ),
            alarms.on(
                self,
                Message("throttled", Severity.TODAY, "callers are answered 429: the function has no more concurrency"),
                self.alias("Throttles"),
                over=0,
            ),
        ]
        self.alarms = [*self.symptoms]
        if stage.function.provisioned_min is not None:
            self.alarms.append(
                alarms.on(
                    self,
                    Message(
                        "spilled-over",
                        Severity.THIS_WEEK,
                        "calls wait for a cold start: more come at a time than are provisioned for",
                    ),
                    self.alias("ProvisionedConcurrencySpilloverInvocations"),
                    over=0,
                )
            )

    def url(self, metric: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """A metric of the URL, by the minute; latency in milliseconds."""
        return self._metric(metric, statistic, FunctionName=self._name)

    def alias(self, metric: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """A metric of the alias that the URL calls, by the minute."""
        return self._metric(metric, statistic, FunctionName=self._name, Resource=f"{self._name}:{ALIAS}")

    def _metric(self, name: str, statistic: str, **dimensions: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/Lambda",
            metric_name=name,
            dimensions_map=dimensions,
            statistic=statistic,
            period=Duration.minutes(1),
        )
