"""SageMaker's training container on this machine: folders below a root of its own, variables, entry point."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from kennel.local.iam.service_roles import service_credentials
from kennel.local.settings import REGION, client_environment

CONTAINER_ROOT = "/opt/ml"


class JobFailed(Exception):
    """The job ends as Failed, with this message as its reason."""


class JobStopped(Exception):
    """The job ends as Stopped; `secondary` is its secondary status."""

    def __init__(self, secondary: str, message: str) -> None:
        super().__init__(message)
        self.secondary = secondary


class Container:
    """One host of a training job; `parameters` are those of CreateTrainingJob."""

    def __init__(self, root: Path, host: str, hosts: list[str], parameters: dict[str, Any]) -> None:
        self.root, self.host = root, host
        self._hosts, self._parameters = hosts, parameters

    def prepare(self) -> None:
        """Makes the folders and the files that describe the job."""
        for folder in ("input/config", "input/data", "model", "output", "code", "checkpoints"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        channels = {
            channel["ChannelName"]: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
            for channel in self._parameters.get("InputDataConfig", [])
        }
        documents = {
            "hyperparameters": self._parameters.get("HyperParameters", {}),
            "inputdataconfig": channels,
            "resourceconfig": {
                "current_host": self.host,
                "hosts": self._hosts,
                # The hosts are addresses of the loopback interface.
                "network_interface_name": "lo",
            },
        }
        for document, content in documents.items():
            (self.root / f"input/config/{document}.json").write_text(json.dumps(content))

    def channel(self, name: str) -> Path:
        """The folder of an input channel."""
        return self.root / "input/data" / name

    @property
    def checkpoints(self) -> Path:
        """The folder that is kept in step with S3."""
        path = self._parameters.get("CheckpointConfig", {}).get("LocalPath", f"{CONTAINER_ROOT}/checkpoints")
        return Path(path.replace(CONTAINER_ROOT, str(self.root)))

    def command(self) -> list[str]:
        """The job's own entry point, or what SageMaker's toolkit makes of its `sagemaker_program`."""
        algorithm = self._parameters["AlgorithmSpecification"]
        if "ContainerEntrypoint" in algorithm:
            parts = [*algorithm["ContainerEntrypoint"], *algorithm.get("ContainerArguments", [])]
            return [part.replace(CONTAINER_ROOT, str(self.root)) for part in parts]
        given = {name: _plain(value) for name, value in self._parameters.get("HyperParameters", {}).items()}
        if "sagemaker_program" not in given:
            raise JobFailed("ClientError: the job has neither a ContainerEntrypoint nor the setting sagemaker_program")
        self._unpack(given.get("sagemaker_submit_directory", ""))
        own = {name: value for name, value in given.items() if not name.startswith("sagemaker_")}
        arguments = [part for name, value in sorted(own.items()) for part in (f"--{name}", value)]
        return [sys.executable, given["sagemaker_program"], *arguments]

    def environment(self, endpoint: str) -> dict[str, str]:
        """The container's environment; without network isolation also the role's credentials."""
        parameters = self._parameters
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "SAGEMAKER_BASE_DIR": str(self.root),
            "SM_MODEL_DIR": str(self.root / "model"),
            "SM_OUTPUT_DATA_DIR": str(self.root / "output" / "data"),
            "SM_INPUT_CONFIG_DIR": str(self.root / "input" / "config"),
            "SM_NUM_GPUS": "0",
            "SM_CURRENT_HOST": self.host,
            "SM_HOSTS": json.dumps(self._hosts),
            "TRAINING_JOB_NAME": parameters["TrainingJobName"],
            **{
                f"SM_CHANNEL_{channel['ChannelName'].upper()}": str(self.channel(channel["ChannelName"]))
                for channel in parameters.get("InputDataConfig", [])
            },
            **parameters.get("Environment", {}),
        }
        if "CheckpointConfig" in parameters:
            environment["SM_CHECKPOINT_DIR"] = str(self.checkpoints)
        if not parameters.get("EnableNetworkIsolation"):
            credentials = service_credentials(parameters["RoleArn"], f"SageMaker-{parameters['TrainingJobName']}")
            environment |= client_environment(endpoint, REGION, "") | credentials
        return environment

    def failure(self, code: int, log: Path) -> str:
        """The reason why the entry point ended with `code`: its own words, or its last line."""
        written = self.root / "output" / "failure"
        if written.exists():
            return f"AlgorithmError: {written.read_text()}"
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        return f"AlgorithmError: exit code {code}: {last[0] if last else 'no output'}"

    def _unpack(self, source: str) -> None:
        where = Path(source.replace(CONTAINER_ROOT, str(self.root)))
        if where.is_dir():
            shutil.copytree(where, self.root / "code", dirs_exist_ok=True)
        elif where.is_file() and tarfile.is_tarfile(where):
            (self.root / "code").mkdir(parents=True, exist_ok=True)
            # Not tarfile: Python before 3.11.4 cannot keep members from leaving the folder, tar always does.
            subprocess.run(["tar", "--extract", "--file", where, "--directory", self.root / "code"], check=True)
        else:
            raise JobFailed(f"ClientError: sagemaker_submit_directory {source!r} is neither a folder nor a tar archive")


def _plain(value: str) -> str:
    """SageMaker's SDK writes each value as JSON, other clients as it is."""
    try:
        return str(json.loads(value))
    except json.JSONDecodeError:
        return value
