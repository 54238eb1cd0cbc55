"""The Data stack: one key; buckets for datasets, model packages and access logs."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra.config import Stage
from infra.constructs.storage import Storage


class DataStack(Stack):
    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, **kwargs: Any) -> None:
        super().__init__(scope, construct_id, description="Kennel: key and buckets", **kwargs)

        self.storage = Storage(self, "Storage", stage=stage)

        CfnOutput(self, "DatasetBucket", value=self.storage.datasets.bucket_name)
        CfnOutput(self, "ModelBucket", value=self.storage.models.bucket_name)
        CfnOutput(self, "KeyArn", value=self.storage.key.key_arn)
