"""Every grant is used by the run of all that went before, or has a reason; what the run needed, it was granted."""

import fnmatch
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.secret_search import secrets
from helpers.stage import PROBES, Environment
from helpers.workday import call_with_inbox, check_drift, run_notebook, stop_for_the_night, store_weights
from kennel.local.control import log_file
from kennel.local.iam.authorization import FILE
from kennel.local.settings import state_dir
from kennel.stage.template_roles import listed

pytestmark = pytest.mark.own_stage


ROLES = (
    "Api-ClassifierRole",
    "Operations-DriftRole",
    "Serving-ModelRole",
    "Training-JobRole",
    "Training-Ec2Role",
    "Training-NightStopRole",
    "Training-NotebookRole",
)
IMAGES = "containers are not pulled here: AWS's documentation asks for it"
METRICS = "SageMaker writes the metrics itself here: AWS's documentation asks for it"
VOLUMES = "there are no volumes here: AWS's documentation asks for it where a job's volume has a key"
LAMBDA_LOGS = "Lambda writes the log itself here"
LISTING = "SageMaker looks for the log stream before it writes: AWS's documentation asks for it"
SESSIONS = "an operator's session on the instance: nobody opens one here"

# What no call of the run used, and why it is granted all the same.
UNUSED = {
    "Api-ClassifierRole": {
        "logs:CreateLogStream": LAMBDA_LOGS,
        "logs:PutLogEvents": LAMBDA_LOGS,
        "xray:PutTelemetryRecords": "Lambda sends the traces, and there is no X-Ray here",
        "xray:PutTraceSegments": "Lambda sends the traces, and there is no X-Ray here",
    },
    "Operations-DriftRole": {"logs:CreateLogStream": LAMBDA_LOGS, "logs:PutLogEvents": LAMBDA_LOGS},
    "Serving-ModelRole": {
        "cloudwatch:DescribeAlarms": "SageMaker watches the alarms itself here: AWS's documentation asks for it",
        "cloudwatch:PutMetricData": METRICS,
        "ecr:BatchCheckLayerAvailability": IMAGES,
        "ecr:BatchGetImage": IMAGES,
        "ecr:GetAuthorizationToken": IMAGES,
        "ecr:GetDownloadUrlForLayer": IMAGES,
        "logs:DescribeLogStreams": LISTING,
    },
    "Training-JobRole": {
        "cloudwatch:PutMetricData": METRICS,
        "ecr:BatchCheckLayerAvailability": IMAGES,
        "ecr:BatchGetImage": IMAGES,
        "ecr:GetAuthorizationToken": IMAGES,
        "ecr:GetDownloadUrlForLayer": IMAGES,
        "kms:CreateGrant": VOLUMES,
        "logs:DescribeLogStreams": LISTING,
    },
    "Training-Ec2Role": {
        "ssm:UpdateInstanceInformation": SESSIONS,
        "ssmmessages:CreateControlChannel": SESSIONS,
        "ssmmessages:CreateDataChannel": SESSIONS,
        "ssmmessages:OpenControlChannel": SESSIONS,
        "ssmmessages:OpenDataChannel": SESSIONS,
    },
    "Training-NightStopRole": {},
    "Training-NotebookRole": {
        "kms:CreateGrant": VOLUMES,
        "sagemaker:DescribeNotebookInstance": "the idle stop of the instance, which runs on no machine here",
        "sagemaker:StopNotebookInstance": "the idle stop of the instance, which runs on no machine here",
        "sagemaker:StopTrainingJob": "for who thinks better of it: the notebook follows its jobs to their end",
    },
}

# Which have something in their log by the end of such a day.
WRITERS = (
    "server.log",
    "/kennel/dev/classifier",
    "/kennel/dev/drift",
    "/kennel/dev/ec2-training",
    "/aws/sagemaker/TrainingJobs",
    "/aws/sagemaker/Endpoints/kennel-dev-scaled",
)


