"""The CDK command line, unmodified, as a child process."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from kennel.errors import KennelError
from kennel.stage.deployed import REPOSITORY

CDK = REPOSITORY / "node_modules" / ".bin" / "cdk"
# Lines of `--progress events` worth showing while it works.
EVENT = re.compile(r"^(\S+) \|\s*\d+/\d+ .*\| (\S+)\s*\| (AWS|Custom)::(\S+)")


def cdk(
    *arguments: str,
    env: dict[str, str],
    log: Path,
    progress: Callable[[str], None] = lambda message: None,
    cwd: Path = REPOSITORY,
) -> None:
    """Runs `cdk ARGUMENTS` in `cwd`; its output goes to `log`. Raises KennelError with the last lines if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(CDK), *arguments]
    with log.open("a") as file, child(command, {**env, "PATH": path, "CI": "true"}, cwd) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            file.write(line)
            lines.append(line.rstrip())
            if match := EVENT.match(line):
                progress(f"{match[1]}: {match[4]} {match[2].lower()}")
        if process.wait() != 0:
            last = "\n".join(lines[-15:])
            raise KennelError(f"`cdk {' '.join(arguments)}` failed (full output: {log}):\n{last}")


@contextmanager
def child(command: list[str], env: dict[str, str], cwd: Path) -> Generator["subprocess.Popen[str]"]:
    """A process in a group of its own, which ends with the block whatever happens; its errors are in its output."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
