"""A fleet: the serving container with the real server.py and model package, one process group per instance."""

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import urllib3

from kennel.local.cloudwatch.log_stream import LogStream
from kennel.local.iam.service_roles import service_session
from kennel.local.ports import free_port
from kennel.local.processes import Processes
from kennel.local.sagemaker import cpu_limits
from kennel.local.sagemaker.s3_transfer import download, download_archive
from kennel.local.settings import cores

START_TIMEOUT_S = 300
INVOCATION_TIMEOUT_S = 60
POLL_S = 0.2
# Docker's own time between SIGTERM and SIGKILL is 10 s; what SageMaker's is, AWS does not say.
GRACE_S = 10.0
RESTART_DELAY_S = 1.0
# An instance gets no requests after so many health checks in a row without success: one may be late on a busy machine.
MISSES = 3
# The disk of an endpoint's instance without a local one, unless VolumeSizeInGB asks for more (SageMaker's developer
# guide, "SageMaker AI endpoint parameters for large model inference").
VOLUME_BYTES = 30 * 10**9

_http = urllib3.PoolManager(retries=False, maxsize=64)


class Unavailable(Exception):
    """No instance of the endpoint answers."""


class Throttled(Exception):
    """A serverless endpoint has as many requests as it takes at the same time."""


@dataclass(frozen=True)
class FleetSettings:
    """The settings of a variant in an endpoint config."""

    config_name: str
    variant: str
    # None of a serverless variant, which has one process here.
    instance_type: str | None
    instances: int
    # A serverless variant throttles what comes beyond so many requests at the same time.
    max_concurrency: int | None
    # A prefix, or the archive of a package.
    package_uri: str
    role_arn: str
    environment: dict[str, str]
    # The DataCaptureConfig, empty where nothing is captured.
    capture: dict[str, Any] = field(default_factory=dict)

    @property
    def capture_summary(self) -> dict[str, Any]:
        """The data capture in the form of DescribeEndpoint."""
        if not self.capture:
            return {}
        told = {key: self.capture[key] for key in ("DestinationS3Uri", "KmsKeyId") if key in self.capture}
        return told | {
            "EnableCapture": bool(self.capture.get("EnableCapture")),
            "CaptureStatus": "Started" if self.capture.get("EnableCapture") else "Stopped",
            "CurrentSamplingPercentage": self.capture["InitialSamplingPercentage"],
        }

    def resized(self, instances: int) -> "FleetSettings":
        """The same with another number of instances."""
        return replace(self, instances=instances)


@dataclass
class _Instance:
    port: int
    process: subprocess.Popen[bytes]
    # The cores that it has, and the group that limits it to them, if one does.
    cores: float
    limited: Path | None
    ready: bool = False
    # Requests that it has not answered yet.
    under_way: int = 0
    # When its use was read last, and the processor time until then, in seconds.
    read_at: float = 0.0
    cpu_s: float = 0.0

    def cpu_share(self) -> float:
        """The share of its cores that it used since this was called before, 0 to 1."""
        now, before_at, before_s = time.monotonic(), self.read_at, self.cpu_s
        self.read_at, self.cpu_s = now, _cpu_s(self.process.pid)
        return min(1.0, max(0.0, self.cpu_s - before_s) / max(now - before_at, 1e-3) / self.cores)


