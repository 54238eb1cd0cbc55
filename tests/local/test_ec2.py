"""EC2 training: bash runs the template's user data with an instance's metadata and role; the group ends at 0."""

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from environment import REPOSITORY, Environment
from kennel import ec2, jobs
from kennel.deployment import Deployment
from kennel.errors import KennelError
from kennel.local.settings import state_dir
from test_training_script import pictures  # noqa: F401

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(deployed: Environment, pictures: Path) -> str:  # noqa: F811
    deployed.run("kennel", "data", "push", str(pictures), "--name", "few")
    return "few"


def group(deployed: Environment) -> dict[str, Any]:
    name = deployed.output("Training", "Ec2GroupName")
    groups = deployed.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    state: dict[str, Any] = groups["AutoScalingGroups"][0]
    return state


def is_empty(deployed: Environment) -> bool:
    state = group(deployed)
    return state["DesiredCapacity"] == 0 and not state["Instances"]


def objects(deployed: Environment, prefix: str) -> set[str]:
    bucket = deployed.output("Data", "ModelBucket")
    pages = deployed.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", [])}


def interrupted_once(deployed: Environment, command: tuple[str, ...]) -> str:
    """The output of a fine-tuning that is given a spot notice after its first epoch."""
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=deployed.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    interrupted = False
    for line in process.stdout:
        lines.append(line)
        if "epoch=1 train_loss" in line and not interrupted:
            interrupted = True
            assert "Interrupted: " in deployed.run("kennel", "local", "interrupt").stdout
    output = "".join(lines)
    assert process.wait() == 0, output
    return output


def run_name(output: str) -> str:
    return next(line.split()[2] for line in output.splitlines() if line.startswith("EC2 run"))


def test_given_a_dataset_when_trained_on_ec2_then_the_package_is_there_and_the_group_is_empty(
    deployed: Environment, dataset: str
) -> None:
    output = deployed.run("kennel", "train", dataset, "--on", "ec2", "--set", "epochs=3").stdout
    run = run_name(output)
    assert is_empty(deployed)
    assert "epoch=3 train_loss=" in output
    assert f"run {run} completed" in output
    package = objects(deployed, f"packages/{run}/output/model/")
    assert {"model.json", "labels.json", "report.html", "metrics.json", "server.py"} <= package
    tags = deployed.client("s3").get_object_tagging(
        Bucket=deployed.output("Data", "ModelBucket"), Key=f"packages/{run}/output/model/model.json"
    )["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags}["kennel:run"] == run
    streams = deployed.client("logs").describe_log_streams(
        logGroupName=deployed.output("Training", "Ec2LogGroup"), logStreamNamePrefix=f"{run}/i-"
    )["logStreams"]
    assert len(streams) == 1
    assert any(key.endswith("manifest.json") for key in objects(deployed, f"checkpoints/datasets/{dataset}/features/"))


def test_given_the_template_then_its_user_data_is_what_ran(deployed: Environment) -> None:
    scripts = list((state_dir() / "instances").glob("i-*/user-data.sh"))
    versions = deployed.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=group(deployed)["LaunchTemplate"]["LaunchTemplateId"], Versions=["$Latest"]
    )["LaunchTemplateVersions"]
    rendered = base64.b64decode(versions[0]["LaunchTemplateData"]["UserData"])
    assert scripts
    assert all(script.read_bytes() == rendered for script in scripts)
    template = json.dumps(deployed.templates["Training"])
    for line in (REPOSITORY / "training" / "ec2_user_data.sh").read_text().splitlines()[:4]:
        assert line in template


def test_given_a_dataset_that_cannot_be_trained_on_when_run_then_the_command_says_why_and_the_group_is_empty(
    deployed: Environment,
) -> None:
    request = jobs.Request("nowhere")
    run = ec2.start(Deployment("dev"), request)
    said: list[str] = []
    with pytest.raises(KennelError, match=r"failed: Training failed: no pictures \(.*give a folder"):
        ec2.follow(Deployment("dev"), run, said.append)
    assert is_empty(deployed)
    assert any("failed: Training failed: no pictures" in line for line in said)
    assert objects(deployed, f"packages/{run}/") == {"status.json"}


def test_given_a_script_that_fails_on_its_way_when_run_then_the_command_says_where_and_the_group_is_empty(
    deployed: Environment, dataset: str
) -> None:
    run = ec2.start(Deployment("dev"), jobs.Request(dataset, program="nonsense"))
    with pytest.raises(KennelError, match=r"failed: exit status 2 at: train: .*can't open file .*nonsense\.py"):
        ec2.follow(Deployment("dev"), run, lambda line: None)
    assert is_empty(deployed)


def test_given_settings_that_are_no_json_when_the_group_is_raised_then_it_is_emptied_again(
    deployed: Environment,
) -> None:
    deployed.client("ssm").put_parameter(Name="/kennel/dev/ec2-run", Value="nonsense", Type="String", Overwrite=True)
    name = deployed.output("Training", "Ec2GroupName")
    deployed.client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)
    deadline = time.monotonic() + 60
    while not is_empty(deployed):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_given_a_spot_interruption_when_finetuning_then_a_second_instance_resumes(
    deployed: Environment, dataset: str
) -> None:
    settings = [f"--set={setting}" for setting in ("epochs=2", "finetune_epochs=12", "finetune_batch_size=5")]
    command = ("kennel", "train", dataset, "--on", "ec2", "--mode", "finetune", *settings)
    output = interrupted_once(deployed, command)
    assert "interrupted: the next instance goes on from the checkpoint" in output
    assert "resumed in epoch" in output
    run = run_name(output)
    streams = deployed.client("logs").describe_log_streams(
        logGroupName=deployed.output("Training", "Ec2LogGroup"), logStreamNamePrefix=f"{run}/i-"
    )["logStreams"]
    assert len(streams) == 2
    assert "model.json" in objects(deployed, f"packages/{run}/output/model/")
    assert is_empty(deployed)


def test_given_a_running_run_when_another_is_started_then_it_is_refused(deployed: Environment, dataset: str) -> None:
    run = ec2.start(Deployment("dev"), jobs.Request(dataset))
    with pytest.raises(KennelError, match="An EC2 training is running"):
        ec2.start(Deployment("dev"), jobs.Request(dataset))
    name = deployed.output("Training", "Ec2GroupName")
    deployed.client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=0)
    with pytest.raises(KennelError, match="the group was emptied before the run reported its end"):
        ec2.follow(Deployment("dev"), run, lambda line: None)
