"""The role of SageMaker training and tuning jobs."""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.constructs.data.storage import Storage
from infra.constructs.shared.grants import (
    grant,
    grant_asset_read,
    grant_container_logs,
    grant_pull_image,
    grant_read,
    grant_volume_encryption,
    grant_write,
    sagemaker_principal,
)
from infra.constructs.training.training_asset import TrainingCode
from infra.names import CHECKPOINTS_PREFIX, DATASETS_PREFIX, PACKAGES_PREFIX, WEIGHTS_PREFIX
from infra.settings import StageSettings
from training.containers import TRAINING_IMAGE


class TrainingJobRole(iam.Role):
    """Reads datasets, weights and the code asset; writes model packages, checkpoints, its log and its metrics."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageSettings, storage: Storage, code: TrainingCode
    ) -> None:
        super().__init__(scope, construct_id, assumed_by=sagemaker_principal(Stack.of(scope)))

        grant_read(self, storage.datasets, DATASETS_PREFIX, WEIGHTS_PREFIX)
        grant_asset_read(self, code, listing=True)
        grant_read(self, storage.models, CHECKPOINTS_PREFIX)
        grant_write(self, storage.models, CHECKPOINTS_PREFIX, PACKAGES_PREFIX)
        grant_volume_encryption(self, storage.key.key_arn)
        grant_pull_image(self, stage.region, TRAINING_IMAGE[0])
        grant_container_logs(self, "/aws/sagemaker/TrainingJobs", f"{stage.prefix.lower()}-*")
        grant(
            self,
            ["cloudwatch:PutMetricData"],
            "*",  # the action has no resource level
            StringEquals={"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"},
        )
