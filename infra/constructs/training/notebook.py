"""The notebook instance, which stops itself when it is idle."""

from pathlib import Path

from aws_cdk import Aws, Fn, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.constructs.data.storage import Storage
from infra.constructs.shared.grants import (
    ISOLATED,
    grant,
    grant_list,
    grant_read,
    grant_volume_encryption,
    grant_write,
    role_policies_of,
    sagemaker_principal,
)
from infra.constructs.shared.nag import acknowledge
from infra.names import CHECKPOINTS_PREFIX, DATASETS_PREFIX, PACKAGES_PREFIX
from infra.settings import StageSettings

IDLE_STOP = Path(__file__).with_name("notebook_idle_stop.sh")


class Notebook(Construct):
    """An encrypted notebook instance without root, its role, and the lifecycle script that stops it when idle."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageSettings, storage: Storage, job_role: iam.Role
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = name = f"{stage.prefix.lower()}-notebook"
        stack = Stack.of(self)

        self.role = iam.Role(self, "Role", assumed_by=sagemaker_principal(stack))
        grant_list(self.role, storage.datasets, DATASETS_PREFIX)
        grant_write(self.role, storage.datasets, DATASETS_PREFIX)
        grant_read(self.role, storage.models, PACKAGES_PREFIX, CHECKPOINTS_PREFIX)

        def sagemaker_arn(resource: str, name: str) -> str:
            return stack.format_arn(service="sagemaker", resource=resource, resource_name=name)

        grant(
            self.role,
            ["sagemaker:DescribeNotebookInstance", "sagemaker:StopNotebookInstance"],
            sagemaker_arn("notebook-instance", name),
        )
        grant(
            self.role,
            [
                "sagemaker:AddTags",
                "sagemaker:DescribeTrainingJob",
                "sagemaker:StopTrainingJob",
            ],
            sagemaker_arn("training-job", f"{stage.prefix.lower()}-*"),
        )
        grant(
            self.role,
            ["sagemaker:CreateTrainingJob"],
            sagemaker_arn("training-job", f"{stage.prefix.lower()}-*"),
            **ISOLATED,
        )
        logs = f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:/aws/sagemaker/TrainingJobs"
        grant(self.role, ["logs:DescribeLogStreams"], logs, f"{logs}:*")
        grant(self.role, ["logs:GetLogEvents"], f"{logs}:log-stream:{stage.prefix.lower()}-*")
        grant(
            self.role,
            ["cloudformation:DescribeStacks"],
            stack.format_arn(service="cloudformation", resource="stack", resource_name=f"{stage.prefix}-*/*"),
        )
        # Endpoints of its own, by their name; those of the stage it can only look at.
        own = f"{stage.prefix.lower()}-notebook-*"
        for resource, noun in (("model", "Model"), ("endpoint-config", "EndpointConfig"), ("endpoint", "Endpoint")):
            isolated = ISOLATED if noun == "Model" else {}
            grant(self.role, [f"sagemaker:Create{noun}"], sagemaker_arn(resource, own), **isolated)
            actions = [f"sagemaker:{verb}{noun}" for verb in ("Describe", "Delete")]
            grant(self.role, actions, sagemaker_arn(resource, own))
            # CloudFormation names the stage's models and configs: they are known by their tag.
            grant(
                self.role,
                [f"sagemaker:Describe{noun}"],
                sagemaker_arn(resource, "*"),
                StringEquals={"aws:ResourceTag/kennel:stage": stage.name},
            )
        grant(self.role, ["sagemaker:CreateEndpoint"], sagemaker_arn("endpoint-config", own))
        grant(self.role, ["sagemaker:InvokeEndpoint"], sagemaker_arn("endpoint", own))
        grant(
            self.role,
            ["iam:PassRole"],
            job_role.role_arn,
            # The endpoint's role is made by the Serving stack, which is deployed after this one.
            f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/{stage.prefix}-Serving-ModelRole*",
            StringEquals={"iam:PassedToService": "sagemaker.amazonaws.com"},
        )
        grant_volume_encryption(self.role, storage.key.key_arn)

        lifecycle = sagemaker.CfnNotebookInstanceLifecycleConfig(
            self,
            "IdleStop",
            # A deploy knows by the name that it is the stage's.
            notebook_instance_lifecycle_config_name=f"{name}-idle-stop",
            on_start=[
                sagemaker.CfnNotebookInstanceLifecycleConfig.NotebookInstanceLifecycleHookProperty(
                    content=Fn.base64(
                        IDLE_STOP.read_text().replace("@IDLE_STOP_MIN@", str(stage.notebook.idle_stop_min))
                    )
                )
            ],
        )
        self.instance = sagemaker.CfnNotebookInstance(
            self,
            "Instance",
            notebook_instance_name=name,
            instance_type=stage.notebook.instance_type,
            volume_size_in_gb=stage.notebook.volume_size_gib,
            role_arn=self.role.role_arn,
            kms_key_id=storage.key.key_id,
            root_access="Disabled",
            # Package index and the SageMaker API; a private subnet would need interface endpoints, which idle cost.
            direct_internet_access="Enabled",
            platform_identifier="notebook-al2023-v1",
            instance_metadata_service_configuration=sagemaker.CfnNotebookInstance.InstanceMetadataServiceConfigurationProperty(
                minimum_instance_metadata_service_version="2"
            ),
            lifecycle_config_name=lifecycle.attr_notebook_instance_lifecycle_config_name,
        )
        acknowledge(
            self.instance,
            {
                "AwsSolutions-SM1": "a private subnet needs interface endpoints or a NAT gateway: both idle cost",
                "AwsSolutions-SM3": "it needs the package index; its role can reach this stage's data only",
            },
        )
        self.instance.node.add_dependency(*role_policies_of(self.role))
