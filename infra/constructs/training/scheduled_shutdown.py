"""A schedule that stops what is billed by the hour: the notebook, and the endpoints with their stack."""

import json
from typing import Any

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from infra.constructs.shared.grants import grant, role_policies_of
from infra.settings import StageSettings

UNIVERSAL = "arn:{}:scheduler:::aws-sdk:{}"


class ScheduledShutdown(Construct):
    """Two schedules in a role that can do just what they do.

    An endpoint cannot be stopped, and one that is deleted by itself takes its scaling with it, behind CloudFormation's
    back: the whole Serving stack goes, which has no data, and `make deploy` brings it back.
    """

    def __init__(self, scope: Construct, construct_id: str, *, stage: StageSettings, notebook_name: str) -> None:
        super().__init__(scope, construct_id)
        assert stage.shutdown_schedule
        self._stage, self._stop = stage, stage.shutdown_schedule
        stack = Stack.of(self)
        group = stack.format_arn(service="scheduler", resource="schedule-group", resource_name="default")
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("scheduler.amazonaws.com").with_conditions(
                {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}, "ArnEquals": {"aws:SourceArn": group}}
            ),
        )
        serving = f"{stage.prefix}-Serving"
        grant(
            self.role,
            ["sagemaker:StopNotebookInstance"],
            stack.format_arn(service="sagemaker", resource="notebook-instance", resource_name=notebook_name),
        )
        # CloudFormation deletes in the role that it deployed in.
        grant(
            self.role,
            ["cloudformation:DeleteStack"],
            stack.format_arn(service="cloudformation", resource="stack", resource_name=f"{serving}/*"),
        )
        self._schedule("Notebook", "sagemaker:stopNotebookInstance", {"NotebookInstanceName": notebook_name})
        self._schedule("Endpoints", "cloudformation:deleteStack", {"StackName": serving})

    def _schedule(self, construct_id: str, operation: str, arguments: dict[str, Any]) -> None:
        schedule = scheduler.CfnSchedule(
            self,
            construct_id,
            name=f"{self._stage.prefix}-stop-{construct_id.lower()}",
            schedule_expression=f"cron({self._stop.cron})",
            schedule_expression_timezone=self._stop.time_zone,
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=UNIVERSAL.format(Aws.PARTITION, operation),
                role_arn=self.role.role_arn,
                input=json.dumps(arguments),
                # Stopping a stopped notebook is an error, and the next evening is soon enough for others.
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(maximum_retry_attempts=0),
            ),
        )
        schedule.node.add_dependency(*role_policies_of(self.role))
