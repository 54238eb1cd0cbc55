"""Features of CloudWatch Logs beyond storage: metric filters, saved queries, the events for EventBridge."""

import json
import uuid
from typing import Any

from ministack.core.responses import error_response_json, json_response
from ministack.services import cloudwatch, cloudwatch_logs, eventbridge
from moto.sagemaker.models import FakeTrainingJob

from kennel.local.cloudwatch import embedded_metrics

Properties = dict[str, Any]

_queries: dict[str, Properties] = {}


def install() -> None:
    """Adds to ministack 1.5.33 what it keeps and does not do."""
    _count_lines()
    _take_events()
    _keep_queries()


def job_ended(job: FakeTrainingJob) -> None:
    """Sends SageMaker's event of a training job that has ended (developer guide, "Training job state change")."""
    detail = {
        "TrainingJobName": job.training_job_name,
        "TrainingJobArn": job.arn,
        "TrainingJobStatus": job.training_job_status,
        "SecondaryStatus": job.secondary_status,
        "FailureReason": getattr(job, "failure_reason", None) or "",
    }
    entry = {
        "Source": "aws.sagemaker",
        "DetailType": "SageMaker Training Job State Change",
        "Detail": json.dumps(detail),
        "Resources": [job.arn],
    }
    eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)


def _count_lines() -> None:
    upstream = cloudwatch_logs._put_log_events

    def put(data: Properties) -> Any:
        answer = upstream(data)
        group = data.get("logGroupName")
        if answer[0] == 200:
            for event in data.get("logEvents", []):
                embedded_metrics.publish(event.get("message", ""))
        for metric_filter in list(cloudwatch_logs._metric_filters.values()):
            if answer[0] == 200 and metric_filter["logGroupName"] == group:
                _count(metric_filter, [event.get("message", "") for event in data.get("logEvents", [])])
        return answer

    cloudwatch_logs._put_log_events = put


def _count(metric_filter: Properties, lines: list[str]) -> None:
    terms = _terms(metric_filter["filterPattern"])
    matching = sum(all(term in line for term in terms) for line in lines)
    for transformation in metric_filter["metricTransformations"]:
        for _ in range(matching):
            value = float(transformation["metricValue"])
            cloudwatch.record_metric(transformation["metricNamespace"], transformation["metricName"], value, "None", {})


def _terms(pattern: str) -> list[str]:
    """The quoted terms of a pattern, all of which a line has; raises ValueError for other patterns."""
    quoted = pattern.split('"')
    if any(rest.strip() for rest in quoted[::2]):
        raise ValueError(f"The embedded AWS knows metric filters of quoted terms alone, and not {pattern!r}")
    return quoted[1::2]


def _take_events() -> None:
    upstream = eventbridge._invoke_target

    def invoke(target: Properties, event: Properties, *rest: Any) -> Any:
        _, _, service, _, _, resource = target["Arn"].split(":", 5)
        if service != "logs":
            return upstream(target, event, *rest)
        group, stream = resource.removeprefix("log-group:"), str(uuid.uuid4())
        line = {
            "source": event["Source"],
            "detail-type": event["DetailType"],
            "resources": event.get("Resources", []),
            "detail": json.loads(event["Detail"]),
        }
        cloudwatch_logs._create_log_stream({"logGroupName": group, "logStreamName": stream})
        return cloudwatch_logs._put_log_events(
            {"logGroupName": group, "logStreamName": stream, "logEvents": [{"message": json.dumps(line)}]}
        )

    eventbridge._invoke_target = invoke


def _keep_queries() -> None:
    upstream = cloudwatch_logs.handle_request
    operations = {
        "PutQueryDefinition": _put_query,
        "DescribeQueryDefinitions": _describe_queries,
        "DeleteQueryDefinition": _delete_query,
    }

    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        operation = operations.get(headers.get("x-amz-target", "").rpartition(".")[2])
        return operation(json.loads(body or b"{}")) if operation else await upstream(method, path, headers, body, query)

    cloudwatch_logs.handle_request = handle


def _put_query(data: Properties) -> Any:
    known = data.get("queryDefinitionId") or str(uuid.uuid4())
    _queries[known] = {**data, "queryDefinitionId": known}
    return json_response({"queryDefinitionId": known})


def _describe_queries(data: Properties) -> Any:
    begins = data.get("queryDefinitionNamePrefix", "")
    return json_response({"queryDefinitions": [item for item in _queries.values() if item["name"].startswith(begins)]})


def _delete_query(data: Properties) -> Any:
    if _queries.pop(data["queryDefinitionId"], None) is None:
        return error_response_json("ResourceNotFoundException", "The query definition does not exist", 400)
    return json_response({"success": True})
