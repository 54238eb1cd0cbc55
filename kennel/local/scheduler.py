"""EventBridge Scheduler's universal targets: an operation of an AWS service, called in the schedule's role.

ministack keeps schedules, and knows when they are due. Here those of one moment, at(…), are fired; those of every
evening, cron(…), are not: a stage that is being tried out would go at the hour at which nobody works on AWS.
"""

import json
from typing import Any

import boto3
from botocore import xform_name
from ministack.services import eventbridge

from kennel.local.iam.service_roles import service_session

PREFIX = ":scheduler:::aws-sdk:"


def install(endpoint: str) -> None:
    """Has ministack call universal targets at `endpoint`."""
    upstream = eventbridge._invoke_target

    def invoke(target: dict[str, Any], event: dict[str, Any], schedule: dict[str, Any], *rest: Any) -> Any:
        if PREFIX not in target.get("Arn", ""):
            return upstream(target, event, schedule, *rest)
        if str(schedule.get("ScheduleExpression", "")).startswith("at("):
            _call(service_session(target["RoleArn"], schedule["Name"]), target, endpoint)
        return None

    eventbridge._invoke_target = invoke


def _call(session: boto3.Session, target: dict[str, Any], endpoint: str) -> None:
    service, operation = target["Arn"].partition(PREFIX)[2].split(":")
    client: Any = session.client(service, endpoint_url=endpoint)
    getattr(client, xform_name(operation))(**json.loads(target["Input"]))
