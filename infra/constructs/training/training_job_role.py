"""What a SageMaker training or tuning job may do."""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config import StageSettings
from infra.constructs.data.storage import Storage
from infra.constructs.shared.grants import (
    allow,
    allow_asset,
    allow_container_logs,
    allow_image,
    allow_reading,
    allow_volumes,
    allow_writing,
    sagemaker_principal,
)
from infra.constructs.training.training_asset import TrainingCode
from infra.names import CHECKPOINTS_PREFIX, DATASETS_PREFIX, PACKAGES_PREFIX


class TrainingJobRole(iam.Role):
    """Reads datasets and the code asset; writes model packages, checkpoints, its log and its metrics."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageSettings, storage: Storage, code: TrainingCode
    ) -> None:
        super().__init__(scope, construct_id, assumed_by=sagemaker_principal(Stack.of(scope)))

        allow_reading(self, storage.datasets, DATASETS_PREFIX)
        allow_asset(self, code, listing=True)
        allow_reading(self, storage.models, CHECKPOINTS_PREFIX)
        allow_writing(self, storage.models, CHECKPOINTS_PREFIX, PACKAGES_PREFIX)
        allow_volumes(self, storage.key.key_arn)
        allow_image(self, stage.region, "pytorch-training")
        allow_container_logs(self, "/aws/sagemaker/TrainingJobs", f"{stage.prefix.lower()}-*")
        allow(
            self,
            ["cloudwatch:PutMetricData"],
            "*",  # the action has no resource level
            StringEquals={"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"},
        )
