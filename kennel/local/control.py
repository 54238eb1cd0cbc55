"""Starting and stopping the embedded AWS from another process."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from kennel.local.errors import LocalError
from kennel.local.ports import LOOPBACK, answers, free_port
from kennel.local.settings import (
    ACCOUNT_KINDS,
    ACCOUNT_VARIABLE,
    DEFAULT_PORT,
    REGION,
    REGION_VARIABLE,
    client_environment,
    cores,
    foreign_variables,
    isolated_environment,
    speed,
    state_dir,
)

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
# Marks a folder as the embedded AWS's own, which its next start may empty.
MARKER = "kennel-local"


@dataclass(frozen=True)
class Tables:
    """Files that the embedded AWS reads of the app that it runs.

    `resource_types` has the calls that deploys take (cloudformation/resource_calls.py), `prices` has USD an hour by
    instance type (budgets.py).
    """

    resource_types: Path
    prices: Path

    def arguments(self) -> list[str]:
        """The arguments of the server for them."""
        return ["--resource-types", str(self.resource_types), "--prices", str(self.prices)]


@dataclass(frozen=True)
class Running:
    """The embedded AWS that is up: its process, its port, its region, and the key of its owner."""

    pid: int
    port: int
    region: str
    key: str

    @property
    def endpoint(self) -> str:
        """The value for AWS_ENDPOINT_URL."""
        return f"http://localhost:{self.port}"

    @property
    def access(self) -> tuple[str, str, str]:
        """Endpoint, region and key: the arguments of the functions in settings.py."""
        return self.endpoint, self.region, self.key


def status() -> Running | None:
    """The embedded AWS of this state folder, if it is up."""
    try:
        running = Running(**json.loads(_state_file().read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return running if _answers(running.port) else None


def shell_environment(running: Running) -> list[str]:
    """Lines of shell that point it to the embedded AWS: what else it has of AWS is unset."""
    unset = [f"unset {name}" for name in foreign_variables()]
    return [
        *unset,
        *(f"export {name}={value}" for name, value in client_environment(*running.access).items()),
    ]


def up(
    port: int | None = None,
    *,
    tables: Tables,
    region: str = REGION,
    account: str = ACCOUNT_KINDS[0],
    with_parent: bool = False,
) -> Running:
    """Starts the embedded AWS, and returns once it answers. With `with_parent` it ends when this process does.

    Raises LocalError if one is up already, if the port is taken, or if the state folder has files of somebody else.
    """
    if running := status():
        raise LocalError(f"The embedded AWS is up already at {running.endpoint}: use it, or run `make down` first.")
    # Odd values are refused before anything is started.
    speed()
    cores(0)
    port, key = port or _port(), f"kennel{secrets.token_hex(16)}"
    folder = _empty(state_dir())

    command = [sys.executable, "-m", "kennel.local.server", "--port", str(port), *tables.arguments()]
    with log_file().open("wb") as log:
        process = subprocess.Popen(
            [*command, "--with-parent"] if with_parent else command,
            cwd=Path(__file__).resolve().parents[2],
            env={
                **isolated_environment(f"http://localhost:{port}", region, key),
                "KENNEL_LOCAL_DIR": str(folder),
                REGION_VARIABLE: region,
                ACCOUNT_VARIABLE: account,
            },
            stdin=subprocess.PIPE if with_parent else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        running = Running(process.pid, port, region, key)
        _state_file().touch(mode=0o600)
        _state_file().write_text(json.dumps(asdict(running)))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LocalError(f"The embedded AWS did not start; see {log_file()}.")
            time.sleep(0.1)
    except BaseException:
        process.kill()  # its warden ends what it started
        process.wait()
        _state_file().unlink(missing_ok=True)
        raise
    return running


def down() -> bool:
    """Stops the embedded AWS and everything it started; says whether there was one."""
    try:
        running = Running(**json.loads(_state_file().read_text()))
    except (FileNotFoundError, ValueError, TypeError):
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
def running(*, tables: Tables, region: str, keep: bool) -> Generator[Running]:
    """The embedded AWS for the time of a `with` block; with `keep` it stays up afterwards, unless the block failed."""
    server = up(tables=tables, region=region, with_parent=not keep)
    try:
        yield server
    except BaseException:
        down()
        raise
    if not keep:
        down()


def log_file() -> Path:
    """The log file of the embedded AWS."""
    return state_dir() / "server.log"


def _state_file() -> Path:
    return state_dir() / "state.json"


def _answers(port: int) -> bool:
    return answers(f"http://{LOOPBACK}:{port}/_ministack/health", timeout_s=5)


def _empty(folder: Path) -> Path:
    """The state folder with nothing in it but its marker; raises LocalError where another wrote into it."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise LocalError(
            f"{folder} has files that are not the embedded AWS's, which would delete them: "
            "move them away, or set KENNEL_LOCAL_DIR to another folder."
        )
    shutil.rmtree(folder, ignore_errors=True)
    # It holds images, logs and the key, which other users must not read.
    folder.mkdir(parents=True, mode=0o700)
    (folder / MARKER).write_text("State of Kennel's embedded AWS; deleted when it is started again.\n")
    return folder


def _is_server(pid: int) -> bool:
    """True if the process is alive and the embedded AWS (process ids are used again)."""
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
