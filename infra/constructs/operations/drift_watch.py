"""A function that once an hour compares what the endpoint answered with what the model's validation found."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.data.storage import Storage
from infra.constructs.shared.bundle import REPOSITORY
from infra.constructs.shared.grants import grant, grant_list, grant_objects
from infra.constructs.shared.log_groups import log_group
from infra.constructs.shared.nag import UNRESERVED, acknowledge
from infra.names import CAPTURES_PREFIX, PROMOTED_PREFIX, VARIANT
from infra.settings import StageSettings

EVERY = Duration.hours(1)


class DriftWatch(Construct):
    """Log group, role, function, schedule."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageSettings, storage: Storage, endpoint: str
    ) -> None:
        super().__init__(scope, construct_id)
        captures = f"{CAPTURES_PREFIX}{endpoint}/{VARIANT}/"
        group = log_group(self, "Log", stage=stage, part="drift")
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        grant(self.role, ["logs:CreateLogStream", "logs:PutLogEvents"], group.log_group_arn)
        grant_list(self.role, storage.models, captures)
        grant_objects(self.role, storage.models, captures, PROMOTED_PREFIX)
        parameter = Stack.of(self).format_arn(service="ssm", resource=f"parameter{stage.model_parameter}")
        grant(self.role, ["ssm:GetParameter"], parameter)
        grant(
            self.role,
            ["cloudwatch:PutMetricData"],
            "*",  # the action has no resource level
            StringEquals={"cloudwatch:namespace": stage.metrics},
        )

        reserves = stage.function.reserved_concurrency is not None
        function = lambda_.Function(
            self,
            "Function",
            description="Kennel: are the last day's answers what validation lets one expect?",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_asset(
                str(REPOSITORY / "lambda"),
                exclude=["__pycache__", "*.pyc", "classifier"],
                display_name="lambda/drift/",
            ),
            handler="drift.handler.handle",
            role=self.role.without_policy_updates(),
            memory_size=256,
            timeout=Duration.minutes(5),
            reserved_concurrent_executions=1 if reserves else None,
            log_group=group,
            logging_format=lambda_.LoggingFormat.JSON,
            environment={
                "STAGE": stage.name,
                "MODEL_PARAMETER": stage.model_parameter,
                "CAPTURES": captures,
                "NAMESPACE": stage.metrics,
            },
        )
        acknowledge(
            function,
            {
                "CKV_AWS_116": "the next hour asks again: there are no failed calls to keep",
                "CKV_AWS_117": "it calls AWS alone; a private network needs a NAT gateway, which has an idle cost",
                "CKV_AWS_173": "the environment has names, nothing secret",
                **({} if reserves else UNRESERVED),
            },
        )
        events.Rule(
            self,
            "Hourly",
            rule_name=f"{stage.prefix}-drift",
            schedule=events.Schedule.rate(EVERY),
            targets=[targets.LambdaFunction(function, retry_attempts=0)],
        )
        self.function = function
