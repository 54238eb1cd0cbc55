"""The container's own path: Ray Serve runs config.yaml, deployment.py starts server.py and keeps it running."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from environment import REPOSITORY

from kennel import sample

pytestmark = pytest.mark.slow

PORT = 8081
HEALTH = f"http://127.0.0.1:{PORT}/-/healthz"
TIMEOUT_S = 120


def healthy() -> bool:
    try:
        return urllib.request.urlopen(HEALTH, timeout=2).status == 200
    except (urllib.error.URLError, OSError):
        return False


def until_healthy(what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not healthy():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def server() -> psutil.Process:
    """The model server that deployment.py started."""
    return servers()[0]


def servers() -> list[psutil.Process]:
    """The processes that run server.py on the container's port, without their workers."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any("server.py" in part for part in process.info["cmdline"] or []) and listens(process)
    ]


def listens(process: psutil.Process) -> bool:
    try:
        return any(connection.laddr.port == PORT for connection in process.net_connections("inet"))
    except psutil.Error:
        return False


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("container")
    sample.write(folder / "pictures")
    command = [sys.executable, str(REPOSITORY / "training/train.py"), "--epochs", "1"]
    subprocess.run([*command, "--data", str(folder / "pictures"), "--model-dir", str(folder / "model")], check=True)
    return folder / "model"


@pytest.fixture(scope="module")
def container(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the container does: its PYTHONPATH, then serve run."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{package}{os.pathsep}{package / 'code'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    }
    log = tmp_path_factory.mktemp("ray") / "serve.log"
    with log.open("wb") as output:
        serve = subprocess.Popen(
            ["serve", "run", str(package / "config.yaml")],
            env=environment,
            cwd=package,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until_healthy(f"serve run did not start the model server; see {log}")
        yield package
    finally:
        os.killpg(serve.pid, signal.SIGINT)
        try:
            serve.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(serve.pid, signal.SIGKILL)
        subprocess.run(["ray", "stop", "--force"], env=environment, capture_output=True, check=False)
        deadline = time.monotonic() + TIMEOUT_S
        while servers():
            assert time.monotonic() < deadline, "the model server outlives the container"
            time.sleep(0.2)


def test_given_the_container_when_a_picture_is_posted_then_the_model_answers(container: Path) -> None:
    picture = next((container.parent / "pictures" / "test").rglob("*.jpg")).read_bytes()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/", data=picture, headers={"Content-Type": "image/jpeg"})
    assert b'"predictions"' in urllib.request.urlopen(request, timeout=30).read()


def test_given_the_container_when_its_model_server_dies_then_it_is_started_again(container: Path) -> None:
    first = server()
    for process in [*first.children(recursive=True), first]:
        process.kill()
    while first.is_running() and first.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)
    until_healthy("the model server was not started again")
    assert server().pid != first.pid
