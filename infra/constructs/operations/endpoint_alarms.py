"""Alarms on an endpoint: errors, rejected requests, latency, memory, disk, missing instance metrics."""

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.constructs.serving.endpoint import INSTANCES, INVOCATIONS, Endpoint, endpoint_metric
from infra.constructs.shared.alarm_factory import AlarmFactory, AlarmText, Severity
from infra.settings import StageSettings

SILENT_MIN = 3


class EndpointAlarms(Construct):
    """Alarms on the responses of an endpoint and on the utilization of its instances (none if serverless)."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageSettings, alarms: AlarmFactory, endpoint: str
    ) -> None:
        super().__init__(scope, construct_id)
        limits = stage.operations

        def metric(namespace: str, name: str, statistic: str) -> cloudwatch.Metric:
            return endpoint_metric(namespace, name, statistic, endpoint=endpoint)

        # Each invocation counts as 1 or as 0 in these: the average is the share.
        self.alarms = [
            alarms.add_alarm(
                self,
                AlarmText(
                    "endpoint-errors",
                    Severity.SEV1,
                    f"the error rate of the endpoint (5xx) is above {stage.endpoint.max_error_percent:g} %",
                ),
                metric(INVOCATIONS, "Invocation5XXErrors", "Average"),
                threshold=stage.endpoint.max_error_percent / 100,
            ),
            alarms.add_alarm(
                self,
                AlarmText(
                    "endpoint-refusals",
                    Severity.SEV3,
                    f"the endpoint rejects more than {limits.max_refused_percent:g} % of the requests (4xx)",
                ),
                metric(INVOCATIONS, "Invocation4XXErrors", "Average"),
                threshold=limits.max_refused_percent / 100,
                datapoints_to_alarm=10,
                evaluation_periods=15,
            ),
            alarms.add_alarm(
                self,
                AlarmText(
                    "model-latency",
                    Severity.SEV2,
                    f"p90 model latency is above {stage.endpoint.max_model_latency_ms} ms",
                ),
                metric(INVOCATIONS, "ModelLatency", "p90"),
                threshold=stage.endpoint.max_model_latency_ms * 1000,
            ),
        ]
        if stage.endpoint.serverless:
            return
        for slug, name, limit in (
            ("memory", "MemoryUtilization", limits.max_memory_percent),
            ("disk", "DiskUtilization", limits.max_disk_percent),
        ):
            meaning = f"{slug} utilization of an instance is above {limit:g} %"
            used = metric(INSTANCES, name, "Maximum")
            self.alarms.append(alarms.add_alarm(self, AlarmText(slug, Severity.SEV2, meaning), used, threshold=limit))


def alarm_without_instance(scope: Construct, alarms: AlarmFactory, endpoint: Endpoint) -> None:
    """Add an alarm on missing instance metrics, which arrive every minute.

    It is in the endpoint's stack and is deleted before the endpoint, so that a scheduled shutdown does not fire it.
    """
    alarm = alarms.add_missing_data_alarm(
        scope,
        AlarmText(
            "no-instance", Severity.SEV1, f"the endpoint has reported no instance metrics for {SILENT_MIN} minutes"
        ),
        endpoint_metric(INSTANCES, "CPUUtilization", "SampleCount", endpoint=endpoint.name),
        periods=SILENT_MIN,
    )
    alarm.node.add_dependency(endpoint.resource)
