"""The Training stack: three roles with nothing shared, notebook instance, training code, EC2 training."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra.constructs.data.storage import Storage
from infra.constructs.shared.grants import container_image
from infra.constructs.training.ec2_training import Ec2Training
from infra.constructs.training.network import Network
from infra.constructs.training.notebook import Notebook
from infra.constructs.training.scheduled_shutdown import ScheduledShutdown
from infra.constructs.training.training_asset import TrainingCode
from infra.constructs.training.training_job_role import TrainingJobRole
from infra.settings import StageSettings
from training.containers import TRAINING_IMAGE


class TrainingStack(Stack):
    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageSettings, storage: Storage, **kwargs: Any
    ) -> None:
        super().__init__(scope, construct_id, description="Kennel: notebook, training jobs, EC2 training", **kwargs)

        code = TrainingCode(self, "Code")
        job_role = TrainingJobRole(self, "JobRole", stage=stage, storage=storage, code=code)
        notebook = Notebook(self, "Notebook", stage=stage, storage=storage, job_role=job_role)
        if stage.shutdown_schedule:
            ScheduledShutdown(self, "NightStop", stage=stage, notebook_name=notebook.name)
        network = Network(self, "Network")
        ec2_training = Ec2Training(self, "Ec2", stage=stage, storage=storage, code=code, network=network)

        CfnOutput(self, "CodeUri", value=code.s3_object_url)
        CfnOutput(self, "TrainingImage", value=container_image(stage.region, *TRAINING_IMAGE))
        CfnOutput(self, "JobRoleArn", value=job_role.role_arn)
        CfnOutput(self, "NotebookName", value=notebook.instance.attr_notebook_instance_name)
        CfnOutput(self, "Ec2GroupName", value=ec2_training.group.auto_scaling_group_name)
        CfnOutput(self, "Ec2LogGroup", value=ec2_training.log_group.log_group_name)
