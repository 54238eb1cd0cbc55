"""Training jobs: the real entry point in a process of its own, with the contract of SageMaker's training container."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.sagemaker.models import FakeTrainingJob

from kennel.local.logs import LogStream
from kennel.local.processes import Processes
from kennel.local.roles import service_credentials, service_session
from kennel.local.settings import client_environment
from kennel.local.transfer import download, upload, upload_archive

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
CONTAINER_ROOT = "/opt/ml"
FAILURE_REASON_CHARS = 1024


class JobFailed(Exception):
    """The job ends as Failed, with this message as its reason."""


class Jobs:
    """Runs training jobs, each on a thread; their state is moto's record of them."""

    def __init__(self, processes: Processes, folder: Path, endpoint: str) -> None:
        self._processes = processes
        self._folder = folder
        self._endpoint = endpoint
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped: set[str] = set()

    def start(self, job: FakeTrainingJob, parameters: dict[str, Any]) -> None:
        """Starts the job that CreateTrainingJob's `parameters` describe, and returns at once."""
        job.secondary_status_transitions = []
        _move(job, "InProgress", "Starting", "Preparing the instances for training")
        threading.Thread(target=self._run, args=(job, parameters), name=job.training_job_name, daemon=True).start()

    def stop(self, name: str) -> None:
        """Ends a running job as Stopped."""
        self._stopped.add(name)
        if process := self._running.get(name):
            self._processes.stop(process)

    def _run(self, job: FakeTrainingJob, parameters: dict[str, Any]) -> None:
        name = job.training_job_name
        root = self._folder / name / "ml"
        try:
            session = service_session(parameters["RoleArn"], f"SageMaker-{name}")
            _move(job, "InProgress", "Downloading", "Downloading input data")
            self._prepare(session, root, parameters)
            _move(job, "InProgress", "Training", "Training image download completed. Training in progress.")
            job.training_start_time = _now()
            self._train(session, job, root, parameters)
            _move(job, "InProgress", "Uploading", "Uploading generated training model")
            job.model_artifacts = {"S3ModelArtifacts": self._upload(session, name, root, parameters)}
            _move(job, "Completed", "Completed", "Training job completed")
        except JobFailed as failure:
            status = "Stopped" if name in self._stopped else "Failed"
            if status == "Failed":
                job.failure_reason = str(failure)[:FAILURE_REASON_CHARS]
            _move(job, status, status, str(failure))
        except Exception as error:  # an error of the platform's own, a refused S3 call for example
            job.failure_reason = f"ClientError: {error}"[:FAILURE_REASON_CHARS]
            _move(job, "Failed", "Failed", str(error))
            traceback.print_exc()
        finally:
            job.training_end_time = _now()
            shutil.rmtree(root, ignore_errors=True)

    def _prepare(self, session: Any, root: Path, parameters: dict[str, Any]) -> None:
        for folder in ("input/config", "input/data", "model", "output", "code"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        channels = {}
        for channel in parameters.get("InputDataConfig", []):
            source = channel["DataSource"]["S3DataSource"]
            folder = root / "input/data" / channel["ChannelName"]
            if not download(session, self._endpoint, source["S3Uri"], folder):
                raise JobFailed(f"ClientError: Data download failed: no S3 objects found under {source['S3Uri']}")
            channels[channel["ChannelName"]] = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
        documents = {
            "hyperparameters": parameters.get("HyperParameters", {}),
            "inputdataconfig": channels,
            "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"},
        }
        for document, content in documents.items():
            (root / f"input/config/{document}.json").write_text(json.dumps(content))

    def _train(self, session: Any, job: FakeTrainingJob, root: Path, parameters: dict[str, Any]) -> None:
        name, algorithm = job.training_job_name, parameters["AlgorithmSpecification"]
        if "ContainerEntrypoint" not in algorithm:
            raise JobFailed(
                "ClientError: the embedded AWS runs jobs that name their ContainerEntrypoint; this one does not"
            )
        command = [*algorithm["ContainerEntrypoint"], *algorithm.get("ContainerArguments", [])]
        stream = f"{name}/algo-1-{int(time.time())}"
        log = LogStream(session, self._endpoint, LOG_GROUP, stream, root.parent / "job.log")
        process = self._processes.start(
            [part.replace(CONTAINER_ROOT, str(root)) for part in command],
            env=self._environment(root, parameters),
            cwd=root / "code",
            output=subprocess.PIPE,
        )
        self._running[name] = process
        if name in self._stopped:
            self._processes.stop(process)
        limit_s = parameters.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 86400)
        timer = threading.Timer(limit_s, self._processes.stop, (process,))
        timer.daemon = True
        timer.start()
        started = time.monotonic()
        assert process.stdout is not None
        log.follow(process.stdout, seen=lambda line: _record_metrics(job, algorithm, line))
        code = process.wait()
        timer.cancel()
        self._processes.stop(process)
        del self._running[name]
        if name in self._stopped:
            raise JobFailed("Training job stopped")
        if code != 0:
            if time.monotonic() - started >= limit_s:
                raise JobFailed(f"MaxRuntimeExceeded: the job ran longer than {limit_s} s")
            raise JobFailed(_failure(root, code))

    def _environment(self, root: Path, parameters: dict[str, Any]) -> dict[str, str]:
        """What the container has set; without network isolation also the role's credentials."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "SAGEMAKER_BASE_DIR": str(root),
            "SM_MODEL_DIR": str(root / "model"),
            "SM_OUTPUT_DATA_DIR": str(root / "output" / "data"),
            "SM_INPUT_CONFIG_DIR": str(root / "input" / "config"),
            "SM_NUM_GPUS": "0",
            "SM_CURRENT_HOST": "algo-1",
            "SM_HOSTS": '["algo-1"]',
            "TRAINING_JOB_NAME": parameters["TrainingJobName"],
            **{
                f"SM_CHANNEL_{channel['ChannelName'].upper()}": str(root / "input/data" / channel["ChannelName"])
                for channel in parameters.get("InputDataConfig", [])
            },
            **parameters.get("Environment", {}),
        }
        if not parameters.get("EnableNetworkIsolation"):
            environment |= client_environment(self._endpoint)
            environment |= service_credentials(parameters["RoleArn"], f"SageMaker-{parameters['TrainingJobName']}")
        return environment

    def _upload(self, session: Any, name: str, root: Path, parameters: dict[str, Any]) -> str:
        output = parameters["OutputDataConfig"]
        prefix = f"{output['S3OutputPath'].rstrip('/')}/{name}/output"
        if output.get("CompressionType") == "NONE":
            upload(session, self._endpoint, root / "model", f"{prefix}/model")
            return f"{prefix}/model/"
        upload_archive(session, self._endpoint, root / "model", f"{prefix}/model.tar.gz")
        return f"{prefix}/model.tar.gz"


def _move(job: FakeTrainingJob, status: str, secondary: str, message: str) -> None:
    now = _now()
    for transition in job.secondary_status_transitions[-1:]:
        transition["EndTime"] = now
    job.secondary_status_transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})
    job.training_job_status, job.secondary_status, job.last_modified_time = status, secondary, now


def _record_metrics(job: FakeTrainingJob, algorithm: dict[str, Any], line: str) -> None:
    for definition in algorithm.get("MetricDefinitions", []):
        if match := re.search(definition["Regex"], line):
            others = [item for item in job.final_metric_data_list if item["MetricName"] != definition["Name"]]
            value = {"MetricName": definition["Name"], "Value": float(match.group(1)), "Timestamp": _now()}
            job.final_metric_data_list = [*others, value]


def _failure(root: Path, code: int) -> str:
    written = root / "output" / "failure"
    if written.exists():
        return f"AlgorithmError: {written.read_text()}"
    last = (root.parent / "job.log").read_text(errors="replace").strip().splitlines()[-1:]
    return f"AlgorithmError: exit code {code}: {last[0] if last else 'no output'}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
