"""Child processes that never outlive the embedded AWS, even when it is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

GRACE_S = 5.0


class Processes:
    """Starts each command in a process group of its own, and stops every group at the end.

    A warden process holds the other end of a pipe: when this process dies in whatever way, the pipe closes, and the
    warden ends every group it was told of.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._warden = subprocess.Popen(
            [sys.executable, "-S", "-c", _WARDEN], stdin=subprocess.PIPE, start_new_session=True, close_fds=True
        )
        self._tell(f"+{os.getpgrp()}")

    def start(
        self, command: list[str], *, env: dict[str, str], cwd: Path, output: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        """Starts `command`; its standard output and error go to `output`."""
        process = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with self._lock:
            self._running[process.pid] = process
        self._tell(f"+{process.pid}")
        return process

    def stop(self, process: subprocess.Popen[Any], grace_s: float = GRACE_S, *, term: bool = True) -> None:
        """Ends the group of `process`: SIGTERM, unless not `term`, and SIGKILL for what is left after `grace_s`."""
        if term:
            _signal_group(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        with self._lock:
            self._running.pop(process.pid, None)
        self._tell(f"-{process.pid}")

    def stop_all(self) -> None:
        """Ends every group at once."""
        with self._lock:
            running = list(self._running.values())
        for process in running:
            _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while any(process.poll() is None for process in running) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in running:
            self.stop(process, grace_s=0)

    def _tell(self, line: str) -> None:
        assert self._warden.stdin is not None
        try:
            self._warden.stdin.write(f"{line}\n".encode())
            self._warden.stdin.flush()
        except BrokenPipeError:
            pass  # the warden was killed; stop_all still ends every group


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


_WARDEN = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
"""