@pytest.fixture(scope="module")
def record(
    deployed: Environment, dataset: str, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """The checks of a day on the stage, without those that tests made to find out what is denied."""
    backbone = store_weights(deployed, tmp_path_factory.mktemp("weights"))
    deployed.run("kennel", "train", dataset, "--set", "epochs=2", *backbone)
    deployed.run("kennel", "train", dataset, "--on", "ec2", "--set", "epochs=2", *backbone)
    run_notebook(deployed, images)
    call_with_inbox(deployed)
    check_drift(deployed)
    stop_for_the_night(deployed)
    deployed.deploy("Serving")
    lines = (json.loads(line) for line in Path(state_dir() / FILE).read_text().splitlines())
    return [line for line in lines if f"/{PROBES}-" not in line["principal"]]


@pytest.mark.parametrize("role", ROLES)
def test_every_grant_is_used_or_justified(deployed: Environment, record: list[dict[str, Any]], role: str) -> None:
    unused = unused_of(grants(deployed, role), record, role)
    assert {item for item in unused if item[0] not in UNUSED[role]} == set()
    assert {action for action, _ in unused} == set(UNUSED[role]), "a reason for a grant that is used, or not there"


@pytest.mark.parametrize("role", ROLES)
def test_role_was_never_denied(record: list[dict[str, Any]], role: str) -> None:
    refused = {
        (line["action"], line["resource"])
        for line in record
        if line["outcome"] == "denied" and f":assumed-role/Kennel-dev-{role}" in line["principal"]
    }
    assert refused == set()


def test_unused_grant_is_detected(record: list[dict[str, Any]]) -> None:
    used = ("sagemaker:InvokeEndpoint", "arn:aws:sagemaker:us-east-1:000000000000:endpoint/kennel-dev-scaled")
    more = [("s3:DeleteObject", "arn:aws:s3:::*"), ("sagemaker:InvokeEndpoint", used[1].replace("scaled", "fixed"))]
    assert unused_of([used, *more], record, "Api-ClassifierRole") == set(more)


def unused_of(granted: Iterable[tuple[str, str]], record: list[dict[str, Any]], role: str) -> set[tuple[str, str]]:
    """The grants of a role that no call of the record used."""
    used = [
        line
        for line in record
        if line["outcome"] == "allowed" and f":assumed-role/Kennel-dev-{role}" in line["principal"]
    ]
    return {
        (action, resource)
        for action, resource in granted
        if not any(line["action"] == action and matches(line["resource"], resource) for line in used)
    }


def test_deploys_ran_in_execution_role(record: list[dict[str, Any]]) -> None:
    deploys = [line for line in record if "/AWSCloudFormation" in line["principal"]]
    assert {line["principal"].split("/")[1] for line in deploys} == {"cdk-kdev-cfn-exec-role-000000000000-us-east-1"}
    assert len({line["action"] for line in deploys}) > 100


def test_logs_contain_no_secrets_or_images(deployed: Environment, record: list[dict[str, Any]]) -> None:
    written = logged(deployed)
    for source in WRITERS:
        assert written[source], f"nothing in {source}"
    lines = {line for source in written.values() for line in source}
    assert secrets("\n".join(lines)) == []
    # JPEG and PNG, in base64.
    assert [line for line in lines if "/9j/4AAQ" in line or "iVBORw0KGgo" in line] == []


def logged(deployed: Environment) -> dict[str, set[str]]:
    """What functions, jobs, instances and endpoints wrote, by log group, and the embedded AWS itself."""
    logs = deployed.client("logs")
    written = {"server.log": set(log_file().read_text().splitlines())}
    for group in logs.describe_log_groups()["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        written[group["logGroupName"]] = {event["message"] for page in pages for event in page["events"]}
    return written


def grants(deployed: Environment, role: str) -> Iterator[tuple[str, str]]:
    """Each action and resource that the deployed policies of a role allow."""
    iam = deployed.client("iam")
    names = [item["RoleName"] for page in iam.get_paginator("list_roles").paginate() for item in page["Roles"]]
    (name,) = (name for name in names if name.startswith(f"Kennel-dev-{role}"))
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for statement in document["Statement"]:
            for action in listed(statement["Action"]):
                for resource in listed(statement["Resource"]):
                    yield action, resource


def matches(resource: str, pattern: str) -> bool:
    """Whether a call on `resource` uses a grant on `pattern`; CloudWatch Logs may ask for a group with :* behind."""
    return any(fnmatch.fnmatchcase(form, pattern) for form in (resource, f"{resource}:*"))
