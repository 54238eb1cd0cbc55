"""A day's work on a stage: the notebook, the nightly stop, the drift check, jobs that fail."""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from botocore.exceptions import ClientError
from nbclient import NotebookClient

from helpers import REPOSITORY
from helpers.stage import Environment

NOTEBOOK = REPOSITORY / "notebooks" / "train_and_deploy.ipynb"


def until(reached: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def run_notebook(stage: Environment, images: Path) -> str:
    """Executes the notebook with the credentials of the notebook's role; returns what its cells printed."""
    role = stage.client("sagemaker").describe_notebook_instance(NotebookInstanceName="kennel-dev-notebook")["RoleArn"]
    own = {"DATA": str(images), "TRIALS": "2", "BACKBONE": "tiny_random"}
    notebook = nbformat.read(NOTEBOOK, 4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": REPOSITORY}})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**stage.variables, **stage.credentials(role), **own}.items():
            patch.setenv(name, value)
        client.execute(env=dict(os.environ))
    return "\n".join(
        output.get("text", "") or output.get("data", {}).get("text/markdown", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


def stop_for_the_night(stage: Environment) -> None:
    """Lets the stage's schedules run now; returns once the notebook is stopped and the Serving stack is deleted."""
    scheduler = stage.client("scheduler")
    for part in ("notebook", "endpoints"):
        schedule = scheduler.get_schedule(Name=f"Kennel-dev-stop-{part}")
        assert schedule["ScheduleExpression"] == "cron(0 20 ? * * *)"
        scheduler.create_schedule(
            Name=f"{schedule['Name']}-now",
            ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow=schedule["FlexibleTimeWindow"],
            Target=schedule["Target"],
        )
    until(lambda: notebook_status(stage) == "Stopped")
    until(lambda: serving_is_deleted(stage))
    for part in ("notebook", "endpoints"):
        scheduler.delete_schedule(Name=f"Kennel-dev-stop-{part}-now")


def notebook_status(stage: Environment) -> str:
    described = stage.client("sagemaker").describe_notebook_instance(NotebookInstanceName="kennel-dev-notebook")
    return str(described["NotebookInstanceStatus"])


def serving_is_deleted(stage: Environment) -> bool:
    try:
        return stage.stack_status("Serving") == "DELETE_COMPLETE"
    except ClientError as error:
        return "does not exist" in str(error)


def fail_a_job(stage: Environment, dataset: str = "lonely") -> None:
    """Runs a training job that fails, because its dataset has one class alone."""
    bucket = stage.output("Data", "DatasetBucket")
    stage.client("s3").put_object(Bucket=bucket, Key=f"datasets/{dataset}/only/1.jpg", Body=stage.image())
    assert stage.run("kennel", "train", dataset, check=False).returncode == 1


def call_with_inbox(stage: Environment) -> None:
    """Calls the URL with an image of the inbox."""
    bucket = stage.output("Data", "DatasetBucket")
    stage.client("s3").put_object(Bucket=bucket, Key="inbox/image.jpg", Body=stage.image())
    body = json.dumps({"s3": f"s3://{bucket}/inbox/image.jpg"}).encode()
    assert stage.url().call(body, "application/json").status == 200


def check_drift(stage: Environment) -> None:
    """Waits for captured answers, and compares them."""
    bucket = stage.output("Data", "ModelBucket")
    until(lambda: "Contents" in stage.client("s3").list_objects_v2(Bucket=bucket, Prefix="captures/"))
    answer = stage.client("lambda").invoke(FunctionName=stage.output("Operations", "DriftFunctionName"))
    assert "FunctionError" not in answer, answer["Payload"].read()
