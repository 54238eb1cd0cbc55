"""EC2 instances of Auto Scaling groups: the launch template's user data, run by bash, with metadata of their own.

An instance is a folder and a process group on this machine. Its image has what Amazon Linux has and this machine may
lack; its credentials are those of its instance profile, from its metadata, and nothing else.
"""

import base64
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ministack.services import autoscaling, cloudwatch, ec2, iam

from kennel.local.ec2 import spot
from kennel.local.iam.service_roles import service_credentials
from kennel.local.processes import Processes
from kennel.local.settings import REGION

POLL_S = 0.5
# AWS gives two minutes between the notice and the end.
SPOT_NOTICE_S = 120

_PYTHON = shlex.quote(sys.executable)
PYTHON = f"""#!/bin/bash
# Amazon Linux's Python, played by the project's. A new environment finds its packages: pip has nothing to fetch.
set -e
if [ "$1 $2" != "-m venv" ]; then exec {_PYTHON} "$@"; fi
{_PYTHON} -m venv --without-pip "$3"
for folder in "$3"/lib/python*/site-packages; do
  {_PYTHON} -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' > "$folder/image.pth"
done
printf '#!/bin/bash\nexec "${{0%%pip}}python" -m pip "$@"\n' > "$3/bin/pip"
chmod +x "$3/bin/pip"
"""
DNF = """#!/bin/bash
# Installs Python as the project's; nothing else is asked of it.
for name in "$@"; do
  case "$name" in
    install | -*) ;;
    python3.[0-9]*) ln -sf python-of-the-project "$(dirname "$0")/$name" ;;
    *) echo "No match for argument: $name" >&2; exit 1 ;;
  esac
done
"""


