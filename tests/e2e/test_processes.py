"""The embedded AWS leaves nothing behind, however it or the demo ends, and cannot be mistaken for the real one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from helpers.stage import project_copy
from kennel.errors import KennelError
from kennel.local import control, settings

TIMEOUT_S = 120


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of its own; its path marks the processes that belong to it."""
    monkeypatch.setenv("KENNEL_LOCAL_DIR", str(tmp_path))
    for name in settings.CREDENTIAL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
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
    running = control.up()
    assert control.status() == running
    with pytest.raises(KennelError, match="up already"):
        control.up()
    assert control.down() is True
    assert gone(folder)
    assert control.status() is None
    assert control.down() is False
    control.up()


def test_killed_server_leaves_no_children(folder: Path) -> None:
    running = control.up()
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


@pytest.mark.parametrize("moment", ["Pictures checked", "Embedded AWS up", "cdk bootstrap", "Pictures into"])
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


def test_credentials_in_env_are_rejected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_PROFILE", "work")
    with pytest.raises(KennelError, match="AWS_ACCESS_KEY_ID, AWS_PROFILE may be credentials of a real account"):
        control.up()
    assert family(folder) == []
