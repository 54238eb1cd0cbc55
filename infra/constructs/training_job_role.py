"""What a SageMaker training or tuning job may do."""

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config import Stage
from infra.constructs.code import TrainingCode
from infra.constructs.policies import pull_image, service_principal
from infra.constructs.storage import CHECKPOINTS_PREFIX, DATASETS_PREFIX, PACKAGES_PREFIX, Storage


class TrainingJobRole(iam.Role):
    """Reads datasets and the code asset; writes model packages, checkpoints, its log and its metrics."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, storage: Storage, code: TrainingCode
    ) -> None:
        super().__init__(scope, construct_id, assumed_by=service_principal("sagemaker.amazonaws.com"))

        storage.datasets.grant_read(self, f"{DATASETS_PREFIX}*")
        code.grant_read(self)
        storage.models.grant_read_write(self, f"{PACKAGES_PREFIX}*")
        storage.models.grant_read_write(self, f"{CHECKPOINTS_PREFIX}*")
        pull_image(self, stage.region, "pytorch-training")
        self.add_to_policy(
            iam.PolicyStatement(
                actions=["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
                resources=[
                    f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:/aws/sagemaker/TrainingJobs*"
                ],
            )
        )
        self.add_to_policy(
            iam.PolicyStatement(
                actions=["cloudwatch:PutMetricData"],
                resources=["*"],  # the action has no resource level
                conditions={"StringEquals": {"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"}},
            )
        )
