"""The embedded AWS leaves nothing behind, however it or the demo ends, and cannot be mistaken for the real one."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from helpers import REPOSITORY
from helpers.stage import project_copy
from helpers.workday import until
from kennel.local import control, settings
from kennel.local.errors import LocalError
from kennel.stage.embedded_aws import TABLES

TIMEOUT_S = 120
# What shells of people who use AWS have set.
OPERATOR = {
    "AWS_PROFILE": "work",
    "AWS_DEFAULT_PROFILE": "work",
    "AWS_SESSION_TOKEN": "a-session-of-yesterday",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_REGION": "eu-west-1",
    "AWS_CA_BUNDLE": "/nowhere/ca.pem",
    "AWS_USE_FIPS_ENDPOINT": "true",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of its own; its path marks the processes that belong to it."""
    monkeypatch.setenv("KENNEL_LOCAL_DIR", str(tmp_path))
    yield tmp_path
    control.down()


def family(folder: Path) -> list[psutil.Process]:
    """Every process of this machine that runs with this state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("KENNEL_LOCAL_DIR") == str(folder) and process.pid != os.getpid():
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def gone(folder: Path) -> bool:
    deadline = time.monotonic() + TIMEOUT_S
    while family(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return family(folder) == []


def test_stop_leaves_no_process_and_allows_restart(folder: Path) -> None:
    running = control.up(tables=TABLES)
    assert control.status() == running
    with pytest.raises(LocalError, match="up already"):
        control.up(tables=TABLES)
    assert control.down() is True
    assert gone(folder)
    assert control.status() is None
    assert control.down() is False
    control.up(tables=TABLES)


def test_killed_server_leaves_no_children(folder: Path) -> None:
    running = control.up(tables=TABLES)
    os.kill(running.pid, signal.SIGKILL)
    assert gone(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo writes into the folder of its project."""
    return project_copy(tmp_path_factory.mktemp("demo") / "project")


def demo_until(moment: str, project: Path) -> tuple["subprocess.Popen[str]", IO[str]]:
    """A running demo that has just said `moment`, and the rest of its output."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "kennel", "demo"],
        cwd=project,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if moment in line:
            return demo, demo.stdout
    raise AssertionError(f"the demo ended without saying {moment!r}")


@pytest.mark.parametrize("moment", ["Images checked", "Embedded AWS started", "cdk bootstrap", "Images uploaded"])
def test_interrupted_demo_leaves_no_process(folder: Path, project: Path, moment: str) -> None:
    demo, output = demo_until(moment, project)
    time.sleep(1.5)  # into the step after it
    os.killpg(demo.pid, signal.SIGINT)
    rest = output.read()
    assert demo.wait() == 130, rest
    assert "Stopped." in rest
    assert "Traceback" not in rest
    assert gone(folder)


def test_killed_demo_leaves_no_process(folder: Path, project: Path) -> None:
    demo, _ = demo_until("cdk bootstrap", project)
    demo.kill()
    demo.wait()
    assert gone(folder)


def test_interrupted_synthesis_prints_no_traceback(project: Path) -> None:
    synthesis = subprocess.Popen(
        [REPOSITORY / "node_modules" / ".bin" / "cdk", "synth", "--quiet"],
        cwd=project,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )

    def app_is_up() -> bool:
        with contextlib.suppress(psutil.Error):  # a child may end in the meantime
            children = psutil.Process(synthesis.pid).children(recursive=True)
            return any("program.js" in part for child in children for part in child.cmdline())  # jsii's
        return False

    until(app_is_up)
    os.killpg(synthesis.pid, signal.SIGINT)
    output = synthesis.communicate()[0]
    assert synthesis.returncode != 0, output
    assert "Traceback" not in output


def test_shell_of_an_operator_reaches_embedded_aws_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OPERATOR.items():
        monkeypatch.setenv(name, value)
    with listener() as asked:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{asked.port}")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{asked.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        control.up(tables=TABLES)
        shell = (
            'eval "$(kennel local env)" && python -c "import boto3; print(boto3.client(\'sts\').get_caller_identity())"'
        )
        answer = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
        assert settings.ACCOUNT in answer.stdout, answer.stderr
        assert asked.requests == []


def test_shell_without_embedded_aws_reaches_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other credentials would be used there.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    shell = 'eval "$(kennel local env)"; echo "status $?"; kennel status; kennel local status'
    answer = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False, cwd="/")
    assert answer.stdout == "status 1\n"
    assert answer.stderr.count("The embedded AWS is not running: start it") == 2
    assert "http://the-embedded-aws-is-not-running.invalid" in answer.stderr


def test_folder_with_other_files_is_left_alone(folder: Path) -> None:
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(LocalError, match="set KENNEL_LOCAL_DIR to another folder"):
        control.up(tables=TABLES)
    assert (folder / "thesis.txt").exists()
    assert family(folder) == []


class Listener(ThreadingHTTPServer):
    """A server that keeps the request lines it gets, as a proxy or another endpoint would."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BaseHTTPRequestHandler)
        self.requests: list[str] = []
        self.port = self.server_port

    def process_request(self, request: Any, client_address: Any) -> None:
        self.requests.append(request.recv(200).decode(errors="replace").partition("\r")[0])
        request.close()


@contextmanager
def listener() -> Iterator[Listener]:
    with Listener() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
