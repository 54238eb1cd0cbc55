"""A model package, and the processes that serve it, for the tests of serving."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kennel.local.ports import answers

# Ray takes minutes where it shares its processors with other tests.
TIMEOUT_S = 300


def until_healthy(url: str, what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not answers(url):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@contextmanager
def model_server(package: Path, port: int, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """server.py alone, as ray_app.py starts it; ended at the end."""
    process = subprocess.Popen(
        [sys.executable, "-I", str(package / "inference/server.py"), "--port", str(port)],
        cwd=package,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        until_healthy(f"http://127.0.0.1:{port}/ping", "the model server did not start")
        yield process
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
