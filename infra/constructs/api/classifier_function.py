"""The function behind the URL: a role, a version behind the alias `live`, concurrency reserved and provisioned."""

from aws_cdk import Aws, Duration, Stack, TimeZone
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.data.storage import Storage
from infra.constructs.serving.endpoint import Endpoint
from infra.constructs.shared.bundle import REPOSITORY, bundle
from infra.constructs.shared.grants import grant, grant_objects
from infra.constructs.shared.log_groups import log_group
from infra.constructs.shared.nag import UNRESERVED, acknowledge
from infra.names import INBOX_PREFIX
from infra.settings import StageSettings

# The table of image formats is that of the model server.
FILES = {
    "classifier": "lambda/classifier",
    "inference/__init__.py": "inference/__init__.py",
    "inference/formats.py": "inference/formats.py",
}
ALIAS = "live"
SCHEMES = {"https": "https", "https and http": "https http", "off": ""}


class ClassifierFunction(Construct):
    """Log group, role, function, version, alias with provisioned concurrency that follows its use."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageSettings, endpoint: Endpoint, storage: Storage
    ) -> None:
        super().__init__(scope, construct_id)
        settings = stage.function

        group = log_group(self, "Log", stage=stage, part="classifier")
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        grant(self.role, ["logs:CreateLogStream", "logs:PutLogEvents"], group.log_group_arn)
        grant(
            self.role,
            ["sagemaker:InvokeEndpoint"],
            Stack.of(self).format_arn(service="sagemaker", resource="endpoint", resource_name=endpoint.name),
        )
        grant_objects(self.role, storage.datasets, INBOX_PREFIX)
        # The actions have no resource level.
        grant(self.role, ["xray:PutTelemetryRecords", "xray:PutTraceSegments"], "*")

        self.function = lambda_.Function(
            self,
            "Function",
            description="Kennel: an image in, labelled probabilities out",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_asset(
                str(REPOSITORY / "lambda" / "classifier"), display_name="lambda/classifier/", **bundle(lambda: FILES)
            ),
            handler="classifier.handler.handle",
            role=self.role.without_policy_updates(),
            memory_size=settings.memory_mib,
            timeout=Duration.seconds(settings.timeout_s),
            reserved_concurrent_executions=settings.reserved_concurrency,
            log_group=group,
            logging_format=lambda_.LoggingFormat.JSON,
            tracing=lambda_.Tracing.ACTIVE,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if settings.snap_start else None,
            environment={
                "ENDPOINT_NAME": endpoint.name,
                "ENDPOINT_TIMEOUT_S": str(stage.endpoint.timeout_s),
                "MAX_IMAGE_BYTES": str(settings.max_image_bytes),
                "INBOX": storage.datasets.s3_url_for_object(INBOX_PREFIX),
                "URL_SCHEMES": SCHEMES[settings.url_fetch],
                "URL_HOSTS": " ".join(settings.url_fetch_hosts),
                "PAGE": "on" if settings.web_page else "off",
                "DNS_SUFFIX": Aws.URL_SUFFIX,
                "STAGE": stage.name,
            },
        )
        reasons = {
            "CKV_AWS_116": "callers wait for the answer: there are no failed calls to keep",
            "CKV_AWS_117": "it calls AWS and public hosts; a private network needs a NAT gateway with an idle cost",
            "CKV_AWS_173": "the environment has names and limits, nothing secret",
        }
        if settings.reserved_concurrency is None:
            reasons |= UNRESERVED
        if settings.snap_start:
            publishes = "Annotation::@aws-cdk/aws-lambda:snapStartRequirePublish"
            reasons[publishes] = "the alias is on a published version"
        acknowledge(self.function, reasons)
        self.alias = lambda_.Alias(
            self,
            "Live",
            alias_name=ALIAS,
            version=self.function.current_version,
            provisioned_concurrent_executions=settings.provisioned_min,
        )
        if settings.provisioned_min and settings.provisioned_max:
            ready = self.alias.add_auto_scaling(
                min_capacity=settings.provisioned_min, max_capacity=settings.provisioned_max
            )
            ready.scale_on_utilization(utilization_target=settings.provisioned_utilization)
            for number, hours in enumerate(settings.provisioned_hours):
                ready.scale_on_schedule(
                    f"Hours{number}",
                    schedule=scaling.Schedule.expression(f"cron({hours.cron})"),
                    time_zone=TimeZone.of(hours.time_zone),
                    min_capacity=hours.provisioned_min,
                )
