"""Searches through the whole path: one job, SageMaker's tuner, and what a training makes of them."""

from pathlib import Path

import pytest

from environment import Environment
from test_ec2 import interrupted_once, objects
from test_training_script import pictures  # noqa: F401

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(deployed: Environment, pictures: Path) -> str:  # noqa: F811
    deployed.run("kennel", "data", "push", str(pictures), "--name", "searched")
    return "searched"


def test_given_no_features_when_sagemaker_is_to_tune_then_it_says_what_to_run(
    deployed: Environment, dataset: str
) -> None:
    result = deployed.run("kennel", "tune", dataset, "--engine", "sagemaker", check=False)
    assert result.returncode == 1
    assert "run `kennel train searched` once" in " ".join(result.stdout.split())


def test_given_a_dataset_when_tuned_then_there_are_a_table_a_package_and_a_report_with_the_search(
    deployed: Environment, dataset: str, tmp_path: Path
) -> None:
    output = deployed.run("kennel", "tune", dataset, "--trials", "6", "--set", "epochs=4").stdout
    assert "The best of 6 trials" in output
    run = next(line.split()[2] for line in output.splitlines() if line.startswith("Training job"))
    kept = objects(deployed, f"checkpoints/datasets/{dataset}/")
    assert any(key.startswith("tuning/") and key.endswith(".journal") for key in kept)
    deployed.run("kennel", "report", run, "--out", str(tmp_path / "report.html"))
    assert "6 trials; hollow ones were pruned" in (tmp_path / "report.html").read_text()


def test_given_an_earlier_search_when_tuned_for_longer_then_it_goes_on(deployed: Environment, dataset: str) -> None:
    output = deployed.run("kennel", "tune", dataset, "--trials", "8", "--set", "epochs=4").stdout
    assert "6 trials are in the journal, 2 to go" in output
    assert "pictures; dataset" not in output
    assert "train: " not in output, "the features were computed again"


def test_given_a_search_when_trained_then_its_best_settings_are_used_unless_others_are_given(
    deployed: Environment, dataset: str
) -> None:
    output = deployed.run("kennel", "train", dataset, "--set", "learning_rate=0.003").stdout
    assert "With the best of 8 trials: " in output
    assert "learning_rate" not in output.split("With the best of 8 trials: ")[1].split("(--defaults")[0]
    output = deployed.run("kennel", "train", dataset, "--defaults").stdout
    assert "With the best" not in output


def test_given_features_when_sagemaker_tunes_then_each_trial_is_a_job_that_reads_them(
    deployed: Environment, dataset: str
) -> None:
    command = ("kennel", "tune", dataset, "--engine", "sagemaker", "--trials", "3", "--set", "epochs=3")
    output = deployed.run(*command).stdout
    assert "The best of 3 trials" in output
    name = next(line.split()[2] for line in output.splitlines() if line.startswith("Tuning job"))
    sagemaker = deployed.client("sagemaker")
    tuning = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert tuning["HyperParameterTuningJobStatus"] == "Completed"
    trial = sagemaker.describe_training_job(TrainingJobName=f"{name}-001")
    assert {channel["ChannelName"] for channel in trial["InputDataConfig"]} == {"features", "code"}
    assert trial["EnableNetworkIsolation"]
    best = tuning["BestTrainingJob"]
    values = [
        float(item["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
        for item in sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)[
            "TrainingJobSummaries"
        ]
    ]
    assert float(best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]) == max(values)


def test_given_managed_spot_and_two_instances_when_interrupted_then_the_job_resumes(
    deployed: Environment, dataset: str
) -> None:
    settings = [f"--set={setting}" for setting in ("epochs=2", "finetune_epochs=6", "finetune_batch_size=5")]
    command = ("kennel", "train", dataset, "--mode", "finetune", "--instances", "2", "--spot", *settings)
    output = interrupted_once(deployed, command)
    assert "then the whole network: 2 process(es) on cpu" in output
    assert "  Interrupted\n" in output
    assert "resumed in epoch" in output
    assert output.count("epoch=1 train_loss=") == 1
    job = next(line.split()[2] for line in output.splitlines() if line.startswith("Training job"))
    described = deployed.client("sagemaker").describe_training_job(TrainingJobName=job)
    assert described["EnableManagedSpotTraining"]
    assert (
        described["StoppingCondition"]["MaxWaitTimeInSeconds"] > described["StoppingCondition"]["MaxRuntimeInSeconds"]
    )
