"""The Serving stack: the model of the promoted package, the autoscaled endpoint, the fixed one to compare."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra.config import Stage
from infra.constructs.endpoint import Endpoint
from infra.constructs.endpoint_scaling import EndpointScaling
from infra.constructs.model import Model
from infra.constructs.storage import Storage


class ServingStack(Stack):
    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, storage: Storage, **kwargs: Any) -> None:
        super().__init__(scope, construct_id, description="Kennel: model and endpoints", **kwargs)
        settings, name = stage.endpoint, stage.prefix.lower()

        model = Model(self, "Model", stage=stage, storage=storage)
        self.endpoint = Endpoint(
            self,
            "Scaled",
            name=f"{name}-scaled",
            instances=settings.min_instances,
            model=model,
            key=storage.key,
            settings=settings,
        )
        EndpointScaling(self, "Scaling", endpoint=self.endpoint, settings=settings)
        CfnOutput(self, "EndpointName", value=self.endpoint.name)

        if settings.fixed:
            fixed = Endpoint(
                self,
                "Fixed",
                name=f"{name}-fixed",
                instances=settings.fixed_instances,
                model=model,
                key=storage.key,
                settings=settings,
            )
            CfnOutput(self, "FixedEndpointName", value=fixed.name)
        CfnOutput(self, "EndpointRoleArn", value=model.role.role_arn)
