"""EC2 training: a run's settings in a parameter, the group of the Training stack from 0 to 1, and back by itself."""

import json
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from infra import names
from infra.names import PACKAGES_PREFIX
from kennel.errors import KennelError
from kennel.jobs.training_jobs import JobResult, Request, checkpoints, new_name
from kennel.models import packages
from kennel.stage.deployed import DeployedStage
from kennel.stage.logs import LogTail

POLL_S = 2.0
STATUS = "status.json"


def start(deployment: DeployedStage, request: Request) -> str:
    """Starts a run and returns its name; raises KennelError if one is running."""
    group = deployment.output("Training", "Ec2GroupName")
    state = _group(deployment, group)
    if state["DesiredCapacity"] or state["Instances"]:
        raise KennelError(
            f"An EC2 training is running: the group {group} is not empty. Wait until it ends, or end it: "
            f"aws autoscaling set-desired-capacity --auto-scaling-group-name {group} --desired-capacity 0"
        )
    name = new_name(deployment)
    settings = {
        "run": name,
        "dataset": request.dataset,
        "program": request.program,
        "weights": request.weights or "",
        "checkpoints": checkpoints(request, name),
        "hyperparameters": request.hyperparameters,
    }
    deployment.client("ssm").put_parameter(
        Name=names.parameter(deployment.stage, "ec2-run"),
        Value=json.dumps(settings),
        Type="String",
        Overwrite=True,
        Description="The EC2 training run that starts next; written by kennel train, read by the instance",
    )
    deployment.client("autoscaling").set_desired_capacity(
        AutoScalingGroupName=group, DesiredCapacity=1, HonorCooldown=False
    )
    return name


def follow(deployment: DeployedStage, name: str, progress: Callable[[str], None]) -> JobResult:
    """Says each line of the run's log as it comes, until the group is empty. Raises KennelError unless it completed."""
    group = deployment.output("Training", "Ec2GroupName")
    log = LogTail(deployment.client("logs"), deployment.output("Training", "Ec2LogGroup"), f"{name}/")
    said = ""
    while True:
        state = _group(deployment, group)
        instances = [f"{item['InstanceId']} {item['LifecycleState']}" for item in state["Instances"]]
        activity = "" if instances else _activity(deployment, group)
        if (now := ", ".join(instances) or activity) and now != said:
            said = now
            progress(now)
        for line in log.lines():
            progress(line)
        if not state["DesiredCapacity"] and not state["Instances"]:
            break
        time.sleep(POLL_S)
    for line in log.lines():
        progress(line)
    status = _status(deployment, name)
    if status["state"] != "Completed":
        raise KennelError(f"EC2 run {name} failed: {status['reason']}")
    return JobResult(name, packages.uri(deployment, name), packages.describe(deployment, name)["metrics"])


def _group(deployment: DeployedStage, group: str) -> dict[str, Any]:
    groups = deployment.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
    if not groups["AutoScalingGroups"]:
        raise KennelError(f"The group {group} does not exist: run `make training STAGE={deployment.stage}`.")
    state: dict[str, Any] = groups["AutoScalingGroups"][0]
    return state


def _activity(deployment: DeployedStage, group: str) -> str:
    """The last activity of the group while it has no instance: it may find no capacity, for example."""
    answer = deployment.client("autoscaling").describe_scaling_activities(AutoScalingGroupName=group, MaxRecords=1)
    for activity in answer["Activities"]:
        return str(activity.get("StatusMessage") or activity.get("Description", ""))
    return ""


def _status(deployment: DeployedStage, name: str) -> dict[str, str]:
    """The report of the instance at its end."""
    bucket = deployment.output("Data", "ModelBucket")
    try:
        answer = deployment.client("s3").get_object(Bucket=bucket, Key=f"{PACKAGES_PREFIX}{name}/{STATUS}")
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
            raise
        return {"state": "Failed", "reason": "the group was emptied before the run reported its end"}
    status: dict[str, str] = json.load(answer["Body"])
    return status
