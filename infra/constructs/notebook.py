"""The notebook instance, which stops itself when nobody works in it."""

from pathlib import Path

from aws_cdk import Aws, Fn, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.config import Stage
from infra.constructs.policies import role_policies_of, service_principal
from infra.constructs.storage import CHECKPOINTS_PREFIX, DATASETS_PREFIX, PACKAGES_PREFIX, Storage

IDLE_STOP = Path(__file__).with_name("notebook_idle_stop.sh")


class Notebook(Construct):
    """An encrypted notebook instance without root, its role, and the lifecycle script that stops it when idle."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, storage: Storage, job_role: iam.Role
    ) -> None:
        super().__init__(scope, construct_id)
        name = f"{stage.prefix.lower()}-notebook"
        stack = Stack.of(self)

        self.role = iam.Role(self, "Role", assumed_by=service_principal("sagemaker.amazonaws.com"))
        storage.datasets.grant_read_write(self.role, f"{DATASETS_PREFIX}*")
        storage.models.grant_read(self.role, f"{PACKAGES_PREFIX}*")
        storage.models.grant_read(self.role, f"{CHECKPOINTS_PREFIX}*")
        self._allow(
            ["sagemaker:DescribeNotebookInstance", "sagemaker:StopNotebookInstance"],
            stack.format_arn(service="sagemaker", resource="notebook-instance", resource_name=name),
        )
        self._allow(
            [
                "sagemaker:AddTags",
                "sagemaker:CreateTrainingJob",
                "sagemaker:DescribeTrainingJob",
                "sagemaker:StopTrainingJob",
            ],
            stack.format_arn(service="sagemaker", resource="training-job", resource_name=f"{stage.prefix.lower()}-*"),
        )
        self._allow(
            ["logs:DescribeLogStreams", "logs:GetLogEvents"],
            f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:/aws/sagemaker/TrainingJobs*",
        )
        self._allow(["ssm:GetParameter"], stack.format_arn(service="ssm", resource=f"parameter{stage.model_parameter}"))
        self._allow(
            ["cloudformation:DescribeStacks"],
            stack.format_arn(service="cloudformation", resource="stack", resource_name=f"{stage.prefix}-*/*"),
        )
        self._allow_endpoints(stack, stage)
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["iam:PassRole"],
                # The endpoint's role is made by the Serving stack, which is deployed after this one.
                resources=[
                    job_role.role_arn,
                    f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/{stage.prefix}-Serving-ModelRole*",
                ],
                conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            )
        )
        # SageMaker encrypts the volumes of jobs and endpoints in the name of who starts them.
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["kms:CreateGrant"],
                resources=[storage.key.key_arn],
                conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
            )
        )

        lifecycle = sagemaker.CfnNotebookInstanceLifecycleConfig(
            self,
            "IdleStop",
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
            # Package index and the SageMaker API; a private subnet would need interface endpoints, which cost at rest.
            direct_internet_access="Enabled",
            platform_identifier="notebook-al2-v3",
            instance_metadata_service_configuration=sagemaker.CfnNotebookInstance.InstanceMetadataServiceConfigurationProperty(
                minimum_instance_metadata_service_version="2"
            ),
            lifecycle_config_name=lifecycle.attr_notebook_instance_lifecycle_config_name,
        )
        self.instance.node.add_dependency(*role_policies_of(self.role))

    def _allow_endpoints(self, stack: Stack, stage: Stage) -> None:
        """Endpoints of its own, by their name; those of the stage it can only look at."""

        def arn(resource: str, name: str) -> str:
            return stack.format_arn(service="sagemaker", resource=resource, resource_name=name)

        own = f"{stage.prefix.lower()}-notebook-*"
        for resource, noun in (("model", "Model"), ("endpoint-config", "EndpointConfig"), ("endpoint", "Endpoint")):
            self._allow([f"sagemaker:Create{noun}", f"sagemaker:Delete{noun}"], arn(resource, own))
            # CloudFormation names the stage's models and configs.
            self._allow([f"sagemaker:Describe{noun}"], arn(resource, "*"))
        self._allow(["sagemaker:CreateEndpoint"], arn("endpoint-config", own))
        self._allow(["sagemaker:InvokeEndpoint"], arn("endpoint", own))

    def _allow(self, actions: list[str], resource: str) -> None:
        self.role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[resource]))
