"""Alarms on the function URL: errors, latency, throttling, cold starts."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.api.classifier_function import ALIAS
from infra.constructs.shared.alarm_factory import AlarmFactory, AlarmText, Severity
from infra.settings import StageSettings


class FunctionAlarms(Construct):
    """Alarms on errors and latency of the URL, throttles, and spillover of provisioned concurrency."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: StageSettings,
        alarms: AlarmFactory,
        function: lambda_.IFunction,
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
            alarms.add_alarm(
                self,
                AlarmText(
                    "url-errors",
                    Severity.SEV1,
                    f"the error rate of the function URL (5xx) is above {limits.max_url_error_percent:g} %",
                ),
                self.share_of_errors,
                threshold=limits.max_url_error_percent,
            ),
            alarms.add_alarm(
                self,
                AlarmText(
                    "url-latency",
                    Severity.SEV2,
                    f"p90 latency of the function URL is above {limits.max_url_latency_ms} ms",
                ),
                self.url("UrlRequestLatency", "p90"),
                threshold=limits.max_url_latency_ms,
            ),
            alarms.add_alarm(
                self,
                AlarmText(
                    "throttled", Severity.SEV2, "callers are throttled (429): the function has no concurrency left"
                ),
                self.alias("Throttles"),
                threshold=0,
            ),
        ]
        self.alarms = [*self.symptoms]
        if stage.function.provisioned_min is not None:
            self.alarms.append(
                alarms.add_alarm(
                    self,
                    AlarmText(
                        "spilled-over",
                        Severity.SEV3,
                        "calls wait for a cold start: more are concurrent than provisioned",
                    ),
                    self.alias("ProvisionedConcurrencySpilloverInvocations"),
                    threshold=0,
                )
            )

    def url(self, metric: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """Metric of the URL with a period of one minute; latency in milliseconds."""
        return self._metric(metric, statistic, FunctionName=self._name)

    def alias(self, metric: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """Metric of the alias behind the URL with a period of one minute."""
        return self._metric(metric, statistic, FunctionName=self._name, Resource=f"{self._name}:{ALIAS}")

    def _metric(self, name: str, statistic: str, **dimensions: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/Lambda",
            metric_name=name,
            dimensions_map=dimensions,
            statistic=statistic,
            period=Duration.minutes(1),
        )
