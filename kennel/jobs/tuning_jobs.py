"""Searches for the head's settings: their results, and SageMaker's tuner over the same space as our own search."""

import io
import json
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra import names
from infra.names import CHECKPOINTS_PREFIX, PACKAGES_PREFIX
from kennel.errors import KennelError
from kennel.jobs import training_jobs
from kennel.stage.deployed import DeployedStage, split_uri
from training.settings import SPACE, Choice

POLL_S = 2.0
OBJECTIVE = "valid:top1"
# SageMaker's own toolkit unpacks and runs it: tuning jobs know no entry point of their own.
PROGRAM, SOURCE = "search.py", "sourcedir.tar.gz"
# The toolkit runs a file, not a module: of a file, the folder that holds it is on Python's path.
PROGRAM_TEXT = b"import sys\n\nfrom training.hpo import main\n\nsys.exit(main())\n"
RUNNING = ("InProgress", "Stopping")


@dataclass(frozen=True)
class Search:
    """The result of a search: trials, best first, and the best settings."""

    trials: list[dict[str, Any]]
    best: dict[str, Any]


@dataclass(frozen=True)
class Cache:
    """A feature cache in the bucket: its prefix, and what it is of."""

    dataset: str
    prefix: str
    backbone: str
    fingerprint: str


def result(deployment: DeployedStage, dataset: str, backbone: str) -> Search | None:
    """The newest search over a dataset, or none."""
    found = _newest(deployment, f"{CHECKPOINTS_PREFIX}datasets/{dataset}/tuning/{backbone}-", ".json")
    if found is None:
        return None
    document = json.loads(_get(deployment, found))
    return Search(document["trials"], document["best"])


def cache(deployment: DeployedStage, dataset: str, backbone: str) -> Cache | None:
    """The newest complete feature cache of a dataset, or none."""
    found = _newest(deployment, f"{CHECKPOINTS_PREFIX}datasets/{dataset}/features/{backbone}-", "/manifest.json")
    if found is None:
        return None
    manifest = json.loads(_get(deployment, found))
    return Cache(dataset, found.removesuffix("manifest.json"), manifest["backbone"], manifest["fingerprint"])


def new_name(deployment: DeployedStage) -> str:
    """A name for a tuner that starts now, of at most SageMaker's 32 characters.

    Roles, alarms, logs and `kennel destroy` know a stage's jobs by the beginning of the name.
    """
    return names.resource(deployment.stage, f"{datetime.now(UTC):%y%m%d%H%M%S}")


def start(
    deployment: DeployedStage,
    features: Cache,
    *,
    hyperparameters: dict[str, str],
    trials: int,
    parallel: int,
    instance_type: str,
    seed: int,
) -> str:
    """Starts SageMaker's tuner on cached features, and returns its name."""
    from sagemaker.core import shapes
    from sagemaker.core.resources import HyperParameterTuningJob

    bucket, key = deployment.output("Data", "ModelBucket"), deployment.output("Data", "KeyArn")
    name = new_name(deployment)
    HyperParameterTuningJob.create(
        session=deployment.session,
        region=deployment.region,
        hyper_parameter_tuning_job_name=name,
        hyper_parameter_tuning_job_config=shapes.HyperParameterTuningJobConfig(
            strategy="Bayesian",
            random_seed=seed,
            resource_limits=shapes.ResourceLimits(
                max_number_of_training_jobs=trials, max_parallel_training_jobs=parallel
            ),
            hyper_parameter_tuning_job_objective=shapes.HyperParameterTuningJobObjective(
                type="Maximize", metric_name=OBJECTIVE
            ),
            parameter_ranges=_ranges(shapes),
        ),
        training_job_definition=shapes.HyperParameterTrainingJobDefinition(
            role_arn=deployment.output("Training", "JobRoleArn"),
            algorithm_specification=shapes.HyperParameterAlgorithmSpecification(
                training_image=deployment.output("Training", "TrainingImage"),
                training_input_mode="File",
                metric_definitions=[
                    shapes.MetricDefinition(name=metric, regex=regex) for metric, regex in training_jobs.METRICS.items()
                ],
            ),
            static_hyper_parameters={
                **hyperparameters,
                "trial": "1",
                "sagemaker_program": PROGRAM,
                "sagemaker_submit_directory": f"/opt/ml/input/data/code/{SOURCE}",
            },
            input_data_config=[
                training_jobs.channel("features", f"s3://{bucket}/{features.prefix}"),
                training_jobs.channel("code", _upload_source(deployment, bucket, name)),
            ],
            output_data_config=shapes.OutputDataConfig(
                s3_output_path=f"s3://{bucket}/{PACKAGES_PREFIX}", kms_key_id=key
            ),
            resource_config=shapes.ResourceConfig(
                instance_type=instance_type,
                instance_count=1,
                volume_size_in_gb=training_jobs.VOLUME_GIB,
                **training_jobs.volume_key(instance_type, key),
            ),
            stopping_condition=shapes.StoppingCondition(max_runtime_in_seconds=3600),
            enable_network_isolation=True,
            enable_inter_container_traffic_encryption=True,
        ),
        # SageMaker gives them to each trial's job, too.
        tags=training_jobs.tags(deployment, features.dataset),
    )
    return name


