"""An endpoint that changes without harm: blue/green, watched by alarms, rolled back when one fires."""

from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.constructs.data.storage import Storage
from infra.constructs.operations.alarm_topic import AlarmTopic
from infra.constructs.serving.model import Model
from infra.constructs.shared.alarm_factory import AlarmFactory, AlarmText, Severity
from infra.instance_types import local_storage
from infra.names import CAPTURES_PREFIX, VARIANT
from infra.settings import StageSettings

# Where SageMaker counts an endpoint's answers, and what its instances use.
INVOCATIONS = "AWS/SageMaker"
INSTANCES = "/aws/sagemaker/Endpoints"
# Ends of the names of the alarms that roll an update back.
ROLLBACK_ALARMS = ("errors", "latency")


def endpoint_metric(
    namespace: str, name: str, statistic: str, *, endpoint: str, config: str = "", period_s: int = 60
) -> cloudwatch.Metric:
    """A metric of the endpoint's variant; latencies in microseconds, uses of instances in percent.

    With the name of an endpoint config, it is of the fleet of that config alone.
    """
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map={
            "EndpointName": endpoint,
            "VariantName": VARIANT,
            **({"EndpointConfigName": config} if config else {}),
        },
        statistic=statistic,
        period=Duration.seconds(period_s),
    )


class Endpoint(Construct):
    """Alarms, endpoint config and endpoint. The name and the variant are constant, the config's name is generated."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        instances: int,
        model: Model,
        storage: Storage,
        stage: StageSettings,
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        self._settings = settings = stage.endpoint
        # "You can't request a VolumeKmsKeyId" for them (API reference, ResourceConfig): the hardware encrypts.
        keyless = settings.serverless or local_storage(settings.instance_type)
        config = sagemaker.CfnEndpointConfig(
            self,
            "Config",
            production_variants=[self._variant(model, instances)],
            # Without instances there is no disk.
            kms_key_id=None if keyless else storage.key.key_arn,
            data_capture_config=self._capture(storage) if settings.capture_percent else None,
        )
        alarms = self._rollback_alarms(stage, config.attr_endpoint_config_name)
        self.resource = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_name=name,
            endpoint_config_name=config.attr_endpoint_config_name,
            # An update keeps the count that scaling has reached, and takes the new capture settings.
            retain_all_variant_properties=True,
            exclude_retained_variant_properties=[
                sagemaker.CfnEndpoint.VariantPropertyProperty(variant_property_type="DataCaptureConfig")
            ],
            deployment_config=sagemaker.CfnEndpoint.DeploymentConfigProperty(
                auto_rollback_configuration=sagemaker.CfnEndpoint.AutoRollbackConfigProperty(
                    alarms=[sagemaker.CfnEndpoint.AlarmProperty(alarm_name=alarm.alarm_name) for alarm in alarms]
                ),
                blue_green_update_policy=sagemaker.CfnEndpoint.BlueGreenUpdatePolicyProperty(
                    traffic_routing_configuration=self._traffic_routing(),
                    termination_wait_in_seconds=settings.termination_wait_s,
                    # A canary bakes, and then all of it.
                    maximum_execution_timeout_in_seconds=2 * settings.bake_time_s + settings.termination_wait_s + 1800,
                ),
            ),
        )

    def _variant(self, model: Model, instances: int) -> sagemaker.CfnEndpointConfig.ProductionVariantProperty:
        always: dict[str, Any] = {
            "variant_name": VARIANT,
            "model_name": model.resource.attr_model_name,
            "initial_variant_weight": 1,
        }
        if serverless := self._settings.serverless:
            return sagemaker.CfnEndpointConfig.ProductionVariantProperty(
                **always,
                serverless_config=sagemaker.CfnEndpointConfig.ServerlessConfigProperty(
                    memory_size_in_mb=serverless.memory_mib, max_concurrency=serverless.max_concurrency
                ),
            )
        return sagemaker.CfnEndpointConfig.ProductionVariantProperty(
            **always,
            instance_type=self._settings.instance_type,
            initial_instance_count=instances,
            container_startup_health_check_timeout_in_seconds=300,
            model_data_download_timeout_in_seconds=300,
        )

    def _capture(self, storage: Storage) -> sagemaker.CfnEndpointConfig.DataCaptureConfigProperty:
        modes = ["Output", *(["Input"] if self._settings.capture_inputs else [])]
        return sagemaker.CfnEndpointConfig.DataCaptureConfigProperty(
            enable_capture=True,
            initial_sampling_percentage=self._settings.capture_percent,
            destination_s3_uri=storage.models.s3_url_for_object(CAPTURES_PREFIX.rstrip("/")),
            kms_key_id=storage.key.key_arn,
            capture_options=[sagemaker.CfnEndpointConfig.CaptureOptionProperty(capture_mode=mode) for mode in modes],
            # Answers stay readable; images are in base64.
            capture_content_type_header=sagemaker.CfnEndpointConfig.CaptureContentTypeHeaderProperty(
                json_content_types=["application/json"]
            ),
        )

    def _traffic_routing(self) -> sagemaker.CfnEndpoint.TrafficRoutingConfigProperty:
        percent = self._settings.canary_percent
        return sagemaker.CfnEndpoint.TrafficRoutingConfigProperty(
            type="CANARY" if percent else "ALL_AT_ONCE",
            wait_interval_in_seconds=self._settings.bake_time_s,
            canary_size=sagemaker.CfnEndpoint.CapacitySizeProperty(type="CAPACITY_PERCENT", value=percent)
            if percent
            else None,
        )

    def _rollback_alarms(self, stage: StageSettings, config: str) -> list[cloudwatch.Alarm]:
        """Alarms on the fleet of `config`, which an update brings.

        On the endpoint as a whole they would fire for the errors of a fleet that the update is there to replace
        (SageMaker's developer guide, "Auto-Rollback Configuration and Monitoring").
        """

        def metric(name: str, statistic: str) -> cloudwatch.Metric:
            period_s = self._settings.alarm_period_s
            return endpoint_metric(INVOCATIONS, name, statistic, endpoint=self.name, config=config, period_s=period_s)

        alarms, periods = AlarmFactory(stage, AlarmTopic.by_name(self, stage)), self._settings.alarm_datapoints
        slug = self.name.removeprefix(f"{stage.prefix.lower()}-")
        limits = {
            # Each invocation counts as 1 if it was answered 5xx, else as 0: the average is the share.
            ROLLBACK_ALARMS[0]: (metric("Invocation5XXErrors", "Average"), self._settings.max_error_percent / 100),
            # ModelLatency is in microseconds.
            ROLLBACK_ALARMS[1]: (metric("ModelLatency", "p90"), self._settings.max_model_latency_ms * 1000),
        }
        return [
            alarms.add_alarm(
                self,
                AlarmText(
                    f"{slug}-{kind}",
                    Severity.SEV2,
                    f"the update of {self.name} is rolled back: {kind} above the limit",
                    runbook="rolled-back",
                    construct_id=f"{kind.capitalize()}Alarm",
                ),
                watched,
                threshold=threshold,
                datapoints_to_alarm=periods,
                evaluation_periods=periods,
            )
            for kind, (watched, threshold) in limits.items()
        ]
