"""The container's own path: Ray Serve runs config.yaml, deployment.py starts server.py, the adapter answers."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from helpers import REPOSITORY
from helpers.serving import TIMEOUT_S, until_healthy
from kennel.local.ports import answers
from kennel.local.serving_container import PackageError, check

ADAPTER, SERVER = "http://127.0.0.1:8080", "http://127.0.0.1:8081"


def servers() -> list[psutil.Process]:
    """The processes that run server.py of a container."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"server.py", "--with-parent"} <= {Path(part).name for part in process.info["cmdline"] or []}
        and process.status() != psutil.STATUS_ZOMBIE
    ]


@pytest.fixture(scope="module")
def container(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    log = tmp_path_factory.mktemp("ray") / "container.log"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAYSERVE_BACKEND_URL": SERVER,
        "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    }
    with log.open("wb") as output:
        command = [sys.executable, "-m", "kennel.local.serving_container", str(package)]
        running = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT)
    try:
        until_healthy(f"{ADAPTER}/ping", f"the container did not start; see {log}")
        yield package
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(TIMEOUT_S)
        deadline = time.monotonic() + TIMEOUT_S
        while servers():
            assert time.monotonic() < deadline, "the model server outlives the container"
            time.sleep(0.2)


def picture(container: Path) -> bytes:
    return next((container.parent / "images" / "test").rglob("*.jpg")).read_bytes()


def test_adapter_returns_model_predictions(
    container: Path,
) -> None:
    headers = {"Content-Type": "image/jpeg", "X-Amzn-SageMaker-Custom-Attributes": "top_k=2"}
    request = urllib.request.Request(f"{ADAPTER}/invocations", data=picture(container), headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert len(json.loads(answer.read())["predictions"]) == 2
        assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"].startswith("queue_ms=")


def test_dead_model_server_fails_ping_and_restarts(
    container: Path,
) -> None:
    (first,) = servers()
    first.kill()
    while answers(f"{ADAPTER}/ping"):
        time.sleep(0.05)
    until_healthy(f"{ADAPTER}/ping", "the model server was not started again")
    (second,) = servers()
    assert second.pid != first.pid


def test_package_with_pip_or_no_config_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"no config\.yaml"):
        check(tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "requirements.txt").write_text("onnxruntime")
    with pytest.raises(PackageError, match="pip"):
        check(tmp_path)
