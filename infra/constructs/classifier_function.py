"""The function behind the URL: a role, a version behind the alias `live`, concurrency reserved and provisioned."""

from pathlib import Path

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.config import RETENTION_DAYS, Stage
from infra.constructs.endpoint import Endpoint

SOURCE = Path(__file__).resolve().parents[2] / "lambda"
ALIAS = "live"


class ClassifierFunction(Construct):
    """Log group, role, function, version, alias with provisioned concurrency that follows its use."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, endpoint: Endpoint) -> None:
        super().__init__(scope, construct_id)
        settings = stage.function

        log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/kennel/{stage.name}/classifier",
            retention=RETENTION_DAYS[stage.log_retention_days],
            removal_policy=RemovalPolicy.RETAIN if stage.retain_data else RemovalPolicy.DESTROY,
        )
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        log_group.grant_write(self.role)
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["sagemaker:InvokeEndpoint"],
                resources=[
                    Stack.of(self).format_arn(service="sagemaker", resource="endpoint", resource_name=endpoint.name)
                ],
            )
        )

        self.function = lambda_.Function(
            self,
            "Function",
            description="Kennel: a picture in, labelled probabilities out",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_asset(str(SOURCE), exclude=["__pycache__", "*.pyc"]),
            handler="handler.handle",
            role=self.role.without_policy_updates(),
            memory_size=settings.memory_mib,
            timeout=Duration.seconds(settings.timeout_s),
            reserved_concurrent_executions=settings.reserved_concurrency,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            environment={
                "ENDPOINT_NAME": endpoint.name,
                "ENDPOINT_TIMEOUT_S": str(stage.endpoint.timeout_s),
                "MAX_IMAGE_BYTES": str(settings.max_image_bytes),
            },
        )
        self.alias = lambda_.Alias(
            self,
            "Live",
            alias_name=ALIAS,
            version=self.function.current_version,
            provisioned_concurrent_executions=settings.provisioned_min,
        )
        self.alias.add_auto_scaling(
            min_capacity=settings.provisioned_min, max_capacity=settings.provisioned_max
        ).scale_on_utilization(utilization_target=settings.provisioned_utilization)
