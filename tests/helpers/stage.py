"""A stage on an embedded AWS of its own, deployed in seconds, and the real command lines to work on it."""

import base64
import contextlib
import copy
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config

from helpers import REPOSITORY
from helpers.kept import assembly, change, package
from kennel.client.function_url import Url
from kennel.local import control
from kennel.local.control import Running
from kennel.local.ports import free_port
from kennel.local.settings import ACCOUNT_KINDS, REGION, isolate, isolated_environment, state_dir
from kennel.models import packages, promotion
from kennel.operations import account_bootstrap
from kennel.stage.deployed import DeployedStage, cdk_json
from kennel.stage.embedded_aws import TABLES

# For make in the checkout, where it is not its own environment that runs the tests. (make takes no path with a space.)
OTHER_VENV = {} if Path(sys.prefix) == REPOSITORY / ".venv" else {"VENV": sys.prefix}
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{REPOSITORY / 'node_modules' / '.bin'}"
# Trains in seconds: an untrained network of three layers.
TINY = ("--set", "backbone=tiny_random")
CHECKPOINT = "checkpoint.pt"
# The run that the stage's package is said to come from.
RUN = "kennel-dev-first"
PHOTOGRAPHS = Path(os.environ.get("KENNEL_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "hymenoptera"

# Functions of these names ask what a role may do; what they were allowed is no use of a grant.
PROBES = "probe"
PROBE = """
import boto3, os
def handle(event, context):
    if "service" not in event:
        return {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")}
    client = boto3.client(event["service"])
    try:
        getattr(client, event["operation"])(**event["arguments"])
    except client.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return "Allowed"
"""


@dataclass(frozen=True)
class Environment:
    """Where the embedded AWS is, and the images that the stage's package was trained on, with what it predicts."""

    server: Running
    images: Path
    predictions: list[dict[str, str]]

    @cached_property
    def templates(self) -> dict[str, dict[str, Any]]:
        """By the last part of the stack's name."""
        files = assembly().glob("Kennel-dev-*.template.json")
        return {file.name.split(".")[0].rpartition("-")[2]: json.loads(file.read_text()) for file in files}

    def fingerprint(self) -> dict[str, Any]:
        """What a module that shares the stage leaves as it found it."""
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        endpoint = self.client("sagemaker").describe_endpoint(EndpointName="kennel-dev-scaled")
        function = self.client("lambda").get_function_configuration(FunctionName=self.output("Api", "FunctionName"))
        return {
            "stacks": {stack["StackName"]: stack["StackStatus"] for stack in stacks},
            "endpoint": [endpoint["EndpointConfigName"], endpoint["EndpointStatus"]],
            "instances": endpoint["ProductionVariants"][0]["DesiredInstanceCount"],
            "function": function["CodeSha256"],
            "promoted": promotion.promoted(DeployedStage("dev")),
        }

    @property
    def package(self) -> str:
        """The prefix of the promoted package."""
        uri = promotion.promoted(DeployedStage("dev"))
        assert uri
        return uri

    @property
    def variables(self) -> dict[str, str]:
        environment = isolated_environment(*self.server.access)
        return {
            **environment,
            "PATH": f"{TOOLS}{os.pathsep}{environment['PATH']}",
            "CI": "true",
            "COLUMNS": "200",
        }

    def run(self, *command: str, cwd: Path = REPOSITORY, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Runs a command against the embedded AWS; its errors are in its output too."""
        result = subprocess.run(
            command,
            cwd=cwd,
            env=self.variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if check:
            assert result.returncode == 0, result.stdout
        return result

    def bootstrap(self, stage: str = "dev", **changes: dict[str, Any]) -> None:
        """`kennel bootstrap`, with settings of the stage's parts changed."""
        settings = copy.deepcopy(cdk_json()["context"]["stages"][stage])
        change(settings, changes)
        target, arguments = account_bootstrap.prepare(DeployedStage.configured_by(stage, settings))
        self.run("cdk", "bootstrap", target, *arguments)

    def deploy(self, *stacks: str, app: Path | None = None, check: bool = True) -> str:
        """The output of `cdk deploy` of some stacks of a cloud assembly, dev's by default; words with - as they are."""
        names = [stack if "-" in stack else f"Kennel-dev-{stack}" for stack in stacks]
        command = ("cdk", "deploy", "--app", str(app or assembly()), "--require-approval", "never")
        return self.run(*command, "--progress", "events", *names, check=check).stdout

    def client(self, service: str, config: Config | None = None) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.server.endpoint,
            region_name=self.server.region,
            aws_access_key_id=self.server.key,
            aws_secret_access_key=self.server.key,
            config=config,
        )

    def output(self, stack: str, key: str) -> str:
        return DeployedStage("dev").output(stack, key)

    def url(self) -> Url:
        return Url(DeployedStage("dev"))

    def image(self, index: int = 0) -> bytes:
        """A test image that the model predicts rightly, as all of them."""
        return (self.images / self.predictions[index]["image"]).read_bytes()

    def objects(self, prefix: str) -> set[str]:
        """The keys below a prefix of the model bucket, without it."""
        bucket = self.output("Data", "ModelBucket")
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", [])}

    def servers(self) -> list[psutil.Process]:
        """The processes of the model servers."""
        found = []
        for child in psutil.Process(self.server.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it may end in the meantime
                if any("server.py" in part for part in child.cmdline()):
                    found.append(child)
        return found

    def as_role(self, role_arn: str, service: str, operation: str, **arguments: Any) -> str:
        """What a call gets that is made with real credentials of a role: an error code, or "Allowed"."""
        outcome = self._probe(
            f"{PROBES}-{role_arn.rsplit('/', 1)[-1]}",
            role_arn,
            service=service,
            operation=operation,
            arguments=arguments,
        )
        assert isinstance(outcome, str), outcome
        return outcome

    def credentials(self, role_arn: str) -> dict[str, str]:
        """Real credentials of a role, as variables."""
        variables: dict[str, str] = self._probe(f"as-{role_arn.rsplit('/', 1)[-1]}", role_arn)
        return variables

    def _probe(self, name: str, role_arn: str, **event: Any) -> Any:
        """What a function with a role answers to `event`."""
        functions = self.client("lambda")
        name = name[:64]
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("probe.py", PROBE)
        with contextlib.suppress(functions.exceptions.ResourceConflictException):
            functions.create_function(
                FunctionName=name,
                Role=role_arn,
                Runtime="python3.13",
                Handler="probe.handle",
                Code={"ZipFile": buffer.getvalue()},
                Timeout=60,
            )
        return json.load(functions.invoke(FunctionName=name, Payload=json.dumps(event).encode())["Payload"])

    def put_package(self, run: str, folder: Path) -> None:
        """Uploads a model package as if a job had made it."""
        bucket = self.output("Data", "ModelBucket")
        for file in folder.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                key = f"{packages.key(run)}{file.relative_to(folder).as_posix()}"
                self.client("s3").put_object(Bucket=bucket, Key=key, Body=file.read_bytes())

    def copy_package(
        self, job: str, *, name: str | None = None, without: str = "", changed: dict[str, bytes] | None = None
    ) -> None:
        """A second package, as if the job `job` had made it: renamed, without a file, or with others."""
        s3, bucket = self.client("s3"), self.output("Data", "ModelBucket")
        prefix, changed = packages.key(RUN), changed or {}
        model = json.loads(self.package_file("model.json"))
        hashes = {file: hashlib.sha256(body).hexdigest() for file, body in changed.items()}
        model |= {"name": name or model["name"], "sha256": model["sha256"] | hashes}
        model["sha256"].pop(without, None)
        for file in (*model["sha256"], packages.REPORT):
            copied = {"Bucket": bucket, "Key": f"{packages.key(job)}{file}"}
            if file in changed:
                s3.put_object(**copied, Body=changed[file])
            else:
                s3.copy_object(**copied, CopySource={"Bucket": bucket, "Key": f"{prefix}{file}"})
        s3.put_object(Bucket=bucket, Key=f"{packages.key(job)}model.json", Body=json.dumps(model).encode())

    def package_file(self, file: str) -> bytes:
        """A file of the stage's first package."""
        return packages.read(DeployedStage("dev"), RUN, file)

    def endpoint(self) -> dict[str, Any]:
        described: dict[str, Any] = self.client("sagemaker").describe_endpoint(EndpointName="kennel-dev-scaled")
        return described

    def stack_status(self, stack: str) -> str:
        stacks = self.client("cloudformation").describe_stacks(StackName=f"Kennel-dev-{stack}")["Stacks"]
        return str(stacks[0]["StackStatus"])


def project_copy(folder: Path, **changes: dict[str, Any]) -> Path:
    """The project in another folder, with settings of the dev stage changed, as for `helpers.kept.assembly`.

    What is installed is lent to it; the commands that run there import its own kennel with PYTHONPATH, or as a module.
    """
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    for file in files:
        if (REPOSITORY / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / file, folder / file)
            # Older than what is installed, or make would install the copy in its place.
            os.utime(folder / file, (0, 0))
    (folder / "build").mkdir()
    (folder / "build" / "wheels").symlink_to(REPOSITORY / "build" / "wheels")
    for name, lent in (("node_modules", REPOSITORY / "node_modules"), (".venv", Path(sys.prefix))):
        (folder / name).symlink_to(lent)
    settings = json.loads((folder / "cdk.json").read_text())
    del settings["build"]
    change(settings["context"]["stages"]["dev"], changes)
    (folder / "cdk.json").write_text(json.dumps(settings))
    return folder


@contextlib.contextmanager
def embedded_aws(folder: Path, *, account: str = ACCOUNT_KINDS[0], region: str = REGION) -> Iterator[Running]:
    """An empty embedded AWS with its state in `folder`, which this process's environment points to in the meantime."""
    saved = dict(os.environ)
    os.environ["KENNEL_LOCAL_DIR"] = str(folder)
    try:
        # Never the default port, which two test processes would both find free; and not for longer than this process.
        server = control.up(free_port(), tables=TABLES, region=region, account=account, with_parent=True)
        isolate(*server.access)
        yield server
    finally:
        os.environ["KENNEL_LOCAL_DIR"] = str(folder)
        control.down()
        os.environ.clear()
        os.environ.update(saved)


@contextlib.contextmanager
def deployed_stage(folder: Path) -> Iterator[Environment]:
    """The dev stage as `make demo KEEP=1` leaves it: bootstrapped, deployed, with a package that is promoted."""
    made = package()
    with embedded_aws(folder) as server:
        stage = Environment(server, made / "images", json.loads((made / "predictions.json").read_text()))
        stage.bootstrap()
        stage.deploy("Data", "Training")
        stage.put_package(RUN, made / "model")
        promotion.promote(DeployedStage("dev"), RUN)
        stage.deploy("Serving", "Api", "Operations")
        yield stage


def interrupted_once(deployed: Environment, command: tuple[str, ...]) -> str:
    """The output of a fine-tuning that is given a spot notice as soon as it has a checkpoint."""
    before = checkpoints()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=deployed.variables, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None and checkpoints() <= before:
            time.sleep(0.05)
        notice = deployed.run("kennel", "local", "interrupt").stdout
        status = process.wait()
        output.seek(0)
        said = output.read()
    assert status == 0, said
    assert "Interrupted: " in notice, said
    return said


def checkpoints() -> set[Path]:
    """Those of trainings that run on the embedded AWS."""
    # os.walk passes over folders that vanish in the meantime, as pip's do.
    walks = (os.walk(state_dir() / kind) for kind in ("jobs", "instances"))
    return {Path(folder, name) for walk in walks for folder, _, names in walk for name in names if name == CHECKPOINT}


def encoded(data: bytes) -> bytes:
    """An image as the JSON form of a request."""
    return json.dumps({"image": base64.b64encode(data).decode()}).encode()
