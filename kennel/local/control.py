"""Starting and stopping the embedded AWS from another process."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kennel.errors import KennelError
from kennel.local.ports import LOOPBACK, free_port
from kennel.local.settings import DEFAULT_PORT, isolated_environment, real_credentials, speed, state_dir

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20


@dataclass(frozen=True)
class Running:
    """The embedded AWS that is up: its process and its address."""

    pid: int
    port: int

    @property
    def endpoint(self) -> str:
        """What AWS_ENDPOINT_URL is set to."""
        return f"http://localhost:{self.port}"


def status() -> Running | None:
    """The embedded AWS of this state folder, if it is up."""
    try:
        running = Running(**json.loads(_state_file().read_text()))
    except (FileNotFoundError, ValueError):
        return None
    return running if _answers(running.port) else None


def up(port: int | None = None, *, with_parent: bool = False) -> Running:
    """Starts the embedded AWS, and returns once it answers. With `with_parent` it ends when this process does.

    Raises KennelError if one is up already, if the port is taken, or if the environment has real credentials.
    """
    if found := real_credentials():
        raise KennelError(
            f"{', '.join(found)} may be credentials of a real account: unset them before using the embedded AWS."
        )
    if running := status():
        raise KennelError(f"The embedded AWS is up already at {running.endpoint}: use it, or run `make down` first.")
    speed()  # refuses what it cannot be before anything is started
    port = port or _port()
    folder = state_dir()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    command = [sys.executable, "-m", "kennel.local.server", "--port", str(port)]
    with log_file().open("wb") as log:
        process = subprocess.Popen(
            [*command, "--with-parent"] if with_parent else command,
            cwd=Path(__file__).resolve().parents[2],
            env=isolated_environment(f"http://localhost:{port}") | {"KENNEL_LOCAL_DIR": str(folder)},
            stdin=subprocess.PIPE if with_parent else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _state_file().write_text(json.dumps({"pid": process.pid, "port": port}))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise KennelError(f"The embedded AWS did not start; see {log_file()}.")
            time.sleep(0.1)
    except BaseException:
        process.kill()  # its warden ends what it started
        process.wait()
        _state_file().unlink(missing_ok=True)
        raise
    return Running(process.pid, port)


def down() -> bool:
    """Stops the embedded AWS and everything it started; says whether there was one."""
    try:
        running = Running(**json.loads(_state_file().read_text()))
    except (FileNotFoundError, ValueError):
        return False
    _state_file().unlink(missing_ok=True)
    if not _is_server(running.pid):
        return False
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _is_server(running.pid):
        if time.monotonic() > deadline:
            # Its warden then ends what it started.
            os.kill(running.pid, signal.SIGKILL)
        time.sleep(0.05)
    return True


@contextmanager
def running(*, keep: bool) -> Generator[Running]:
    """The embedded AWS for the time of a `with` block; with `keep` it stays up afterwards, unless the block failed."""
    server = up(with_parent=not keep)
    try:
        yield server
    except BaseException:
        down()
        raise
    if not keep:
        down()


def log_file() -> Path:
    """What the embedded AWS prints."""
    return state_dir() / "server.log"


def _state_file() -> Path:
    return state_dir() / "state.json"


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=5).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def _is_server(pid: int) -> bool:
    """Whether the process is alive and the embedded AWS (process ids are used again)."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # if it was ours and has ended
    shown = subprocess.run(["ps", "-p", str(pid), "-o", "stat=,args="], capture_output=True, text=True).stdout
    return "kennel.local.server" in shown and not shown.strip().startswith("Z")


def _port() -> int:
    """The usual one, or another where it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, DEFAULT_PORT))
        except OSError:
            return free_port()
    return DEFAULT_PORT
