"""Incident dashboard: alarms, function URL, function, endpoint, instances, training; in the order of a diagnosis."""

from dataclasses import dataclass

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.constructs.operations.drift_alarms import DriftAlarms
from infra.constructs.operations.endpoint_alarms import EndpointAlarms
from infra.constructs.operations.function_alarms import FunctionAlarms
from infra.constructs.operations.training_alarms import TrainingAlarms
from infra.constructs.serving.endpoint import INSTANCES, INVOCATIONS, ROLLBACK_ALARMS, endpoint_metric
from infra.settings import StageSettings

COLUMNS = 24


@dataclass(frozen=True)
class Watched:
    """Constructs with alarms and metrics to show."""

    function: FunctionAlarms
    model: EndpointAlarms
    training: TrainingAlarms
    # None without data capture.
    drift: DriftAlarms | None

    @property
    def alarms(self) -> list[cloudwatch.Alarm]:
        """All, the most urgent parts first."""
        drift = self.drift.alarms if self.drift else []
        return [*self.function.alarms, *self.model.alarms, *self.training.alarms, *drift]


class IncidentDashboard(Construct):
    """Dashboard `Kennel-STAGE`."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: StageSettings,
        unserved: cloudwatch.IAlarm,
        watched: Watched,
        endpoint: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self._stage, limits = stage, stage.operations
        function, training = watched.function, watched.training
        drift = watched.drift.metrics if watched.drift else []

        def answers(name: str, *statistics: str) -> list[cloudwatch.IMetric]:
            return [endpoint_metric(INVOCATIONS, name, statistic, endpoint=endpoint) for statistic in statistics]

        def uses(name: str) -> list[cloudwatch.IMetric]:
            return [endpoint_metric(INSTANCES, name, "Maximum", endpoint=endpoint)]

        # They are in the endpoints' own stack, which a scheduled shutdown deletes.
        slugs = [] if stage.endpoint.serverless else ["no-instance"]
        slugs += [f"{kind.lower()}-{what}" for kind in stage.endpoint_names for what in ROLLBACK_ALARMS]
        serving = [self._named(slug) for slug in slugs]
        latency_us = stage.endpoint.max_model_latency_ms * 1000
        ready = [function.alias("ProvisionedConcurrencySpilloverInvocations")] if stage.function.provisioned_min else []
        rows: list[list[cloudwatch.IWidget]] = [
            [
                cloudwatch.AlarmStatusWidget(
                    title="Alarms", alarms=[unserved, *watched.alarms, *serving], width=COLUMNS, height=4
                )
            ],
            [_heading("Function URL, as callers see it")],
            _graphs(
                ("Requests", [function.url(f"Url{kind}Count") for kind in ("Request", "4xx", "5xx")], None),
                ("Server errors, % of requests", [function.share_of_errors], limits.max_url_error_percent),
                (
                    "Latency, ms",
                    [function.url("UrlRequestLatency", statistic) for statistic in ("p50", "p90", "p99")],
                    limits.max_url_latency_ms,
                ),
            ),
            [_heading("Function: concurrency, throttles, cold starts")],
            _graphs(
                (
                    "Concurrent executions",
                    [function.alias("ConcurrentExecutions", "Maximum")],
                    stage.function.reserved_concurrency,
                ),
                ("Throttles and provisioned concurrency spillover", [function.alias("Throttles"), *ready], None),
                ("Duration, ms", [function.alias("Duration", p) for p in ("p50", "p99")], None),
            ),
            [_heading("Endpoint: responses, latency in microseconds")],
            _graphs(
                ("Invocations", [*answers("Invocations", "Sum"), *answers("InvocationsPerInstance", "Sum")], None),
                (
                    "Errors (5xx) and rejections (4xx), share",
                    [*answers("Invocation5XXErrors", "Average"), *answers("Invocation4XXErrors", "Average")],
                    stage.endpoint.max_error_percent / 100,
                ),
                (
                    "Latency, µs",
                    [*answers("ModelLatency", "p50", "p90"), *answers("OverheadLatency", "p90")],
                    latency_us,
                ),
            ),
            [_heading("Instances: highest utilization, %")],
            _graphs(
                ("CPU, 100 per core", uses("CPUUtilization"), None),
                ("Memory", uses("MemoryUtilization"), limits.max_memory_percent),
                ("Disk", uses("DiskUtilization"), limits.max_disk_percent),
            ),
            [_heading("Training and drift")],
            _graphs(
                ("Failed jobs and runs", [training.failed], None),
                ("Desired EC2 instances", [training.instances], None),
                *([("Drift since validation", drift, None)] if drift else []),
            ),
        ]
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=stage.prefix,
            widgets=rows,
            period_override=cloudwatch.PeriodOverride.INHERIT,
        )

    def _named(self, slug: str) -> cloudwatch.IAlarm:
        arn = Stack.of(self).format_arn(
            service="cloudwatch",
            resource="alarm",
            resource_name=f"{self._stage.prefix.lower()}-{slug}",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        return cloudwatch.Alarm.from_alarm_arn(self, slug, arn)


def _heading(text: str) -> cloudwatch.IWidget:
    return cloudwatch.TextWidget(
        markdown=f"## {text}", width=COLUMNS, height=1, background=cloudwatch.TextWidgetBackground.TRANSPARENT
    )


def _graphs(*graphs: tuple[str, list[cloudwatch.IMetric], float | None]) -> list[cloudwatch.IWidget]:
    """One row: a title, metrics, and where the alarm begins, of each."""
    return [
        cloudwatch.GraphWidget(
            title=title,
            left=metrics,
            left_annotations=[] if limit is None else [cloudwatch.HorizontalAnnotation(value=limit, label="alarm")],
            left_y_axis=cloudwatch.YAxisProps(min=0),
            width=COLUMNS // len(graphs),
            height=6,
        )
        for title, metrics, limit in graphs
    ]