@dataclass
class Machine:
    """A running instance."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    metadata: ThreadingHTTPServer
    notice_until: float | None = None

    @property
    def interrupted(self) -> bool:
        """True if its spot capacity is being reclaimed."""
        return spot.interrupted(self.folder)


class Machines:
    """Starts and ends machines so that they are what the groups' records say."""

    def __init__(self, processes: Processes, folder: Path, endpoint: str) -> None:
        self._processes = processes
        self._folder = folder
        self._endpoint = endpoint
        self._running: dict[str, Machine] = {}

    def watch(self) -> None:
        """Follows the groups, on a thread, for as long as this process lives."""
        threading.Thread(target=self._watch, name="machines", daemon=True).start()

    def _watch(self) -> None:
        while True:
            try:
                self._reconcile()
            except Exception:
                traceback.print_exc()
            time.sleep(POLL_S)

    def _reconcile(self) -> None:
        for group in list(autoscaling._asgs.values()):
            name, wanted_now = group["AutoScalingGroupName"], float(group["DesiredCapacity"])
            of_group = {"AutoScalingGroupName": name}
            cloudwatch.record_metric("AWS/AutoScaling", "GroupDesiredCapacity", wanted_now, "None", of_group)
            self._end_interrupted(group)
            for record in group["Instances"]:
                if record["InstanceId"] not in self._running:
                    self._running[record["InstanceId"]] = self._launch(record["InstanceId"], group)
        wanted = {item["InstanceId"] for group in list(autoscaling._asgs.values()) for item in group["Instances"]}
        for name in set(self._running) - wanted:
            self._terminate(self._running.pop(name))

    def _end_interrupted(self, group: dict[str, Any]) -> None:
        for record in list(group["Instances"]):
            machine = self._running.get(record["InstanceId"])
            if machine is None or not machine.interrupted:
                continue
            machine.notice_until = machine.notice_until or time.monotonic() + SPOT_NOTICE_S
            if machine.process.poll() is not None or time.monotonic() > machine.notice_until:
                group["Instances"].remove(record)
                autoscaling._reconcile_instances(group)

    def _launch(self, name: str, group: dict[str, Any]) -> Machine:
        folder = self._folder / name
        folder.mkdir(parents=True)
        template = launch_template(group["LaunchTemplate"])
        script = folder / "user-data.sh"
        script.write_bytes(base64.b64decode(template["UserData"]))
        metadata = _serve_metadata(name, folder, _role_of(template["IamInstanceProfile"]), template)
        environment = {
            "PATH": os.pathsep.join([str(self._image()), os.environ["PATH"]]),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "AWS_ENDPOINT_URL": self._endpoint,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{metadata.server_address[1]}",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        with (folder / "console.log").open("wb") as console:
            process = self._processes.start(["/bin/bash", str(script)], env=environment, cwd=folder, output=console)
        if template.get("InstanceMarketOptions", {}).get("MarketType") == "spot":
            spot.offer(folder)
        return Machine(name, folder, process, metadata)

    def _terminate(self, machine: Machine) -> None:
        self._processes.stop(machine.process)
        machine.metadata.shutdown()
        machine.metadata.server_close()
        spot.forget(machine.folder)
        for leftover in machine.folder.glob("kennel.*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _image(self) -> Path:
        """The commands of Amazon Linux that this machine may lack."""
        commands = self._folder / "image"
        for name, text in (("python-of-the-project", PYTHON), ("dnf", DNF)):
            file = commands / name
            if not file.exists():
                commands.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                file.chmod(0o755)
        return commands


def launch_template(reference: dict[str, Any]) -> dict[str, Any]:
    """The data of the version of a launch template that a group refers to."""
    template = ec2._launch_templates[reference["LaunchTemplateId"]]
    version = str(reference.get("Version") or template["DefaultVersionNumber"])
    for item in template["Versions"]:
        if str(item["VersionNumber"]) == version:
            data: dict[str, Any] = item["LaunchTemplateData"]
            return data
    raise KeyError(f"launch template {reference} has no version {version}")


def _role_of(profile: dict[str, str]) -> str:
    """The ARN of the role in an instance profile."""
    name = profile.get("Name") or profile["Arn"].rsplit("/", 1)[-1]
    role = iam._instance_profiles[name]["Roles"][0]
    role_name = role if isinstance(role, str) else role["RoleName"]
    return str(iam._roles[role_name]["Arn"])


def _serve_metadata(name: str, folder: Path, role_arn: str, template: dict[str, Any]) -> ThreadingHTTPServer:
    """The instance's metadata service, version 2 only, on a port of its own."""
    role = role_arn.rsplit("/", 1)[-1]
    token = base64.urlsafe_b64encode(os.urandom(24)).decode()

    def document(path: str) -> str | None:
        if path == "spot/instance-action":
            if not spot.interrupted(folder):
                return None
            end = datetime.now(UTC) + timedelta(seconds=SPOT_NOTICE_S)
            return json.dumps({"action": "terminate", "time": f"{end:%Y-%m-%dT%H:%M:%SZ}"})
        if path == f"iam/security-credentials/{role}":
            credentials = service_credentials(role_arn, name)
            return json.dumps(
                {
                    "Code": "Success",
                    "Type": "AWS-HMAC",
                    "AccessKeyId": credentials["AWS_ACCESS_KEY_ID"],
                    "SecretAccessKey": credentials["AWS_SECRET_ACCESS_KEY"],
                    "Token": credentials["AWS_SESSION_TOKEN"],
                    "LastUpdated": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                    "Expiration": f"{datetime.now(UTC) + timedelta(hours=6):%Y-%m-%dT%H:%M:%SZ}",
                }
            )
        return {
            "instance-id": name,
            "instance-type": template.get("InstanceType", ""),
            "placement/region": REGION,
            "iam/security-credentials": role,
        }.get(path)

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._answer(200, token) if self.path == "/latest/api/token" else self._answer(404, "")

        def do_GET(self) -> None:
            if self.headers.get("X-aws-ec2-metadata-token") != token:
                return self._answer(401, "")
            found = document(self.path.removeprefix("/latest/meta-data/").rstrip("/"))
            return self._answer(404, "") if found is None else self._answer(200, found)

        def _answer(self, status: int, text: str) -> None:
            with suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, name=f"metadata-{name}", daemon=True).start()
    return server
