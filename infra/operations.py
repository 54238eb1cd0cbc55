"""The Operations stack: alarms and their topic, the dashboard, the budget, saved log queries."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.data.storage import Storage
from infra.constructs.operations.alarm_topic import AlarmTopic
from infra.constructs.operations.drift_alarms import DriftAlarms
from infra.constructs.operations.drift_watch import EVERY, DriftWatch
from infra.constructs.operations.endpoint_alarms import EndpointAlarms
from infra.constructs.operations.function_alarms import FunctionAlarms
from infra.constructs.operations.incident_dashboard import IncidentDashboard, Watched
from infra.constructs.operations.log_insights_queries import LogInsightsQueries
from infra.constructs.operations.stage_budget import StageBudget
from infra.constructs.operations.training_alarms import TrainingAlarms
from infra.constructs.serving.endpoint import Endpoint
from infra.constructs.shared.alarm_factory import AlarmFactory, AlarmText, Severity
from infra.settings import StageSettings


class OperationsStack(Stack):
    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: StageSettings,
        storage: Storage,
        endpoint: Endpoint,
        function: lambda_.IFunction,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, description="Kennel: alarms, dashboard, budget", **kwargs)
        # By name alone it knows what it watches, so that the endpoint's stack can go every evening.
        name = endpoint.name

        topic = AlarmTopic(self, "Notifications", stage=stage, storage=storage).topic
        alarms = AlarmFactory(stage, topic)
        watched = Watched(
            FunctionAlarms(self, "Function", stage=stage, alarms=alarms, function=function),
            EndpointAlarms(self, "Endpoint", stage=stage, alarms=alarms, endpoint=name),
            TrainingAlarms(self, "Training", stage=stage, alarms=alarms),
            self._drift(stage, storage, alarms, name) if stage.endpoint.capture_percent else None,
        )
        meaning = "callers get errors, slow responses or throttling"
        unserved = alarms.add_composite(
            self, AlarmText("callers-not-served", Severity.SEV1, meaning), watched.function.symptoms
        )
        IncidentDashboard(self, "Dashboard", stage=stage, unserved=unserved, watched=watched, endpoint=name)
        StageBudget(self, "Budget", stage=stage, topic=topic)
        LogInsightsQueries(self, "Queries", stage=stage, endpoint=name)

        CfnOutput(self, "AlarmTopicArn", value=topic.topic_arn)
        CfnOutput(self, "DashboardName", value=stage.prefix)

    def _drift(self, stage: StageSettings, storage: Storage, alarms: AlarmFactory, endpoint: str) -> DriftAlarms:
        function = DriftWatch(self, "Drift", stage=stage, storage=storage, endpoint=endpoint).function
        CfnOutput(self, "DriftFunctionName", value=function.function_name)
        return DriftAlarms(self, "DriftAlarms", stage=stage, alarms=alarms, function=function, every=EVERY)
