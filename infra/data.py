"""The Data stack: one key; buckets for datasets, model packages and access logs; the logs of endpoints."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra.constructs.data.storage import Storage
from infra.constructs.shared.log_groups import log_group
from infra.settings import StageSettings

# Where SageMaker writes what an endpoint's containers print.
ENDPOINT_LOGS = "/aws/sagemaker/Endpoints"


class DataStack(Stack):
    def __init__(self, scope: Construct, construct_id: str, *, stage: StageSettings, **kwargs: Any) -> None:
        super().__init__(scope, construct_id, description="Kennel: key, buckets and logs of endpoints", **kwargs)

        self.storage = Storage(self, "Storage", stage=stage)
        # SageMaker would make them itself and keep them for ever. Here, they outlive an evening without endpoints.
        for kind, name in stage.endpoint_names.items():
            log_group(self, f"{kind}EndpointLog", stage=stage, name=f"{ENDPOINT_LOGS}/{name}")

        CfnOutput(self, "DatasetBucket", value=self.storage.datasets.bucket_name)
        CfnOutput(self, "ModelBucket", value=self.storage.models.bucket_name)
        CfnOutput(self, "KeyArn", value=self.storage.key.key_arn)
