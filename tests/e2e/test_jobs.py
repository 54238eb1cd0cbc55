"""Training jobs that cannot succeed say why, through the whole path; a running one can be stopped."""

import re
import time
from pathlib import Path

import pytest

from helpers.images import encode, gradient
from helpers.stage import TINY, Environment
from helpers.workday import BACKBONE, store_weights
from kennel.models import packages
from kennel.stage.deployed import DeployedStage


def images(folder: Path, *files: str) -> Path:
    for number, file in enumerate(files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(encode(gradient(80 + number, 80), "JPEG"))
    return folder


def test_single_class_is_rejected_before_upload(deployed: Environment, tmp_path: Path) -> None:
    folder = images(tmp_path / "lonely", "only/1.jpg", "only/2.jpg")
    result = deployed.run("kennel", "train", str(folder), check=False)
    assert result.returncode == 1
    assert "cannot be trained on: only the class 'only'" in " ".join(result.stdout.split())
    assert "Uploading" not in result.stdout


def test_job_failure_reason_is_shown(deployed: Environment) -> None:
    bucket = deployed.output("Data", "DatasetBucket")
    deployed.client("s3").put_object(Bucket=bucket, Key="datasets/alone/only/1.jpg", Body=encode(gradient(), "JPEG"))
    result = deployed.run("kennel", "train", "alone", check=False)
    assert result.returncode == 1
    assert "failed: AlgorithmError: Training failed: only the class 'only'" in " ".join(result.stdout.split())
    assert "Traceback" not in result.stdout


def test_unreadable_images_are_skipped_and_listed(deployed: Environment, tmp_path: Path) -> None:
    folder = images(tmp_path / "mixed", *(f"{label}/{index}.jpg" for label in "ab" for index in range(3)))
    (folder / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / "notes.txt").write_text("not an image")
    output = deployed.run("kennel", "train", str(folder), "--set", "epochs=1", *TINY).stdout
    assert "left out: notes.txt: not an image (.txt)" in output
    assert "skipped a/broken.jpg" in output
    assert "skipped 1 unreadable image(s)" in output
    assert "Model package: s3://" in output


def test_folder_without_images_suggests_fix(deployed: Environment, tmp_path: Path) -> None:
    result = deployed.run("kennel", "data", "push", str(tmp_path), check=False)
    assert result.returncode == 1
    assert "give a folder with one folder per class" in " ".join(result.stdout.split())


def test_unknown_dataset_starts_no_job(deployed: Environment) -> None:
    training_jobs = deployed.client("sagemaker").list_training_jobs
    before = len(training_jobs()["TrainingJobSummaries"])
    result = deployed.run("kennel", "train", "nowhere", check=False)
    assert result.returncode == 1
    assert "nowhere is neither a folder, an archive nor a dataset. Datasets:" in " ".join(result.stdout.split())
    assert len(training_jobs()["TrainingJobSummaries"]) == before


def test_backbone_of_timm_is_trained_with_stored_weights(deployed: Environment, dataset: str, tmp_path: Path) -> None:
    """Without a network: the job gets them in a channel."""
    choice = ("--set", f"backbone={BACKBONE}")
    refused = deployed.run("kennel", "train", dataset, *choice, check=False)
    assert refused.returncode == 1
    assert f"There are no weights of {BACKBONE} in the stage" in " ".join(refused.stdout.split())
    assert store_weights(deployed, tmp_path) == choice
    assert BACKBONE in deployed.run("kennel", "weights").stdout
    for place in ("sagemaker", "ec2"):
        output = deployed.run("kennel", "train", dataset, "--on", place, *choice).stdout
        run = re.findall(r"(?:Training job|EC2 run) (\S+)", output)[0]
        assert packages.describe(DeployedStage("dev"), run)["backbone"] == BACKBONE


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b"])
def test_invalid_dataset_name_is_rejected(deployed: Environment, tmp_path: Path, name: str) -> None:
    folder = images(tmp_path / "Bü cher", *(f"{label}/{index}.jpg" for label in "ab" for index in range(2)))
    result = deployed.run("kennel", "data", "push", str(folder), "--name", name, check=False)
    assert result.returncode == 1
    assert "is not a valid dataset name" in result.stdout


def test_running_job_can_be_stopped(deployed: Environment, dataset: str) -> None:
    from kennel.jobs import training_jobs

    name = training_jobs.start(DeployedStage("dev"), training_jobs.Request(dataset))
    sagemaker = deployed.client("sagemaker")
    while sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] != "Training":
        time.sleep(0.2)
    sagemaker.stop_training_job(TrainingJobName=name)
    while (job := sagemaker.describe_training_job(TrainingJobName=name))["TrainingJobStatus"] == "InProgress":
        time.sleep(0.2)
    assert job["TrainingJobStatus"] == "Stopped"


def test_job_over_its_time_limit_is_stopped_and_counted(deployed: Environment, dataset: str) -> None:
    from kennel.errors import KennelError
    from kennel.jobs import training_jobs

    name = training_jobs.start(DeployedStage("dev"), training_jobs.Request(dataset, max_run_s=1))
    # API reference, DescribeTrainingJob: MaxRuntimeExceeded is a secondary status of Stopped, not of Failed.
    with pytest.raises(KennelError, match=f"{name} stopped: MaxRuntimeExceeded: .* set a longer --max-hours"):
        training_jobs.follow(DeployedStage("dev"), name, lambda line: None)
    job = deployed.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert name in deployed.run("kennel", "logs", "failed-jobs").stdout
