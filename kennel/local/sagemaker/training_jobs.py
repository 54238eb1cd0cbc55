"""Training jobs: the real entry point in processes of its own, one for each host, with SageMaker's contract."""

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

from kennel.local.cloudwatch.log_stream import LogStream
from kennel.local.cloudwatch.metric_filters import job_ended
from kennel.local.ec2 import spot
from kennel.local.iam.service_roles import service_session
from kennel.local.processes import Processes
from kennel.local.sagemaker.s3_transfer import download, upload, upload_archive
from kennel.local.sagemaker.training_container import Container, JobFailed, JobStopped

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
FAILURE_REASON_CHARS = 1024
CHECKPOINT_EVERY_S = 5.0
SPOT_POLL_S = 0.5
# What a job gets between SIGTERM and SIGKILL when it is stopped, as in SageMaker.
STOP_GRACE_S = 120.0


class Jobs:
    """Runs training jobs, each on a thread; their state is moto's record of them."""

    def __init__(self, processes: Processes, folder: Path, endpoint: str) -> None:
        self._processes = processes
        self._folder = folder
        self._endpoint = endpoint
        self._running: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._stopped: set[str] = set()

    def start(self, job: FakeTrainingJob, parameters: dict[str, Any]) -> threading.Thread:
        """Starts the job that CreateTrainingJob's `parameters` describe, and returns at once."""
        job.secondary_status_transitions = []
        _move(job, "InProgress", "Starting", "Preparing the instances for training")
        thread = threading.Thread(target=self._run, args=(job, parameters), name=job.training_job_name, daemon=True)
        thread.start()
        return thread

    def stop(self, name: str) -> None:
        """Ends a running job as Stopped."""
        self._stopped.add(name)
        for process in self._running.get(name, []):
            self._processes.stop(process, STOP_GRACE_S)

    def _end(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            self._processes.stop(process)

    def _run(self, job: FakeTrainingJob, parameters: dict[str, Any]) -> None:
        name = job.training_job_name
        count = int(parameters["ResourceConfig"].get("InstanceCount", 1))
        # Names that resolve on this machine: each host is an address of the loopback interface.
        hosts = [f"127.0.0.{number}" for number in range(1, count + 1)]
        containers = [Container(self._folder / name / host / "ml", host, hosts, parameters) for host in hosts]
        try:
            session = service_session(parameters["RoleArn"], f"SageMaker-{name}")
            job.training_start_time = _now()
            while self._attempt(session, job, containers, parameters) == "interrupted":
                _move(job, "InProgress", "Interrupted", "Interrupted: the spot capacity was wanted back")
                spot.forget(self._folder / name)
                for container in containers:
                    shutil.rmtree(container.root)
            _move(job, "InProgress", "Uploading", "Uploading generated training model")
            job.model_artifacts = {"S3ModelArtifacts": self._upload(session, name, containers[0].root, parameters)}
            _move(job, "Completed", "Completed", "Training job completed")
        except JobFailed as failure:
            job.failure_reason = str(failure)[:FAILURE_REASON_CHARS]
            _move(job, "Failed", "Failed", str(failure))
        except JobStopped as end:
            _move(job, "Stopped", end.secondary, str(end))
        except Exception as error:  # an error of the platform's own, a refused S3 call for example
            job.failure_reason = f"ClientError: {error}"[:FAILURE_REASON_CHARS]
            _move(job, "Failed", "Failed", str(error))
            traceback.print_exc()
        finally:
            job.training_end_time = _now()
            spot.forget(self._folder / name)
            for container in containers:
                shutil.rmtree(container.root, ignore_errors=True)
            job_ended(job)

    def _attempt(
        self, session: Any, job: FakeTrainingJob, containers: list[Container], parameters: dict[str, Any]
    ) -> str:
        """From the download to the end of the entry points; says whether it "completed" or was "interrupted"."""
        _move(job, "InProgress", "Downloading", "Downloading input data")
        for container in containers:
            self._prepare(session, container, parameters)
        _move(job, "InProgress", "Training", "Training image download completed. Training in progress.")
        return self._train(session, job, containers, parameters)

    def _prepare(self, session: Any, container: Container, parameters: dict[str, Any]) -> None:
        container.prepare()
        for channel in parameters.get("InputDataConfig", []):
            source = channel["DataSource"]["S3DataSource"]
            if not download(session, self._endpoint, source["S3Uri"], container.channel(channel["ChannelName"])):
                raise JobFailed(f"ClientError: Data download failed: no S3 objects found under {source['S3Uri']}")
        if checkpoints := parameters.get("CheckpointConfig"):
            container.checkpoints.mkdir(parents=True, exist_ok=True)
            download(session, self._endpoint, checkpoints["S3Uri"], container.checkpoints)

    def _train(
        self, session: Any, job: FakeTrainingJob, containers: list[Container], parameters: dict[str, Any]
    ) -> str:
        name = job.training_job_name
        limit_s = parameters.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 86400)
        processes = [
            self._processes.start(
                container.command(),
                env=container.environment(self._endpoint),
                cwd=container.root / "code",
                output=subprocess.PIPE,
            )
            for container in containers
        ]
        self._running[name] = processes
        if name in self._stopped:
            self.stop(name)
        timer = threading.Timer(limit_s, self._end, (processes,))
        timer.daemon = True
        timer.start()
        started, done = time.monotonic(), threading.Event()
        followers = [
            threading.Thread(target=self._follow, args=(session, job, container, process, parameters), daemon=True)
            for container, process in zip(containers, processes, strict=True)
        ]
        keeper = threading.Thread(
            target=self._keep_checkpoints, args=(session, containers[0], parameters, done), daemon=True
        )
        for thread in (*followers, keeper):
            thread.start()
        if parameters.get("EnableManagedSpotTraining"):
            spot.offer(self._folder / name)
            threading.Thread(target=self._watch_spot, args=(self._folder / name, processes), daemon=True).start()
        codes = [process.wait() for process in processes]
        timer.cancel()
        for process in processes:
            self._processes.stop(process)
        for thread in followers:
            thread.join()
        done.set()
        keeper.join()
        del self._running[name]
        if name in self._stopped:
            raise JobStopped("Stopped", "Training job stopped")
        if any(codes) and spot.interrupted(self._folder / name):
            return "interrupted"
        for container, code in zip(containers, codes, strict=True):
            if code != 0:
                if time.monotonic() - started >= limit_s:
                    raise JobStopped("MaxRuntimeExceeded", f"Training job ran for more than {limit_s} s")
                raise JobFailed(container.failure(code, container.root.parent / "job.log"))
        return "completed"

    def _watch_spot(self, folder: Path, processes: list[subprocess.Popen[bytes]]) -> None:
        """Ends the processes, as SageMaker does, when their capacity is wanted back."""
        while all(process.poll() is None for process in processes):
            if spot.interrupted(folder):
                for process in processes:
                    self._processes.stop(process, STOP_GRACE_S)
                return
            time.sleep(SPOT_POLL_S)

    def _follow(
        self,
        session: Any,
        job: FakeTrainingJob,
        container: Container,
        process: subprocess.Popen[bytes],
        parameters: dict[str, Any],
    ) -> None:
        """Sends the output of a host to its log stream, and its metrics to the job."""
        number = int(container.host.rpartition(".")[2])
        stream = f"{job.training_job_name}/algo-{number}-{int(time.time())}"
        log = LogStream(session, self._endpoint, LOG_GROUP, stream, container.root.parent / "job.log")
        assert process.stdout is not None
        log.follow(process.stdout, seen=lambda line: _record_metrics(job, parameters["AlgorithmSpecification"], line))

    def _keep_checkpoints(
        self, session: Any, container: Container, parameters: dict[str, Any], done: threading.Event
    ) -> None:
        """Uploads what changes in the checkpoints, now and then and at the end."""
        if "CheckpointConfig" not in parameters:
            return
        uploaded: dict[Path, int] = {}

        def changed(file: Path) -> bool:
            stamp = file.stat().st_mtime_ns
            before, uploaded[file] = uploaded.get(file), stamp
            return before != stamp

        last = False
        while not last:
            last = done.wait(CHECKPOINT_EVERY_S)
            upload(session, self._endpoint, container.checkpoints, parameters["CheckpointConfig"]["S3Uri"], changed)

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


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
