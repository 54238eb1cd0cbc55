"""Training jobs that cannot succeed say why, through the whole path; a running one can be stopped."""

import time
from pathlib import Path

import pytest

from drawing import encode, gradient
from environment import Environment

pytestmark = pytest.mark.slow


def pictures(folder: Path, *files: str) -> Path:
    for number, file in enumerate(files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(encode(gradient(80 + number, 80), "JPEG"))
    return folder


def test_given_one_class_when_trained_then_it_is_refused_before_anything_is_uploaded(
    deployed: Environment, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "lonely", "only/1.jpg", "only/2.jpg")
    result = deployed.run("kennel", "train", str(folder), check=False)
    assert result.returncode == 1
    assert "cannot be trained on: only the class 'only'" in " ".join(result.stdout.split())
    assert "Uploading" not in result.stdout


def test_given_a_job_that_fails_when_followed_then_the_command_gives_the_jobs_reason(deployed: Environment) -> None:
    bucket = deployed.output("Data", "DatasetBucket")
    deployed.client("s3").put_object(Bucket=bucket, Key="datasets/alone/only/1.jpg", Body=encode(gradient(), "JPEG"))
    result = deployed.run("kennel", "train", "alone", check=False)
    assert result.returncode == 1
    assert "failed: AlgorithmError: Training failed: only the class 'only'" in " ".join(result.stdout.split())
    assert "Traceback" not in result.stdout


def test_given_unreadable_pictures_when_trained_then_they_are_counted_and_named(
    deployed: Environment, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "mixed", *(f"{label}/{index}.jpg" for label in "ab" for index in range(3)))
    (folder / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / "notes.txt").write_text("not a picture")
    output = deployed.run("kennel", "train", str(folder), "--set", "epochs=1").stdout
    assert "left out, not a picture:" in output
    assert "skipped a/broken.jpg" in output
    assert "skipped 1 unreadable picture(s)" in output
    assert "Model package: s3://" in output


def test_given_a_folder_without_pictures_when_pushed_then_it_says_what_to_give(
    deployed: Environment, tmp_path: Path
) -> None:
    result = deployed.run("kennel", "data", "push", str(tmp_path), check=False)
    assert result.returncode == 1
    assert "give a folder with one folder per class" in " ".join(result.stdout.split())


def test_given_a_dataset_that_does_not_exist_when_trained_then_no_job_is_started(deployed: Environment) -> None:
    jobs = deployed.client("sagemaker").list_training_jobs
    before = len(jobs()["TrainingJobSummaries"])
    result = deployed.run("kennel", "train", "nowhere", check=False)
    assert result.returncode == 1
    assert "nowhere is no folder, and no dataset; the datasets are:" in " ".join(result.stdout.split())
    assert len(jobs()["TrainingJobSummaries"]) == before


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b"])
def test_given_an_odd_name_when_pushed_then_it_is_refused(deployed: Environment, tmp_path: Path, name: str) -> None:
    folder = pictures(tmp_path / "Bü cher", *(f"{label}/{index}.jpg" for label in "ab" for index in range(2)))
    result = deployed.run("kennel", "data", "push", str(folder), "--name", name, check=False)
    assert result.returncode == 1
    assert "is no name for a dataset" in result.stdout


def test_given_a_running_job_when_stopped_then_it_ends_as_stopped(deployed: Environment) -> None:
    from kennel import jobs
    from kennel.deployment import Deployment

    dataset = deployed.facts["dataset"].rpartition("/")[2]
    name = jobs.start(Deployment("dev"), jobs.Request(dataset))
    sagemaker = deployed.client("sagemaker")
    while sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] != "Training":
        time.sleep(0.2)
    sagemaker.stop_training_job(TrainingJobName=name)
    while (job := sagemaker.describe_training_job(TrainingJobName=name))["TrainingJobStatus"] == "InProgress":
        time.sleep(0.2)
    assert job["TrainingJobStatus"] == "Stopped"
