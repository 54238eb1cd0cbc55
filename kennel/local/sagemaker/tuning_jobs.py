"""SageMaker's hyperparameter tuner: real training jobs, their settings drawn by a sampler from the job's ranges."""

import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import optuna
from moto.sagemaker.models import FakeTrainingJob, HyperParameterTuningJob, sagemaker_backends

from kennel.local.sagemaker.training_jobs import Jobs
from kennel.local.settings import ACCOUNT, REGION

OPTIONAL = {
    "vpc_config": "VpcConfig",
    "checkpoint_config": "CheckpointConfig",
    "debug_hook_config": None,
    "debug_rule_configurations": None,
    "tensor_board_output_config": None,
    "experiment_config": None,
}


class Tuner:
    """Runs tuning jobs, each on a thread; their state is moto's record of them."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._trials: dict[str, list[dict[str, Any]]] = {}
        self._stopped: set[str] = set()

    def start(self, tuning: HyperParameterTuningJob, parameters: dict[str, Any]) -> None:
        """Starts the tuning job that CreateHyperParameterTuningJob's `parameters` describe, and returns at once."""
        tuning.hyper_parameter_tuning_job_status = "InProgress"
        tuning.best_training_job = tuning.OverallBestTrainingJob = None
        tuning.hyper_parameter_tuning_end_time = None
        self._trials[tuning.hyper_parameter_tuning_job_name] = []
        threading.Thread(target=self._run, args=(tuning, parameters), daemon=True).start()

    def stop(self, name: str) -> None:
        """Ends a tuning job as Stopped: no new trials, the running ones are stopped."""
        self._stopped.add(name)
        for trial in self._trials.get(name, []):
            if trial["TrainingJobStatus"] == "InProgress":
                self._jobs.stop(trial["TrainingJobName"])

    def trials(self, name: str) -> list[dict[str, Any]]:
        """The trials so far, as ListTrainingJobsForHyperParameterTuningJob summarizes them."""
        return self._trials.get(name, [])

    def _run(self, tuning: HyperParameterTuningJob, parameters: dict[str, Any]) -> None:
        name, config = tuning.hyper_parameter_tuning_job_name, tuning.hyper_parameter_tuning_job_config
        objective, limits = config["HyperParameterTuningJobObjective"], config["ResourceLimits"]
        try:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            study = optuna.create_study(
                direction=objective["Type"].lower(), sampler=optuna.samplers.TPESampler(seed=config.get("RandomSeed"))
            )
            with ThreadPoolExecutor(int(limits["MaxParallelTrainingJobs"])) as pool:
                numbers = range(1, int(limits["MaxNumberOfTrainingJobs"]) + 1)
                list(pool.map(lambda number: self._try(tuning, parameters, study, number), numbers))
            succeeded = [trial for trial in self._trials[name] if trial["ObjectiveStatus"] == "Succeeded"]
            if succeeded:
                best = max if objective["Type"] == "Maximize" else min
                tuning.best_training_job = tuning.OverallBestTrainingJob = best(
                    succeeded, key=lambda trial: float(trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
                )
            status = "Stopped" if name in self._stopped else "Completed" if succeeded else "Failed"
            if status == "Failed":
                tuning.failure_reason = "No training job succeeded: " + next(
                    (trial["FailureReason"] for trial in self._trials[name] if "FailureReason" in trial), "unknown"
                )
            tuning.hyper_parameter_tuning_job_status = status
        except Exception as error:
            traceback.print_exc()
            tuning.failure_reason = f"ClientError: {error}"
            tuning.hyper_parameter_tuning_job_status = "Failed"
        finally:
            tuning.hyper_parameter_tuning_end_time = tuning.last_modified_time = _now()

    def _try(
        self, tuning: HyperParameterTuningJob, parameters: dict[str, Any], study: optuna.Study, number: int
    ) -> None:
        name, config = tuning.hyper_parameter_tuning_job_name, tuning.hyper_parameter_tuning_job_config
        if name in self._stopped:
            return
        trial = study.ask(_distributions(config["ParameterRanges"]))
        tuned = {key: str(value) for key, value in trial.params.items()}
        summary: dict[str, Any] = {
            "TrainingJobName": f"{name}-{number:03d}",
            "TrainingJobArn": tuning.arn.replace("hyper-parameter-tuning-job", "training-job") + f"-{number:03d}",
            "CreationTime": _now(),
            "TrainingJobStatus": "InProgress",
            "TunedHyperParameters": tuned,
            "ObjectiveStatus": "Pending",
        }
        self._trials[name].append(summary)
        definition = {**parameters["TrainingJobDefinition"], "Tags": parameters.get("Tags", [])}
        job = self._start_job(summary["TrainingJobName"], definition, tuned)
        summary |= {"TrainingJobStatus": job.training_job_status, "TrainingEndTime": _now()}
        objective = config["HyperParameterTuningJobObjective"]["MetricName"]
        values = [metric["Value"] for metric in job.final_metric_data_list if metric["MetricName"] == objective]
        if job.training_job_status == "Completed" and values:
            summary["FinalHyperParameterTuningJobObjectiveMetric"] = {"MetricName": objective, "Value": values[-1]}
            summary["ObjectiveStatus"] = "Succeeded"
            study.tell(trial, values[-1])
        else:
            summary["ObjectiveStatus"] = "Failed"
            if reason := getattr(job, "failure_reason", None):
                summary["FailureReason"] = reason
            study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def _start_job(self, name: str, definition: dict[str, Any], tuned: dict[str, str]) -> FakeTrainingJob:
        """Runs one training job of the definition to its end."""
        backend = sagemaker_backends[ACCOUNT][REGION]
        parameters: dict[str, Any] = {
            **{key: value for key, value in definition.items() if key != "StaticHyperParameters"},
            "TrainingJobName": name,
            "HyperParameters": {**definition.get("StaticHyperParameters", {}), **tuned},
        }
        algorithm = {**parameters["AlgorithmSpecification"]}
        job = backend.create_training_job(
            training_job_name=name,
            hyper_parameters=parameters["HyperParameters"],
            algorithm_specification=dict(algorithm),
            role_arn=parameters["RoleArn"],
            input_data_config=parameters.get("InputDataConfig", []),
            output_data_config=parameters["OutputDataConfig"],
            resource_config=parameters["ResourceConfig"],
            stopping_condition=parameters["StoppingCondition"],
            tags=parameters["Tags"],
            enable_network_isolation=parameters.get("EnableNetworkIsolation", False),
            enable_inter_container_traffic_encryption=parameters.get("EnableInterContainerTrafficEncryption", False),
            enable_managed_spot_training=parameters.get("EnableManagedSpotTraining", False),
            **{python: parameters.get(api) if api else None for python, api in OPTIONAL.items()},
        )
        # moto adds a metric definition and a metric of its own.
        job.algorithm_specification, job.final_metric_data_list = algorithm, []
        self._jobs.start(job, parameters).join()
        return job


def _distributions(ranges: dict[str, Any]) -> dict[str, optuna.distributions.BaseDistribution]:
    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for item in ranges.get("ContinuousParameterRanges", []):
        log = item.get("ScalingType") == "Logarithmic"
        found[item["Name"]] = optuna.distributions.FloatDistribution(
            float(item["MinValue"]), float(item["MaxValue"]), log=log
        )
    for item in ranges.get("IntegerParameterRanges", []):
        found[item["Name"]] = optuna.distributions.IntDistribution(int(item["MinValue"]), int(item["MaxValue"]))
    for item in ranges.get("CategoricalParameterRanges", []):
        found[item["Name"]] = optuna.distributions.CategoricalDistribution(item["Values"])
    return found


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
