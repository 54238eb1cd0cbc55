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

# From so many answers on, the drift check publishes (lambda/drift).
DRIFT_ANSWERS = 100
# Of timm, for tests: a second on this machine.
BACKBONE = "test_convnext.r160_in1k"
NOTEBOOK = REPOSITORY / "notebooks" / "train_and_deploy.ipynb"


def until(reached: Callable[[], bool], timeout_s: float = 60) -> None:
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
    until(lambda: notebook_status(stage) == "Stopped", 120)
    until(lambda: serving_is_deleted(stage), 120)
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
    """Invokes the endpoint with images of all classes until the drift check has enough answers, and runs the check."""
    runtime, functions = stage.client("sagemaker-runtime"), stage.client("lambda")
    for number in range(DRIFT_ANSWERS):
        runtime.invoke_endpoint(
            EndpointName="kennel-dev-scaled",
            ContentType="image/jpeg",
            Body=stage.image(number % len(stage.predictions)),
        )

    def compared() -> bool:
        answer = functions.invoke(FunctionName=stage.output("Operations", "DriftFunctionName"))
        document = json.load(answer["Payload"])
        assert "FunctionError" not in answer, document
        return bool(document["Answers"] >= DRIFT_ANSWERS)

    until(compared, 120)


def until_quiet(stage: Environment) -> None:
    """Waits until no alarm fires: an hour of an alarm is a minute here."""
    cloudwatch, types = stage.client("cloudwatch"), ["MetricAlarm", "CompositeAlarm"]
    until(
        lambda: not any(cloudwatch.describe_alarms(StateValue="ALARM", AlarmTypes=types)[f"{t}s"] for t in types), 180
    )


def store_weights(deployed: Environment, folder: Path) -> tuple[str, ...]:
    """Stores weights of a small backbone of timm, drawn at random; returns the arguments that train with it."""
    import timm
    import torch

    torch.manual_seed(1)
    torch.save(timm.create_model(BACKBONE, num_classes=0).state_dict(), folder / "weights.pt")
    assert f"/weights/{BACKBONE}/" in deployed.run("kennel", "weights", BACKBONE, str(folder / "weights.pt")).stdout
    return ("--set", f"backbone={BACKBONE}")
