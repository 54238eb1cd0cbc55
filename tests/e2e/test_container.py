"""AWS's serving container in namespaces of its own, with Ray; and the fast path, which answers like it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers import REPOSITORY
from helpers.serving import TIMEOUT_S, until_healthy
from kennel.local.ports import free_port
from kennel.local.sagemaker.serving_container import PackageError, check

# Requests from within the container, whose network nothing else is in: method, path, file of the body, headers.
CLIENT = """
import json, sys, urllib.error, urllib.request
url, file, headers = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
data = open(file, "rb").read() if file else None
try:
    answer = urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers), timeout=30)
except urllib.error.HTTPError as error:
    answer = error
except OSError as error:
    sys.exit(str(error))
print(json.dumps({"status": answer.status, "headers": dict(answer.headers.items()), "body": answer.read().decode()}))
"""
MODULES = """
import fastapi, httpx, json, starlette, uvicorn
print(json.dumps({module.__name__: module.__version__ for module in (fastapi, httpx, starlette, uvicorn)}))
"""


class Container:
    """A running container: the process that made its namespaces, its log and its package."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, package: Path) -> None:
        self._process, self._log, self.package = process, log, package

    @property
    def first(self) -> psutil.Process:
        """The container's first process, as this machine sees it."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (children := psutil.Process(self._process.pid).children()):
            assert self._process.poll() is None, self.lines()[-30:]
            assert time.monotonic() < deadline, self.lines()[-30:]
            time.sleep(0.05)
        return children[0]

    def inside(self, *command: str) -> "subprocess.CompletedProcess[str]":
        enter = ["nsenter", "--target", str(self.first.pid), "--all", *([] if os.geteuid() == 0 else ["--preserve"])]
        environment = self.first.environ()
        return subprocess.run([*enter, *command], env=environment, capture_output=True, text=True, check=False)

    def ask(self, path: str, body: Path | None = None, **headers: str) -> dict[str, Any] | None:
        """The adapter's answer; None if there is none."""
        url = f"http://127.0.0.1:8080{path}"
        result = self.inside(sys.executable, "-c", CLIENT, url, str(body or ""), json.dumps(headers))
        return json.loads(result.stdout) if result.returncode == 0 else None

    def servers(self) -> list[psutil.Process]:
        found = []
        for process in self.first.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "server.py" in {Path(part).name for part in process.cmdline()}:
                    found.append(process)
        return found

    def until(self, path: str, status: int) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while (answer := self.ask(path)) is None or answer["status"] != status:
            assert time.monotonic() < deadline, f"{path} is not {status}: {answer}\n{self.lines()[-30:]}"
            assert self._process.poll() is None, self.lines()[-30:]
            time.sleep(0.3)

    def lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()


