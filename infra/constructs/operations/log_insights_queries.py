"""Saved queries for incidents, in CloudWatch Logs Insights."""

from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import names
from infra.settings import StageSettings


class LogInsightsQueries(Construct):
    """Five questions, under the stage's name."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: StageSettings, endpoint: str) -> None:
        super().__init__(scope, construct_id)
        function, runs = names.log_group(stage.name, "classifier"), names.log_group(stage.name, "ec2-training")
        served, failed = names.endpoint_log_group(endpoint), names.log_group(stage.name, "failed-jobs")
        self._stage = stage
        self._save(
            "what callers were refused, and why",
            function,
            "fields @timestamp, status, reason, request_id | filter status >= 400 | sort @timestamp desc | limit 100",
        )
        self._save(
            "the slowest answers of the URL",
            function,
            "fields @timestamp, Latency, EndpointLatency, status, request_id | filter Latency > 1000"
            " | sort Latency desc | limit 100",
        )
        self._save(
            "errors of the model server",
            served,
            'fields @timestamp, @message | filter @message like /Error|Traceback|"status": 5/'
            " | sort @timestamp desc | limit 100",
        )
        self._save(
            "the last lines of EC2 runs",
            runs,
            "fields @timestamp, @logStream, @message | sort @timestamp desc | limit 200",
        )
        self._save(
            "trainings that failed",
            failed,
            "fields @timestamp, detail.TrainingJobName, detail.FailureReason | sort @timestamp desc | limit 50",
        )

    def _save(self, question: str, log_group: str, query: str) -> None:
        # Groups are given by name: that of the endpoint exists once it has answered.
        logs.CfnQueryDefinition(
            self,
            "".join(word.capitalize() for word in question.replace(",", "").split()),
            name=f"{self._stage.prefix}/{question}",
            log_group_names=[log_group],
            query_string=query,
        )
