"""Training jobs: the code asset of the Training stack on a dataset of the bucket, in network isolation."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from kennel.deployment import DATASETS_PREFIX, PACKAGES_PREFIX, Deployment
from kennel.errors import KennelError

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
POLL_S = 1.0
# Unpacks the asset that arrives in the channel `code`: with network isolation the job can fetch nothing itself.
ENTRYPOINT = (
    'python -m zipfile -e "/opt/ml/input/data/code/"*.zip "/opt/ml/code"'
    ' && exec python "/opt/ml/code/training/train.py"'
)
METRICS = {
    "train:loss": r"train_loss=([0-9.]+)",
    "valid:top1": r"valid_top1=([0-9.]+)",
    "valid:loss": r"valid_loss=([0-9.]+)",
}


@dataclass(frozen=True)
class Finished:
    """A completed job: its name, where its model package is, and its last metrics."""

    name: str
    package_uri: str
    metrics: dict[str, float]


def start(
    deployment: Deployment,
    dataset: str,
    *,
    instance_type: str = "ml.m5.xlarge",
    hyperparameters: dict[str, str] | None = None,
    max_run_s: int = 86400,
) -> str:
    """Starts a training job on the dataset `dataset`, and returns the job's name."""
    # The SDK takes seconds to import; only this command pays for it.
    from sagemaker.core.resources import TrainingJob
    from sagemaker.core.shapes import (
        AlgorithmSpecification,
        Channel,
        DataSource,
        MetricDefinition,
        OutputDataConfig,
        ResourceConfig,
        S3DataSource,
        StoppingCondition,
    )

    def channel(name: str, uri: str) -> Channel:
        source = S3DataSource(s3_data_type="S3Prefix", s3_uri=uri, s3_data_distribution_type="FullyReplicated")
        return Channel(channel_name=name, data_source=DataSource(s3_data_source=source))

    models, datasets = deployment.output("Data", "ModelBucket"), deployment.output("Data", "DatasetBucket")
    key = deployment.output("Data", "KeyArn")
    name = f"kennel-{deployment.stage}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    TrainingJob.create(
        session=deployment.session,
        region=deployment.region,
        training_job_name=name,
        role_arn=deployment.output("Training", "JobRoleArn"),
        algorithm_specification=AlgorithmSpecification(
            training_image=deployment.output("Training", "TrainingImage"),
            training_input_mode="File",
            container_entrypoint=["/bin/sh", "-c"],
            container_arguments=[ENTRYPOINT],
            metric_definitions=[MetricDefinition(name=name, regex=regex) for name, regex in METRICS.items()],
        ),
        hyper_parameters=hyperparameters or {},
        input_data_config=[
            channel("training", f"s3://{datasets}/{DATASETS_PREFIX}{dataset}/"),
            channel("code", deployment.output("Training", "CodeUri")),
        ],
        output_data_config=OutputDataConfig(
            s3_output_path=f"s3://{models}/{PACKAGES_PREFIX}", compression_type="NONE", kms_key_id=key
        ),
        resource_config=ResourceConfig(
            instance_type=instance_type, instance_count=1, volume_size_in_gb=30, volume_kms_key_id=key
        ),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=max_run_s),
        enable_network_isolation=True,
        enable_inter_container_traffic_encryption=True,
        # Not as Tag: the SDK has two classes of that name, and takes the one that it does not export.
        tags=[
            {"key": "kennel:stage", "value": deployment.stage},
            {"key": "kennel:dataset", "value": dataset},
        ],
    )
    return name


def follow(deployment: Deployment, name: str, say: Callable[[str], None]) -> Finished:
    """Says each line of the job's log as it comes, until the job ends. Raises KennelError unless it completed."""
    sagemaker = deployment.client("sagemaker")
    log = _log_lines(deployment.client("logs"), name)
    secondary = ""
    while True:
        job = sagemaker.describe_training_job(TrainingJobName=name)
        if job["SecondaryStatus"] != secondary:
            secondary = job["SecondaryStatus"]
            say(secondary)
        for line in next(log):
            say(line)
        if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"):
            break
        time.sleep(POLL_S)
    if job["TrainingJobStatus"] != "Completed":
        reason = job.get("FailureReason", "it was stopped")
        raise KennelError(f"Training job {name} {job['TrainingJobStatus'].lower()}: {reason}")
    metrics = {metric["MetricName"]: float(metric["Value"]) for metric in job.get("FinalMetricDataList", [])}
    return Finished(name, job["ModelArtifacts"]["S3ModelArtifacts"], metrics)


def _log_lines(logs: Any, name: str) -> Iterator[list[str]]:
    """Each time it is asked, the lines of the job's log since the last time."""
    stream, token = None, None
    while True:
        lines: list[str] = []
        try:
            if stream is None:
                streams = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")
                stream = next((item["logStreamName"] for item in streams["logStreams"]), None)
            while stream is not None:
                more: dict[str, str] = {"nextToken": token} if token else {}
                answer = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True, **more)
                lines += [event["message"] for event in answer["events"]]
                if answer["nextForwardToken"] == token or not answer["events"]:
                    break
                token = answer["nextForwardToken"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
        yield lines
