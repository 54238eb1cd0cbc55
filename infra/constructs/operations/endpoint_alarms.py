"""What says that the endpoint fails or is about to: errors, refusals, slow answers, memory, disks, no instance."""

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.config import StageSettings
from infra.constructs.serving.endpoint import INSTANCES, INVOCATIONS, Endpoint, endpoint_metric
from infra.constructs.shared.alarm_factory import Alarms, Message, Severity


class EndpointAlarms(Construct):
    """Alarms on what the endpoint answers, and on how full its instances are; serverless ones have none."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageSettings, alarms: Alarms, endpoint: str
    ) -> None:
        super().__init__(scope, construct_id)
        limits = stage.operations

        def metric(namespace: str, name: str, statistic: str) -> cloudwatch.Metric:
            return endpoint_metric(namespace, name, statistic, endpoint=endpoint)

        # Each invocation counts as 1 or as 0 in these: the average is the share.
        self.alarms = [
            alarms.on(
                self,
                Message(
                    "endpoint-errors",
                    Severity.NOW,
                    f"over {stage.endpoint.max_error_percent:g} % of the answers are errors of the model server (5xx)",
                ),
                metric(INVOCATIONS, "Invocation5XXErrors", "Average"),
                over=stage.endpoint.max_error_percent / 100,
            ),
            alarms.on(
                self,
                Message(
                    "endpoint-refusals",
                    Severity.THIS_WEEK,
                    f"the endpoint refuses over {limits.max_refused_percent:g} % of what it is asked (4xx)",
                ),
                metric(INVOCATIONS, "Invocation4XXErrors", "Average"),
                over=limits.max_refused_percent / 100,
                periods=(10, 15),
            ),
            alarms.on(
                self,
                Message(
                    "model-latency",
                    Severity.TODAY,
                    f"the model takes over {stage.endpoint.max_model_latency_ms} ms for one of ten answers",
                ),
                metric(INVOCATIONS, "ModelLatency", "p90"),
                over=stage.endpoint.max_model_latency_ms * 1000,
            ),
        ]
        if stage.endpoint.serverless:
            return
        for slug, name, limit in (
            ("memory", "MemoryUtilization", limits.max_memory_percent),
            ("disk", "DiskUtilization", limits.max_disk_percent),
        ):
            meaning = f"an instance has used over {limit:g} % of its {slug}"
            used = metric(INSTANCES, name, "Maximum")
            self.alarms.append(alarms.on(self, Message(slug, Severity.TODAY, meaning), used, over=limit))


def alarm_without_instance(scope: Construct, alarms: Alarms, endpoint: Endpoint) -> None:
    """An alarm on silence: instances say every minute what they use.

    It is of the endpoint's stack and goes before the endpoint does, or the evening stop of a stage would set it off.
    """
    alarm = alarms.on_silence(
        scope,
        Message("no-instance", Severity.NOW, "no instance of the endpoint is heard of"),
        endpoint_metric(INSTANCES, "CPUUtilization", "SampleCount", endpoint=endpoint.name),
        periods=3,
    )
    alarm.node.add_dependency(endpoint.resource)