class Fleet:
    """The instances of one config of one endpoint, in a folder of their own."""

    def __init__(
        self, name: str, settings: FleetSettings, *, processes: Processes, folder: Path, service_endpoint: str
    ) -> None:
        self.name = name
        self.settings = settings
        self._processes = processes
        self._folder = folder
        self._package = folder / "model"
        self._service_endpoint = service_endpoint
        self._instances: list[_Instance] = []
        self._closed = False
        self._lock = threading.Lock()
        self._turn: Iterator[int] = itertools.count()
        most = settings.max_concurrency
        self._places = threading.BoundedSemaphore(most) if most else None

    @property
    def size(self) -> int:
        """The number of instances, ready or not."""
        return len(self._instances)

    def start(self) -> None:
        """Fetches the package and returns once every instance answers /ping; raises Unavailable if one does not."""
        session = service_session(self.settings.role_arn, self.name)
        fetch = download_archive if self.settings.package_uri.endswith(".tar.gz") else download
        if not fetch(session, self._service_endpoint, self.settings.package_uri, self._package):
            raise Unavailable(f"Could not find model data at {self.settings.package_uri}")
        self._grow()

    def resize(self, instances: int) -> None:
        """Starts or stops instances until there are so many; raises Unavailable if a new one does not answer."""
        self.settings = self.settings.resized(instances)
        try:
            self._grow()
        finally:
            surplus, self._instances = self._instances[instances:], self._instances[:instances]
            self._end(surplus)

    def uses(self) -> list[dict[str, float]]:
        """The utilization of each ready instance, in percent: of the processors, 100 for each, of memory and disk.

        An instance has as many processors as its type has; as fast as they are on AWS, they are not.
        """
        kind = self.settings.instance_type
        return [
            {
                "CPUUtilization": 100 * processors(kind) * instance.cpu_share(),
                "MemoryUtilization": 100 * _memory(instance.process.pid) / memory_bytes(kind),
                "DiskUtilization": 100 * _size_bytes(self._folder) / VOLUME_BYTES,
            }
            for instance in self._instances
            if instance.ready
        ]

    def invoke(self, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body of one instance's answer, in turn.

        Raises Unavailable if none is ready or the connection breaks, Throttled if a serverless one is full.
        """
        if self._places is None:
            return self._invoke(headers, body)
        if not self._places.acquire(blocking=False):
            raise Throttled(f"Endpoint {self.name} has {self.settings.max_concurrency} requests already")
        try:
            return self._invoke(headers, body)
        finally:
            self._places.release()

    def _invoke(self, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        ready = [instance for instance in self._instances if instance.ready]
        if not ready:
            raise Unavailable(f"Endpoint {self.name} has no healthy instance")
        instance = ready[next(self._turn) % len(ready)]
        passed = {
            key: value
            for key, value in headers.items()
            if key in ("content-type", "accept") or key.startswith("x-amzn-sagemaker-")
        }
        url = f"http://127.0.0.1:{instance.port}/invocations"
        with self._lock:
            instance.under_way += 1
        try:
            answer = _http.request("POST", url, body=body, headers=passed, timeout=INVOCATION_TIMEOUT_S)
        except urllib3.exceptions.HTTPError as error:
            instance.ready = False
            raise Unavailable(
                f"Endpoint {self.name}: an instance broke the connection ({type(error).__name__})"
            ) from None
        finally:
            with self._lock:
                instance.under_way -= 1
        return answer.status, answer.headers.get("Content-Type", "application/octet-stream"), answer.data

    def close(self) -> None:
        """Stops every instance."""
        self._closed = True
        instances, self._instances = self._instances, []
        self._end(instances)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, instances: list[_Instance]) -> None:
        """Ends instances that get no requests any more, as SageMaker does with this container.

        Its first process ignores SIGTERM (tests/e2e/test_container.py): it answers on until SIGKILL, GRACE_S later.
        """
        deadline = time.monotonic() + GRACE_S
        while any(instance.under_way for instance in instances) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        for instance in instances:
            self._processes.stop(instance.process, term=False)
            if instance.limited:
                cpu_limits.remove(instance.limited)

    def _grow(self) -> None:
        """Starts the instances that are missing, and waits until each is ready."""
        for index in range(len(self._instances), self.settings.instances):
            port = free_port()
            instance = _Instance(port, *self._launch(index, port))
            self._instances.append(instance)
            threading.Thread(target=self._supervise, args=(index, instance), daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not all(instance.ready for instance in self._instances):
            if any(instance.process.poll() not in (None, 0) for instance in self._instances):
                raise Unavailable("The primary container did not pass the ping health check: the server ended")
            if time.monotonic() > deadline:
                raise Unavailable(f"The primary container did not pass the ping health check in {START_TIMEOUT_S} s")
            time.sleep(POLL_S)

    def _launch(self, index: int, port: int) -> tuple[subprocess.Popen[bytes], float, Path | None]:
        process = self._processes.start(
            [
                *(sys.executable, "-m", "kennel.local.sagemaker.serving_container"),
                *(str(self._package), "--without-ray", "--port", str(port)),
            ],
            env={
                "PATH": os.environ["PATH"],
                "LANG": "C.UTF-8",
                "PYTHONUNBUFFERED": "1",
                **self.settings.environment,
            },
            cwd=self._package,
            output=subprocess.PIPE,
        )
        share = cores(index)
        # At once: what it has started before is not limited.
        limited = cpu_limits.limit(process.pid, share) if share else None
        stream = LogStream(
            service_session(self.settings.role_arn, self.name),
            self._service_endpoint,
            f"/aws/sagemaker/Endpoints/{self.name}",
            f"{self.settings.variant}/i-{index}-{process.pid}",
            self._folder / f"instance-{index}.log",
        )
        threading.Thread(target=stream.follow, args=(process.stdout,), daemon=True).start()
        return process, share or float(os.cpu_count() or 1), limited

    def _supervise(self, index: int, instance: _Instance) -> None:
        """Follows /ping, and replaces a server that has ended, as SageMaker does once it was in service."""
        was_ready, missed = False, 0
        while not self._closed and instance in self._instances:
            if instance.process.poll() is None:
                missed = 0 if _ping(instance.port) else missed + 1
                instance.ready = missed == 0 or (instance.ready and missed < MISSES)
                was_ready = was_ready or instance.ready
            else:
                instance.ready = False
                if not was_ready:
                    return
                time.sleep(RESTART_DELAY_S)
                if not self._closed:
                    if instance.limited:
                        cpu_limits.remove(instance.limited)
                    instance.process, instance.cores, instance.limited = self._launch(index, instance.port)
            time.sleep(POLL_S)


def processors(instance_type: str | None) -> int:
    """The processors of an instance by the rule of EC2's sizes: 2 in large and smaller ones, 4 for each x above."""
    size = (instance_type or "ml.m5.large").rpartition(".")[2]
    times = size.removesuffix("xlarge")
    return 2 if times == size else 4 * int(times or 1)


def memory_bytes(instance_type: str | None) -> int:
    """The memory of an instance by the rule of EC2's families: 2 GiB for each processor in c, 8 in r, 4 in others."""
    family = (instance_type or "ml.m5.large").removeprefix("ml.").partition(".")[0]
    return {"c": 2, "r": 8}.get(family[0], 4) * processors(instance_type) * 2**30


def _memory(leader: int) -> float:
    """The memory of a process group in bytes."""
    total = 0.0
    for process in _group(leader):
        with suppress(psutil.Error):  # it may end in the meantime
            total += process.memory_info().rss
    return total


def _cpu_s(leader: int) -> float:
    """The processor time of a process group in seconds, with that of processes that it has waited for."""
    total = 0.0
    for process in _group(leader):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _size_bytes(folder: Path) -> int:
    size = 0
    for root, _, files in os.walk(folder):
        for file in files:
            with suppress(OSError):  # it may be removed in the meantime
                size += os.lstat(os.path.join(root, file)).st_size
    return size


def _group(leader: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(leader)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _ping(port: int) -> bool:
    try:
        return _http.request("GET", f"http://127.0.0.1:{port}/ping", timeout=2).status == 200
    except urllib3.exceptions.HTTPError:
        return False
