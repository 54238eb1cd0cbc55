"""Alarms on failed training jobs and EC2 runs, and on a training instance left running."""

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import names
from infra.constructs.shared.alarm_factory import AlarmFactory, AlarmText, Severity
from infra.constructs.shared.log_groups import log_group
from infra.settings import StageSettings

FAILED = "FailedJobs"
# The last line that the instance of a failed run writes: training/ec2_user_data.sh.
RUN_FAILED = ("kennel: run", "failed:")
HOUR = Duration.hours(1)
# CloudWatch looks at a week of hours at most.
MOST_HOURS = 168


class TrainingAlarms(Construct):
    """SageMaker's failed jobs, kept as events in a log; the failed runs of EC2; and the group that is not empty."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: StageSettings, alarms: AlarmFactory) -> None:
        super().__init__(scope, construct_id)
        self._stage = stage
        self.log_group = self._log_of_failed_jobs()
        self._count("Jobs", self.log_group, logs.FilterPattern.all_events())
        runs = logs.LogGroup.from_log_group_name(self, "Runs", names.log_group(stage.name, "ec2-training"))
        self._count("Ec2", runs, logs.FilterPattern.all_terms(*RUN_FAILED))

        self.failed = cloudwatch.Metric(
            namespace=stage.metrics, metric_name=FAILED, statistic="Sum", period=Duration.minutes(5)
        )
        failed = alarms.add_alarm(
            self,
            AlarmText("failed-jobs", Severity.SEV3, "a training job or EC2 run failed, or reached its time limit"),
            self.failed,
            threshold=0,
            datapoints_to_alarm=1,
            evaluation_periods=1,
        )
        self.instances = cloudwatch.Metric(
            namespace="AWS/AutoScaling",
            metric_name="GroupDesiredCapacity",
            dimensions_map={"AutoScalingGroupName": stage.ec2_group},
            statistic="Minimum",
            period=HOUR,
        )
        hours = min(stage.ec2.max_run_h + 1, MOST_HOURS)
        left_on = alarms.add_alarm(
            self,
            AlarmText(
                "ec2-left-on",
                Severity.SEV2,
                f"the training group has wanted an instance for {hours} hours, longer than a run may take",
            ),
            self.instances,
            threshold=0,
            datapoints_to_alarm=hours,
            evaluation_periods=hours,
        )
        self.alarms = [failed, left_on]

    def _log_of_failed_jobs(self) -> logs.LogGroup:
        stack, name = Stack.of(self), f"{self._stage.prefix}-failed-jobs"
        group = log_group(self, "Log", stage=self._stage, part="failed-jobs")
        rule = stack.format_arn(service="events", resource="rule", resource_name=name)
        writers = [iam.ServicePrincipal(f"{service}.amazonaws.com") for service in ("events", "delivery.logs")]
        logs.ResourcePolicy(
            self,
            "Policy",
            resource_policy_name=name,
            policy_statements=[
                iam.PolicyStatement(
                    principals=writers, actions=["logs:CreateLogStream"], resources=[group.log_group_arn]
                ),
                iam.PolicyStatement(
                    principals=writers,
                    actions=["logs:PutLogEvents"],
                    resources=[group.log_group_arn],
                    conditions={"ArnEquals": {"aws:SourceArn": rule}},
                ),
            ],
        )
        # A search's trainings are named after it.
        events.CfnRule(
            self,
            "Rule",
            name=name,
            description=f"Kennel {self._stage.name}: trainings that failed",
            event_pattern={
                "source": ["aws.sagemaker"],
                "detail-type": ["SageMaker Training Job State Change"],
                "detail": {
                    "TrainingJobName": [{"prefix": f"{self._stage.prefix.lower()}-"}],
                    # A job over its time limit is Stopped, as one that somebody stops: only this tells them apart.
                    "SecondaryStatus": ["Failed", "MaxRuntimeExceeded", "MaxWaitTimeExceeded"],
                },
            },
            targets=[
                events.CfnRule.TargetProperty(
                    id="Log",
                    # CloudFormation's ARN of a group ends in :*, which EventBridge refuses.
                    arn=stack.format_arn(
                        service="logs",
                        resource="log-group",
                        resource_name=group.log_group_name,
                        arn_format=ArnFormat.COLON_RESOURCE_NAME,
                    ),
                )
            ],
        )
        return group

    def _count(self, construct_id: str, group: logs.ILogGroup, pattern: logs.IFilterPattern) -> None:
        logs.MetricFilter(
            self,
            construct_id,
            log_group=group,
            filter_pattern=pattern,
            metric_namespace=self._stage.metrics,
            metric_name=FAILED,
            metric_value="1",
        )
