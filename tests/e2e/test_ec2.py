"""EC2 training: bash runs the template's user data with an instance's metadata and role; the group ends at 0."""

import base64
import json
import time
from typing import Any

import pytest

from helpers import REPOSITORY
from helpers.stage import TINY, Environment, interrupted_once
from kennel.errors import KennelError
from kennel.jobs import ec2_runs, training_jobs
from kennel.local.settings import state_dir
from kennel.stage.deployed import DeployedStage


def group(deployed: Environment) -> dict[str, Any]:
    name = deployed.output("Training", "Ec2GroupName")
    groups = deployed.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    state: dict[str, Any] = groups["AutoScalingGroups"][0]
    return state


def is_empty(deployed: Environment) -> bool:
    state = group(deployed)
    return state["DesiredCapacity"] == 0 and not state["Instances"]


def run_name(output: str) -> str:
    return next(line.split()[2] for line in output.splitlines() if line.startswith("EC2 run"))


def test_training_yields_package_and_empties_group(deployed: Environment, dataset: str) -> None:
    output = deployed.run("kennel", "train", dataset, "--on", "ec2", "--set", "epochs=3", *TINY).stdout
    run = run_name(output)
    assert is_empty(deployed)
    assert "epoch=3 train_loss=" in output
    assert f"run {run} completed" in output
    package = deployed.objects(f"packages/{run}/output/model/")
    assert {"model.json", "labels.json", "report.html", "metrics.json", "inference/server.py"} <= package
    tags = deployed.client("s3").get_object_tagging(
        Bucket=deployed.output("Data", "ModelBucket"), Key=f"packages/{run}/output/model/model.json"
    )["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags}["kennel:run"] == run
    streams = deployed.client("logs").describe_log_streams(
        logGroupName=deployed.output("Training", "Ec2LogGroup"), logStreamNamePrefix=f"{run}/i-"
    )["logStreams"]
    assert len(streams) == 1
    assert any(key.endswith("manifest.json") for key in deployed.objects(f"checkpoints/datasets/{dataset}/features/"))


def test_instance_ran_template_user_data(deployed: Environment) -> None:
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


def test_bad_dataset_is_reported_and_group_emptied(
    deployed: Environment,
) -> None:
    request = training_jobs.Request("nowhere")
    run = ec2_runs.start(DeployedStage("dev"), request)
    said: list[str] = []
    with pytest.raises(KennelError, match=r"failed: Training failed: no images below .*give a folder"):
        ec2_runs.follow(DeployedStage("dev"), run, said.append)
    assert is_empty(deployed)
    assert any("failed: Training failed: no images" in line for line in said)
    assert deployed.objects(f"packages/{run}/") == {"status.json"}


def test_failed_script_is_reported_and_group_emptied(deployed: Environment, dataset: str) -> None:
    run = ec2_runs.start(DeployedStage("dev"), training_jobs.Request(dataset, program="nonsense"))
    with pytest.raises(KennelError, match=r"failed: exit status 1 at: train: .*No module named training.nonsense"):
        ec2_runs.follow(DeployedStage("dev"), run, lambda line: None)
    assert is_empty(deployed)


def test_invalid_run_json_empties_group(
    deployed: Environment,
) -> None:
    deployed.client("ssm").put_parameter(Name="/kennel/dev/ec2-run", Value="nonsense", Type="String", Overwrite=True)
    name = deployed.output("Training", "Ec2GroupName")
    deployed.client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)
    deadline = time.monotonic() + 60
    while not is_empty(deployed):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_finetuning_resumes_after_spot_interruption(deployed: Environment, dataset: str) -> None:
    settings = [f"--set={setting}" for setting in ("epochs=2", "finetune_epochs=16", "finetune_batch_size=5")]
    command = ("kennel", "train", dataset, "--on", "ec2", "--mode", "finetune", *settings, *TINY)
    output = interrupted_once(deployed, command)
    assert "interrupted: the next instance goes on from the checkpoint" in output
    assert "resumed in epoch" in output
    run = run_name(output)
    streams = deployed.client("logs").describe_log_streams(
        logGroupName=deployed.output("Training", "Ec2LogGroup"), logStreamNamePrefix=f"{run}/i-"
    )["logStreams"]
    assert len(streams) == 2
    assert "model.json" in deployed.objects(f"packages/{run}/output/model/")
    assert is_empty(deployed)


def test_second_concurrent_run_is_rejected(deployed: Environment, dataset: str) -> None:
    run = ec2_runs.start(DeployedStage("dev"), training_jobs.Request(dataset))
    with pytest.raises(KennelError, match="An EC2 training is running"):
        ec2_runs.start(DeployedStage("dev"), training_jobs.Request(dataset))
    name = deployed.output("Training", "Ec2GroupName")
    deployed.client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=0)
    with pytest.raises(KennelError, match="the group was emptied before the run reported its end"):
        ec2_runs.follow(DeployedStage("dev"), run, lambda line: None)
