"""Training jobs on SageMaker: the code asset of the Training stack on a dataset of the bucket, in network isolation."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra import names
from infra.instance_types import local_storage
from infra.names import CHECKPOINTS_PREFIX, DATASETS_PREFIX, PACKAGES_PREFIX
from kennel.datasets import upload
from kennel.errors import KennelError
from kennel.models import packages
from kennel.stage.deployed import DeployedStage
from kennel.stage.logs import LogTail

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
POLL_S = 1.0
# For the programs, the features and the package; the dataset comes on top, with a fifth for the blocks of its files.
VOLUME_GIB = 30
DATASET_SHARE = 1.2
# How long a managed spot job waits for capacity, all interruptions together.
SPOT_WAIT_S = 6 * 3600
# Jobs that SageMaker stops have no failure reason (API reference, DescribeTrainingJob).
STOPPED = {
    "MaxRuntimeExceeded": "MaxRuntimeExceeded: it reached its time limit; set a longer --max-hours",
    "MaxWaitTimeExceeded": "MaxWaitTimeExceeded: no Spot capacity in time; start it again, or without --spot",
}
# Unpacks the asset that arrives in the channel `code`: with network isolation the job can fetch nothing itself.
ENTRYPOINT = (
    'python -m zipfile -e "/opt/ml/input/data/code/"*.zip "/opt/ml/code"'
    ' && cd "/opt/ml/code" && exec python -m training.{program}'
)
METRICS = {
    "train:loss": r"train_loss=([0-9.]+)",
    "valid:top1": r"valid_top1=([0-9.]+)",
    "valid:loss": r"valid_loss=([0-9.]+)",
}
CHECKPOINTS_DIR = "/opt/ml/checkpoints"


@dataclass(frozen=True)
class Request:
    """A request for a job: a program of training/ ("train" or "hpo"), a pushed dataset, and the machine.

    `weights` is the S3 URI of the backbone's, unless it brings them along.
    """

    dataset: str
    program: str = "train"
    hyperparameters: dict[str, str] = field(default_factory=dict)
    instance_type: str = "ml.m5.xlarge"
    instances: int = 1
    spot: bool = False
    max_run_s: int = 86400
    weights: str | None = None

    @property
    def finetunes(self) -> bool:
        """True if the whole network is trained."""
        return self.hyperparameters.get("mode") == "finetune"


@dataclass(frozen=True)
class JobResult:
    """A completed run: its name, where its model package is, and its metrics by split."""

    name: str
    package_uri: str
    metrics: dict[str, dict[str, Any]]


def new_name(deployment: DeployedStage) -> str:
    """A name for a run that starts now."""
    return names.resource(deployment.stage, f"{datetime.now(UTC):%Y%m%d-%H%M%S}")


def checkpoints(request: Request, run: str) -> str:
    """Below the checkpoints prefix, the folder that a run keeps and finds again.

    Runs on the same dataset share its features and its search. The state of a fine-tuning is the run's own.
    """
    return f"runs/{run}/" if request.finetunes else f"datasets/{request.dataset}/"


def start(deployment: DeployedStage, request: Request) -> str:
    """Starts a training job and returns its name."""
    # The SDK takes seconds to import; only this command pays for it.
    from sagemaker.core.resources import TrainingJob
    from sagemaker.core.shapes import (
        AlgorithmSpecification,
        CheckpointConfig,
        MetricDefinition,
        OutputDataConfig,
        ResourceConfig,
        StoppingCondition,
    )

    models = deployment.output("Data", "ModelBucket")
    key = deployment.output("Data", "KeyArn")
    name = new_name(deployment)
    waits: dict[str, int] = {"max_wait_time_in_seconds": request.max_run_s + SPOT_WAIT_S} if request.spot else {}
    TrainingJob.create(
        session=deployment.session,
        region=deployment.region,
        training_job_name=name,
        role_arn=deployment.output("Training", "JobRoleArn"),
        algorithm_specification=AlgorithmSpecification(
            training_image=deployment.output("Training", "TrainingImage"),
            training_input_mode="File",
            container_entrypoint=["/bin/sh", "-c"],
            container_arguments=[ENTRYPOINT.format(program=request.program)],
            metric_definitions=[MetricDefinition(name=name, regex=regex) for name, regex in METRICS.items()],
        ),
        hyper_parameters=request.hyperparameters,
        input_data_config=[
            channel("training", dataset_uri(deployment, request.dataset)),
            channel("code", deployment.output("Training", "CodeUri")),
            *([channel("weights", request.weights)] if request.weights else []),
        ],
        output_data_config=OutputDataConfig(
            s3_output_path=f"s3://{models}/{PACKAGES_PREFIX}", compression_type="NONE", kms_key_id=key
        ),
        checkpoint_config=CheckpointConfig(
            s3_uri=f"s3://{models}/{CHECKPOINTS_PREFIX}{checkpoints(request, name)}", local_path=CHECKPOINTS_DIR
        ),
        resource_config=ResourceConfig(
            instance_type=request.instance_type,
            instance_count=request.instances,
            volume_size_in_gb=volume_gib(deployment, request.dataset),
            **volume_key(request.instance_type, key),
        ),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=request.max_run_s, **waits),
        enable_managed_spot_training=request.spot,
        enable_network_isolation=True,
        enable_inter_container_traffic_encryption=True,
        tags=tags(deployment, request.dataset),
    )
    return name


def volume_gib(deployment: DeployedStage, dataset: str) -> int:
    """The size of a job's volume, in GiB: in File mode the whole dataset is copied onto it."""
    size = sum(item["Size"] for item in upload.objects(deployment, dataset))
    return VOLUME_GIB + math.ceil(DATASET_SHARE * size / 2**30)


