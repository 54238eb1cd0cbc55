"""The Serving stack: the model of the promoted package, the autoscaled endpoint, the fixed one to compare."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra.constructs.data.storage import Storage
from infra.constructs.operations.alarm_topic import AlarmTopic
from infra.constructs.operations.endpoint_alarms import alarm_without_instance
from infra.constructs.serving.endpoint import Endpoint
from infra.constructs.serving.endpoint_scaling import EndpointScaling
from infra.constructs.serving.model import Model
from infra.constructs.shared.alarm_factory import AlarmFactory
from infra.settings import StageSettings


class ServingStack(Stack):
    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageSettings, storage: Storage, **kwargs: Any
    ) -> None:
        super().__init__(scope, construct_id, description="Kennel: model and endpoints", **kwargs)
        settings = stage.endpoint
        model = Model(self, "Model", stage=stage, storage=storage)

        def endpoint(kind: str, instances: int) -> Endpoint:
            name = stage.endpoint_names[kind]
            return Endpoint(self, kind, name=name, instances=instances, model=model, storage=storage, stage=stage)

        self.endpoint = endpoint("Serverless" if settings.serverless else "Scaled", settings.min_instances)
        if not settings.serverless:
            alarm_without_instance(self, AlarmFactory(stage, AlarmTopic.by_name(self, stage)), self.endpoint)
        if settings.scales:
            EndpointScaling(self, "Scaling", endpoint=self.endpoint, settings=settings)
        CfnOutput(self, "EndpointName", value=self.endpoint.name)
        if settings.fixed:
            CfnOutput(self, "FixedEndpointName", value=endpoint("Fixed", settings.fixed_instances).name)
        CfnOutput(self, "EndpointRoleArn", value=model.role.role_arn)