def follow(deployment: DeployedStage, name: str, progress: Callable[[str], None]) -> Search:
    """Says each trial as it ends, until the tuner ends. Raises KennelError unless a trial completed."""
    sagemaker = deployment.client("sagemaker")
    seen: dict[str, dict[str, Any]] = {}
    while True:
        job = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        pages = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
            HyperParameterTuningJobName=name
        )
        for item in (item for page in pages for item in page["TrainingJobSummaries"]):
            if item["TrainingJobName"] not in seen and item["TrainingJobStatus"] not in RUNNING:
                seen[item["TrainingJobName"]] = item
                progress(_line(item))
        if job["HyperParameterTuningJobStatus"] not in RUNNING:
            break
        time.sleep(POLL_S)
    trials = sorted(
        (_trial(number, item) for number, item in enumerate(seen.values()) if _value(item) is not None),
        key=lambda trial: -float(trial["value"]),
    )
    if job["HyperParameterTuningJobStatus"] != "Completed" or not trials:
        reason = job.get("FailureReason") or next(
            (item["FailureReason"] for item in seen.values() if item.get("FailureReason")), "no trial completed"
        )
        raise KennelError(f"Tuning job {name} {job['HyperParameterTuningJobStatus'].lower()}: {reason}")
    return Search(trials, trials[0]["settings"])


def keep(deployment: DeployedStage, dataset: str, features: Cache, found: Search) -> Search:
    """Leaves the result of SageMaker's tuner where trainings look for it, unless there is a better one; returns it."""
    earlier = result(deployment, dataset, features.backbone)
    if earlier and float(earlier.trials[0]["value"]) > float(found.trials[0]["value"]):
        return earlier
    name = f"{features.backbone}-{features.fingerprint[:16]}.json"
    key = f"{CHECKPOINTS_PREFIX}datasets/{dataset}/tuning/{name}"
    body = json.dumps({"trials": found.trials, "best": found.best}).encode()
    deployment.client("s3").put_object(Bucket=deployment.output("Data", "ModelBucket"), Key=key, Body=body)
    return found


def _ranges(shapes: Any) -> Any:
    return shapes.ParameterRanges(
        continuous_parameter_ranges=[
            shapes.ContinuousParameterRange(
                name=name,
                min_value=f"{space.low:g}",
                max_value=f"{space.high:g}",
                scaling_type="Logarithmic" if space.log else "Linear",
            )
            for name, space in SPACE.items()
            if not isinstance(space, Choice)
        ],
        categorical_parameter_ranges=[
            shapes.CategoricalParameterRange(name=name, values=[str(value) for value in space.values])
            for name, space in SPACE.items()
            if isinstance(space, Choice)
        ],
    )


def _upload_source(deployment: DeployedStage, bucket: str, name: str) -> str:
    """The code asset as the archive that SageMaker's toolkit takes; returns its prefix."""
    source, key = split_uri(deployment.output("Training", "CodeUri"))
    asset = deployment.client("s3").get_object(Bucket=source, Key=key)["Body"].read()
    archive = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(asset)) as files, tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for member in (item for item in files.infolist() if not item.is_dir()):
            entry = tarfile.TarInfo(member.filename)
            entry.size = member.file_size
            tar.addfile(entry, files.open(member))
        entry = tarfile.TarInfo(PROGRAM)
        entry.size = len(PROGRAM_TEXT)
        tar.addfile(entry, io.BytesIO(PROGRAM_TEXT))
    # A job reads no packages; what is below runs/ is removed after a month.
    prefix = f"{CHECKPOINTS_PREFIX}runs/{name}/source/"
    deployment.client("s3").put_object(Bucket=bucket, Key=f"{prefix}{SOURCE}", Body=archive.getvalue())
    return f"s3://{bucket}/{prefix}"


def _newest(deployment: DeployedStage, prefix: str, ending: str) -> str | None:
    pages = (
        deployment.client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=deployment.output("Data", "ModelBucket"), Prefix=prefix)
    )
    found = [
        (item["LastModified"], item["Key"])
        for page in pages
        for item in page.get("Contents", [])
        if item["Key"].endswith(ending)
    ]
    return str(max(found)[1]) if found else None


def _get(deployment: DeployedStage, key: str) -> bytes:
    answer = deployment.client("s3").get_object(Bucket=deployment.output("Data", "ModelBucket"), Key=key)
    return bytes(answer["Body"].read())


def _value(item: dict[str, Any]) -> float | None:
    metric = item.get("FinalHyperParameterTuningJobObjectiveMetric")
    return None if metric is None else float(metric["Value"])


def _trial(number: int, item: dict[str, Any]) -> dict[str, Any]:
    tuned = item["TunedHyperParameters"]
    chosen = {
        name: (int if isinstance(space, Choice) else float)(tuned[name].strip('"')) for name, space in SPACE.items()
    }
    return {"number": number, "value": _value(item), "state": "complete", "settings": chosen}


def _line(item: dict[str, Any]) -> str:
    value = _value(item)
    outcome = item.get("FailureReason", "no value") if value is None else f"top1={value:.4f}"
    settings = " ".join(f"{name}={text.strip(chr(34))}" for name, text in item["TunedHyperParameters"].items())
    return f"{item['TrainingJobName']} {item['TrainingJobStatus']} {outcome} {settings}"