def volume_key(instance_type: str, key: str) -> dict[str, str]:
    """The key of a job's volume, except where the hardware encrypts local disks.

    "You can't request a VolumeKmsKeyId when using an instance type with local storage" (API reference, ResourceConfig).
    """
    return {} if local_storage(instance_type) else {"volume_kms_key_id": key}


def tags(deployment: DeployedStage, dataset: str) -> Any:
    """The tags of a job: the budget counts by the stage's."""
    # Not as Tag: the SDK has two classes of that name, and takes the one that it does not export.
    return [{"key": names.STAGE_TAG, "value": deployment.stage}, {"key": names.DATASET_TAG, "value": dataset}]


def channel(name: str, uri: str) -> Any:
    """An input channel with every object below `uri`."""
    from sagemaker.core.shapes import Channel, DataSource, S3DataSource

    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=uri, s3_data_distribution_type="FullyReplicated")
    return Channel(channel_name=name, data_source=DataSource(s3_data_source=source))


def dataset_uri(deployment: DeployedStage, dataset: str) -> str:
    """The prefix of a dataset."""
    return f"s3://{deployment.output('Data', 'DatasetBucket')}/{DATASETS_PREFIX}{dataset}/"


def follow(deployment: DeployedStage, name: str, progress: Callable[[str], None]) -> JobResult:
    """Says each line of the job's log as it comes, until the job ends. Raises KennelError unless it completed."""
    sagemaker = deployment.client("sagemaker")
    log = LogTail(deployment.client("logs"), LOG_GROUP, f"{name}/")
    said, ended = 0, False
    while True:
        job = sagemaker.describe_training_job(TrainingJobName=name)
        # All that happened, not the state of now: an interruption is shorter than the time between two looks.
        transitions = job.get("SecondaryStatusTransitions", [])
        for transition in transitions[said:]:
            progress(transition["Status"])
        said = len(transitions)
        for line in log.lines():
            progress(line)
        if ended:
            break
        # Once more after its end: the last lines, often those of the error, may come late.
        ended = job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped")
        time.sleep(POLL_S)
    if job["TrainingJobStatus"] != "Completed":
        reason = job.get("FailureReason") or STOPPED.get(job["SecondaryStatus"], "it was stopped")
        raise KennelError(f"Training job {name} {job['TrainingJobStatus'].lower()}: {reason}")
    return JobResult(name, job["ModelArtifacts"]["S3ModelArtifacts"], packages.describe(deployment, name)["metrics"])
