"""Searches through the whole path: one job, SageMaker's tuner, and what a training makes of them."""

from pathlib import Path

from helpers.stage import TINY, Environment, interrupted_once


def test_sagemaker_tuning_needs_features(deployed: Environment, dataset: str) -> None:
    result = deployed.run("kennel", "tune", dataset, "--engine", "sagemaker", *TINY, check=False)
    assert result.returncode == 1
    assert "run `kennel train tuning` once" in " ".join(result.stdout.split())


def test_search_is_journaled_and_reported(deployed: Environment, dataset: str, tmp_path: Path) -> None:
    output = deployed.run("kennel", "tune", dataset, "--trials", "6", "--set", "epochs=4", *TINY).stdout
    assert "The best of 6 trials" in output
    run = next(line.split()[2] for line in output.splitlines() if line.startswith("Training job"))
    kept = deployed.objects(f"checkpoints/datasets/{dataset}/")
    assert any(key.startswith("tuning/") and key.endswith(".journal") for key in kept)
    deployed.run("kennel", "report", run, "--out", str(tmp_path / "report.html"))
    assert "6 trials; hollow ones were pruned" in (tmp_path / "report.html").read_text()


def test_longer_search_resumes_earlier_one(deployed: Environment, dataset: str) -> None:
    output = deployed.run("kennel", "tune", dataset, "--trials", "8", "--set", "epochs=4", *TINY).stdout
    assert "6 trials are in the journal, 2 to go" in output
    assert "images; dataset" not in output
    assert "train: " not in output, "the features were computed again"


def test_training_uses_best_settings_unless_set(deployed: Environment, dataset: str) -> None:
    output = deployed.run("kennel", "train", dataset, "--set", "learning_rate=0.003", *TINY).stdout
    assert "With the best of 8 trials: " in output
    assert "learning_rate" not in output.split("With the best of 8 trials: ")[1].split("(--defaults")[0]
    output = deployed.run("kennel", "train", dataset, "--defaults", *TINY).stdout
    assert "With the best" not in output


def test_sagemaker_trials_read_cached_features(deployed: Environment, dataset: str) -> None:
    command = ("kennel", "tune", dataset, "--engine", "sagemaker", "--trials", "3", "--set", "epochs=3", *TINY)
    output = deployed.run(*command).stdout
    assert "The best of 3 trials" in output
    name = next(line.split()[2] for line in output.splitlines() if line.startswith("Tuning job"))
    sagemaker = deployed.client("sagemaker")
    tuning = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert tuning["HyperParameterTuningJobStatus"] == "Completed"
    trial = sagemaker.describe_training_job(TrainingJobName=f"{name}-001")
    assert {channel["ChannelName"] for channel in trial["InputDataConfig"]} == {"features", "code"}
    assert trial["EnableNetworkIsolation"]
    tags = sagemaker.list_tags(ResourceArn=trial["TrainingJobArn"])["Tags"]
    assert {"Key": "kennel:stage", "Value": "dev"} in tags
    best = tuning["BestTrainingJob"]
    values = [
        float(item["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
        for item in sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)[
            "TrainingJobSummaries"
        ]
    ]
    assert float(best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]) == max(values)


def test_spot_job_resumes_after_interruption(deployed: Environment, dataset: str) -> None:
    settings = [f"--set={setting}" for setting in ("epochs=2", "finetune_epochs=6", "finetune_batch_size=5")]
    command = ("kennel", "train", dataset, "--mode", "finetune", "--instances", "2", "--spot", *settings, *TINY)
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
