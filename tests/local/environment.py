"""The embedded AWS with the dev stage on it, and the real command lines to work on it."""

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config

from kennel.calling import Url
from kennel.deployment import Deployment
from kennel.local.control import Running
from kennel.local.settings import REGION, isolated_environment

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{REPOSITORY / 'node_modules' / '.bin'}"
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
    """Where the embedded AWS is, what the demo found out, and which templates it deployed."""

    server: Running
    facts: dict[str, Any]
    pictures: Path
    templates: dict[str, dict[str, Any]]

    @property
    def variables(self) -> dict[str, str]:
        environment = isolated_environment(self.server.endpoint)
        return {**environment, "PATH": f"{TOOLS}{os.pathsep}{environment['PATH']}", "CI": "true", "COLUMNS": "200"}

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

    def deploy(self, *stacks: str, cwd: Path = REPOSITORY, check: bool = True) -> str:
        """The output of `cdk deploy` of some stacks of the dev stage, or of whole stack names."""
        names = [stack if "-" in stack else f"Kennel-dev-{stack}" for stack in stacks]
        return self.run(
            "cdk", "deploy", *names, "--require-approval", "never", "--progress", "events", cwd=cwd, check=check
        ).stdout

    def client(self, service: str, config: Config | None = None) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.server.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=config,
        )

    def output(self, stack: str, key: str) -> str:
        return Deployment("dev").output(stack, key)

    def url(self) -> Url:
        return Url(Deployment("dev"))

    def picture(self) -> bytes:
        row = self.facts["predictions"][0]
        return (self.pictures / row["picture"]).read_bytes()

    def servers(self) -> list[psutil.Process]:
        """The processes of the model servers."""
        found = []
        for child in psutil.Process(self.server.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it may end meanwhile
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

    def project_copy(self, folder: Path) -> Path:
        """The project in another folder, to change its configuration there."""
        files = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\n")
        for file in filter(None, files):
            if (REPOSITORY / file).is_file():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / file, folder / file)
        (folder / "build").mkdir()
        (folder / "build" / "wheels").symlink_to(REPOSITORY / "build" / "wheels")
        (folder / "node_modules").symlink_to(REPOSITORY / "node_modules")
        settings = json.loads((folder / "cdk.json").read_text())
        del settings["build"]
        (folder / "cdk.json").write_text(json.dumps(settings))
        return folder


def encoded(data: bytes) -> bytes:
    """A picture as the JSON form of a request."""
    return json.dumps({"image": base64.b64encode(data).decode()}).encode()
