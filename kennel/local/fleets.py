"""Endpoints: the serving container with the real server.py and model package, one process group per instance."""

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import urllib3
from moto.sagemaker.models import FakeEndpoint

from kennel.local.logs import LogStream
from kennel.local.ports import free_port
from kennel.local.processes import Processes
from kennel.local.roles import service_session
from kennel.local.transfer import download

START_TIMEOUT_S = 300
INVOCATION_TIMEOUT_S = 60
POLL_S = 0.2
RESTART_DELAY_S = 1.0


class Unavailable(Exception):
    """No instance of the endpoint answers."""


@dataclass(frozen=True)
class FleetSettings:
    """What an endpoint config says of its variant."""

    config_name: str
    variant: str
    instances: int
    package_uri: str
    role_arn: str
    environment: dict[str, str]

    def resized(self, instances: int) -> "FleetSettings":
        """The same with another number of instances."""
        return replace(self, instances=instances)


@dataclass
class _Instance:
    port: int
    process: subprocess.Popen[bytes]
    ready: bool = False


@dataclass
class _Fleet:
    settings: FleetSettings
    package: Path
    instances: list[_Instance] = field(default_factory=list)
    closed: bool = False
    turn: "itertools.count[int]" = field(default_factory=itertools.count)


class Fleets:
    """The fleets of all endpoints; each endpoint's state is moto's record of it."""

    def __init__(self, processes: Processes, folder: Path, endpoint: str) -> None:
        self._processes = processes
        self._folder = folder
        self._endpoint = endpoint
        self._fleets: dict[str, _Fleet] = {}
        self._http = urllib3.PoolManager(retries=False, maxsize=64)

    def deploy(self, endpoint: FakeEndpoint, settings: FleetSettings) -> None:
        """Blue/green: a new fleet is started, and takes over once every instance answers /ping."""
        threading.Thread(target=self._deploy, args=(endpoint, settings), daemon=True).start()

    def resize(self, endpoint: FakeEndpoint, settings: FleetSettings) -> None:
        """Starts or stops instances until there are as many as `settings` says."""
        threading.Thread(target=self._resize, args=(endpoint, settings), daemon=True).start()

    def remove(self, name: str) -> None:
        """Stops the endpoint's fleet."""
        if fleet := self._fleets.pop(name, None):
            self._close(fleet)

    def invoke(self, name: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The answer of one instance, in turn; raises Unavailable if none is ready or the connection breaks."""
        fleet = self._fleets.get(name)
        ready = [instance for instance in fleet.instances if instance.ready] if fleet else []
        if not fleet or not ready:
            raise Unavailable(f"Endpoint {name} has no healthy instance")
        instance = ready[next(fleet.turn) % len(ready)]
        passed = {
            key: value
            for key, value in headers.items()
            if key in ("content-type", "accept") or key.startswith("x-amzn-sagemaker-")
        }
        try:
            answer = self._http.request(
                "POST",
                f"http://127.0.0.1:{instance.port}/invocations",
                body=body,
                headers=passed,
                timeout=INVOCATION_TIMEOUT_S,
            )
        except urllib3.exceptions.HTTPError as error:
            instance.ready = False
            raise Unavailable(f"Endpoint {name}: an instance broke the connection ({type(error).__name__})") from None
        return (
            answer.status,
            {
                "Content-Type": answer.headers.get("Content-Type", "application/octet-stream"),
                "x-Amzn-Invoked-Production-Variant": fleet.settings.variant,
            },
            answer.data,
        )

    def _deploy(self, endpoint: FakeEndpoint, settings: FleetSettings) -> None:
        name = endpoint.endpoint_name
        fleet = _Fleet(settings, self._folder / name / settings.config_name)
        try:
            session = service_session(settings.role_arn, name)
            if not download(session, self._endpoint, settings.package_uri, fleet.package):
                raise Unavailable(f"Could not find model data at {settings.package_uri}")
            self._grow(name, fleet)
        except Exception as error:
            self._close(fleet)
            endpoint.failure_reason = str(error)
            endpoint.endpoint_status = "InService" if name in self._fleets else "Failed"
            return
        old, self._fleets[name] = self._fleets.get(name), fleet
        endpoint.endpoint_config_name = settings.config_name
        endpoint.production_variants = [
            {
                "VariantName": settings.variant,
                "CurrentInstanceCount": settings.instances,
                "DesiredInstanceCount": settings.instances,
                "CurrentWeight": 1.0,
                "DesiredWeight": 1.0,
            }
        ]
        endpoint.failure_reason, endpoint.endpoint_status = None, "InService"
        if old:
            self._close(old)

    def _resize(self, endpoint: FakeEndpoint, settings: FleetSettings) -> None:
        fleet = self._fleets[endpoint.endpoint_name]
        fleet.settings = fleet.settings.resized(settings.instances)
        try:
            self._grow(endpoint.endpoint_name, fleet)
        except Unavailable as error:
            endpoint.failure_reason = str(error)
        surplus, fleet.instances = fleet.instances[settings.instances :], fleet.instances[: settings.instances]
        for instance in surplus:
            self._processes.stop(instance.process)
        for key in ("CurrentInstanceCount", "DesiredInstanceCount"):
            endpoint.production_variants[0][key] = len(fleet.instances)
        endpoint.endpoint_status = "InService"

    def _grow(self, name: str, fleet: _Fleet) -> None:
        """Starts the instances that are missing, and waits until each is ready."""
        for index in range(len(fleet.instances), fleet.settings.instances):
            port = free_port()
            instance = _Instance(port, self._start(name, fleet, index, port))
            fleet.instances.append(instance)
            threading.Thread(target=self._supervise, args=(name, fleet, index, instance), daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not all(instance.ready for instance in fleet.instances):
            if any(instance.process.poll() not in (None, 0) for instance in fleet.instances):
                raise Unavailable("The primary container did not pass the ping health check: the server ended")
            if time.monotonic() > deadline:
                raise Unavailable(f"The primary container did not pass the ping health check in {START_TIMEOUT_S} s")
            time.sleep(POLL_S)

    def _start(self, name: str, fleet: _Fleet, index: int, port: int) -> subprocess.Popen[bytes]:
        process = self._processes.start(
            [
                *(sys.executable, "-m", "kennel.local.serving_container"),
                *(str(fleet.package), "--without-ray", "--port", str(port)),
            ],
            env={
                "PATH": os.environ["PATH"],
                "LANG": "C.UTF-8",
                "PYTHONUNBUFFERED": "1",
                **fleet.settings.environment,
            },
            cwd=fleet.package,
            output=subprocess.PIPE,
        )
        stream = LogStream(
            service_session(fleet.settings.role_arn, name),
            self._endpoint,
            f"/aws/sagemaker/Endpoints/{name}",
            f"{fleet.settings.variant}/i-{index}-{process.pid}",
            self._folder / name / f"instance-{index}.log",
        )
        threading.Thread(target=stream.follow, args=(process.stdout,), daemon=True).start()
        return process

    def _supervise(self, name: str, fleet: _Fleet, index: int, instance: _Instance) -> None:
        """Follows /ping, and replaces a server that has ended, as SageMaker does once it was in service."""
        was_ready = False
        while not fleet.closed and instance in fleet.instances:
            if instance.process.poll() is None:
                instance.ready = self._ping(instance.port)
                was_ready = was_ready or instance.ready
            else:
                instance.ready = False
                if not was_ready:
                    return
                time.sleep(RESTART_DELAY_S)
                if not fleet.closed:
                    instance.process = self._start(name, fleet, index, instance.port)
            time.sleep(POLL_S)

    def _ping(self, port: int) -> bool:
        try:
            return self._http.request("GET", f"http://127.0.0.1:{port}/ping", timeout=2).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _close(self, fleet: _Fleet) -> None:
        fleet.closed = True
        for instance in fleet.instances:
            self._processes.stop(instance.process)
        shutil.rmtree(fleet.package, ignore_errors=True)