@pytest.fixture(scope="module")
def container(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    log = tmp_path_factory.mktemp("ray") / "container.log"
    environment = {
        **os.environ,
        "RAYSERVE_BACKEND_URL": "http://127.0.0.1:8081",
        "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    }
    with log.open("wb") as output:
        command = [sys.executable, "-m", "kennel.local.sagemaker.serving_container", str(package)]
        process = subprocess.Popen(
            command, env=environment, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    running = Container(process, log, package)
    try:
        running.until("/ping", 200)
        yield running
    finally:
        inside = [running.first, *running.first.children(recursive=True)] if process.poll() is None else []
        # As SageMaker ends one: SIGKILL, with which all of its processes end.
        process.kill()
        process.wait()
        psutil.wait_procs(inside, timeout=TIMEOUT_S)
        assert not any(item.is_running() and item.status() != psutil.STATUS_ZOMBIE for item in inside)


def image(container: Container) -> Path:
    return next((container.package.parent / "images" / "test").rglob("*.jpg"))


def test_adapter_returns_model_predictions(container: Container) -> None:
    sent = {"Content-Type": "image/jpeg", "X-Amzn-SageMaker-Custom-Attributes": "top_k=2"}
    answer = container.ask("/invocations", image(container), **sent)
    assert answer is not None
    assert len(json.loads(answer["body"])["predictions"]) == 2
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    assert headers["x-amzn-sagemaker-custom-attributes"].startswith("queue_ms=")


def test_fast_path_answers_the_same(container: Container, tmp_path: Path) -> None:
    """The embedded AWS's endpoints run without Ray: the same answers to good and bad requests."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "kennel.local.sagemaker.serving_container",
        str(container.package),
        "--without-ray",
    ]
    (tmp_path / "text.jpg").write_text("text")
    process = subprocess.Popen([*command, "--port", str(port)], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    try:
        until_healthy(f"http://127.0.0.1:{port}/ping", "the fast path did not start")
        for body in (image(container), tmp_path / "text.jpg"):
            (tmp_path / "body").write_bytes(body.read_bytes())
            real = container.inside(
                sys.executable, "-c", CLIENT, "http://127.0.0.1:8080/invocations", str(tmp_path / "body"), SENT
            )
            fast = subprocess.run(
                [sys.executable, "-c", CLIENT, f"http://127.0.0.1:{port}/invocations", str(tmp_path / "body"), SENT],
                capture_output=True,
                text=True,
                check=True,
            )
            one, other = json.loads(real.stdout), json.loads(fast.stdout)
            assert one["status"] == other["status"]
            assert json.loads(one["body"]) == json.loads(other["body"])
            assert {name.lower() for name in one["headers"]} == {name.lower() for name in other["headers"]}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT_S)


SENT = json.dumps({"Content-Type": "image/jpeg"})


def test_log_lines_are_json_by_themselves(container: Container) -> None:
    """CloudWatch finds metrics and fields in events that are JSON, and Ray puts a coloured prefix before each line."""
    container.ask("/invocations", image(container), **{"Content-Type": "image/jpeg"})
    deadline = time.monotonic() + TIMEOUT_S

    def documents() -> list[dict[str, Any]]:
        return [json.loads(line) for line in container.lines() if line.startswith("{")]

    while not any("_aws" in document for document in documents()):
        assert time.monotonic() < deadline, container.lines()[-30:]
        time.sleep(0.5)
    assert any("queue_ms" in document for document in documents())
    assert not [line for line in container.lines() if re.match(r".+\{.*(queue_ms|_aws)", line)]


def test_container_is_isolated_and_model_read_only(container: Container) -> None:
    reached = container.inside(sys.executable, "-c", "import socket; socket.create_connection(('10.0.0.1', 53), 2)")
    assert "Network is unreachable" in reached.stderr
    written = container.inside("touch", "/opt/ml/model/x")
    assert "Read-only file system" in written.stderr
    versions = json.loads(container.inside(sys.executable, "-c", MODULES).stdout)
    pinned = (REPOSITORY / "requirements-image.txt").read_text().split("\n")
    assert {f"{name}=={version}" for name, version in versions.items()} == {line for line in pinned if "==" in line}


def test_dead_model_server_fails_ping_and_restarts(container: Container) -> None:
    (first,) = container.servers()
    first.kill()
    container.until("/ping", 503)
    container.until("/ping", 200)
    (second,) = container.servers()
    assert second.pid != first.pid


def test_sigterm_is_ignored_as_by_aws_entrypoint(container: Container) -> None:
    """AWS's script is the first process and has no trap: the kernel drops the signal, nothing drains."""
    assert container.inside("kill", "-TERM", "1").returncode == 0
    time.sleep(3)
    answer = container.ask("/ping")
    assert answer is not None
    assert answer["status"] == 200


def test_package_with_pip_or_no_config_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"no config\.yaml"):
        check(tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "requirements.txt").write_text("onnxruntime")
    with pytest.raises(PackageError, match="pip"):
        check(tmp_path)
