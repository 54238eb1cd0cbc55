"""The topic for alarms and budget notifications, encrypted with the stage's key."""

from aws_cdk import ArnFormat, Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.constructs.data.storage import Storage
from infra.settings import StageSettings


class AlarmTopic(Construct):
    """The topic, its publishers, and the stage's subscribers. Others subscribe themselves."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: StageSettings, storage: Storage) -> None:
        super().__init__(scope, construct_id)
        stack = Stack.of(self)
        self.topic = sns.Topic(
            self,
            "Topic",
            topic_name=stage.alarm_topic,
            display_name=f"Kennel {stage.name}",
            master_key=storage.key,
            enforce_ssl=True,
        )
        alarms = stack.format_arn(
            service="cloudwatch",
            resource="alarm",
            resource_name=f"{stage.prefix.lower()}-*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        self._let_tell("cloudwatch", alarms)
        self._let_tell("budgets", f"arn:{Aws.PARTITION}:budgets::{Aws.ACCOUNT_ID}:*")
        for address in stage.operations.alarm_emails:
            self.topic.add_subscription(subscriptions.EmailSubscription(address))

    @staticmethod
    def by_name(scope: Construct, stage: StageSettings) -> sns.ITopic:
        """The topic for the alarms of another stack, which goes or comes without this one."""
        arn = Stack.of(scope).format_arn(
            service="sns", resource=stage.alarm_topic, arn_format=ArnFormat.NO_RESOURCE_NAME
        )
        return sns.Topic.from_topic_arn(scope, "AlarmTopic", arn)

    def _let_tell(self, service: str, source: str) -> None:
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid=service.capitalize(),
                principals=[iam.ServicePrincipal(f"{service}.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={
                    "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                    "ArnLike": {"aws:SourceArn": source},
                },
            )
        )
