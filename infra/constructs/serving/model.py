"""The SageMaker model: the promoted package in AWS's Ray Serve container, without any network."""

from aws_cdk import ArnFormat, Fn, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from inference import PORT
from infra import names
from infra.constructs.data.storage import Storage
from infra.constructs.shared.grants import (
    container_image,
    grant,
    grant_container_logs,
    grant_pull_image,
    grant_read,
    grant_write,
    role_policies_of,
    sagemaker_principal,
)
from infra.constructs.shared.nag import acknowledge
from infra.names import CAPTURES_PREFIX, PACKAGES_PREFIX, PROMOTED_PREFIX
from infra.settings import StageSettings
from training.containers import SERVING_IMAGE

# The container's adapter is pointed to inference/server.py, past Ray's own HTTP path.
BACKEND_URL = f"http://127.0.0.1:{PORT}"


class Model(Construct):
    """The endpoint role and the model of the package that the stage's SSM parameter names at deploy."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: StageSettings, storage: Storage) -> None:
        super().__init__(scope, construct_id)

        stack = Stack.of(self)
        name = stage.prefix.lower()
        self.role = iam.Role(self, "Role", assumed_by=sagemaker_principal(stack))
        # The stage's endpoints run what was promoted, those of the notebook any package.
        grant_read(self.role, storage.models, PACKAGES_PREFIX, PROMOTED_PREFIX)
        if stage.endpoint.capture_percent:
            grant_write(self.role, storage.models, CAPTURES_PREFIX)
        grant_pull_image(self.role, stage.region, SERVING_IMAGE[0])
        grant_container_logs(self.role, names.endpoint_log_group(f"{name}-*"), "*")
        grant(
            self.role,
            ["cloudwatch:PutMetricData"],
            "*",  # the action has no resource level
            StringEquals={"cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/Endpoints"]},
        )
        # Automatic rollback reads the alarms.
        grant(
            self.role,
            ["cloudwatch:DescribeAlarms"],
            stack.format_arn(service="cloudwatch", resource=f"alarm:{name}-*", arn_format=ArnFormat.NO_RESOURCE_NAME),
        )

        serverless = stage.endpoint.serverless is not None
        package_uri = ssm.StringParameter.value_for_string_parameter(self, stage.model_parameter)
        # No name: a new package makes a new model, which the endpoint then moves to.
        self.resource = sagemaker.CfnModel(
            self,
            "Model",
            execution_role_arn=self.role.role_arn,
            # Serverless endpoints refuse isolation, and packages that are no archive.
            enable_network_isolation=not serverless,
            primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(
                image=container_image(stage.region, *SERVING_IMAGE),
                model_data_url=package_uri if serverless else None,
                model_data_source=None if serverless else _uncompressed(package_uri),
                environment=_environment(stage, package_uri),
            ),
        )
        self.resource.node.add_dependency(*role_policies_of(self.role))
        if serverless:
            acknowledge(self.resource, {"CKV_AWS_370": "serverless inference refuses models without a network"})


def _uncompressed(package_uri: str) -> sagemaker.CfnModel.ModelDataSourceProperty:
    """The package as it lies there: an instance that is added need not unpack it."""
    return sagemaker.CfnModel.ModelDataSourceProperty(
        s3_data_source=sagemaker.CfnModel.S3DataSourceProperty(
            s3_uri=package_uri, s3_data_type="S3Prefix", compression_type="None"
        )
    )


def _environment(stage: StageSettings, package_uri: str) -> dict[str, str]:
    threads = stage.endpoint.model_threads
    return {
        # s3://BUCKET/promoted/SHA256/…: what server.py asks of model.json.
        "KENNEL_PACKAGE_SHA256": Fn.select(4, Fn.split("/", package_uri)),
        "RAYSERVE_BACKEND_URL": BACKEND_URL,
        "KENNEL_STAGE": stage.name,
        "KENNEL_INSTANCE_TYPE": stage.endpoint.runs_on,
        # Ray runs its workers, and what they start, at a low priority (nice 15): behind the adapter, and all else.
        "RAY_worker_niceness": "0",
        # Without a network, statistics of Ray's use would only time out.
        "RAY_USAGE_STATS_ENABLED": "0",
        **({"KENNEL_MODEL_THREADS": str(threads)} if threads else {}),
    }
