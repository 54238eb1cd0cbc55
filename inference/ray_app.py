"""The application in AWS's Ray Serve container: it keeps server.py running beside Ray.

Requests do not pass through Ray (docs/serving.md has the figures): the container's adapter talks to server.py.
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
from inference import PORT, integrity

PACKAGE = Path(__file__).resolve().parent.parent
integrity.require(PACKAGE)

# isort: split
import asyncio
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any

from ray import serve

HEALTH_URL = f"http://127.0.0.1:{PORT}/-/healthz"
HEALTH_TIMEOUT_S = 5.0
WATCH_EVERY_S = 0.2
CHECK_EVERY_S = 5.0
RESTART_DELAY_S = 1.0
# A server that has answered and then is unhealthy for so long does not come back by itself.
UNHEALTHY_S = 60.0
CONTAINER_LOG = Path("/proc/1/fd/1")


@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0}, health_check_period_s=10)
class ServerSupervisor:
    """Starts server.py, and starts it again when it ends or hangs."""

    def __init__(self) -> None:
        self._start()
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    def _start(self) -> None:
        # The pipe closes with this process, even if Ray kills it: the server then ends too.
        command = [sys.executable, "-I", str(PACKAGE / "inference" / "server.py"), "--with-parent"]
        with _container_log() as log:
            self._server = subprocess.Popen(command, cwd=PACKAGE, stdin=subprocess.PIPE, stdout=log, stderr=log)
        # When the server last was healthy; nothing while it starts, which takes as long as it takes.
        self._healthy_at: float | None = None

    async def _keep(self) -> None:
        checked_at = time.monotonic()
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if self._server.poll() is not None:
                print(f"kennel: server.py ended with status {self._server.returncode}, starting it again", flush=True)
                await asyncio.sleep(RESTART_DELAY_S)
                self._start()
            if time.monotonic() - checked_at < CHECK_EVERY_S:
                continue
            checked_at = time.monotonic()
            if await asyncio.to_thread(_healthy):
                self._healthy_at = time.monotonic()
            elif self._healthy_at and time.monotonic() - self._healthy_at > UNHEALTHY_S:
                print(f"kennel: server.py has been unhealthy for {UNHEALTHY_S:.0f} s, ending it", flush=True)
                self._server.kill()

    async def __call__(self, request: Any) -> str:
        """Ray's own HTTP path, which the adapter does not use: says where the model is."""
        return f"the model answers on {HEALTH_URL}"

    async def check_health(self) -> None:
        """Ray's health check; Ray replaces this object, and with it the server, when it raises."""
        if self._keeping.done():
            raise RuntimeError("server.py is no longer watched")


@contextmanager
def _container_log() -> Generator[IO[bytes] | None]:
    """The output of the container's first process, which CloudWatch gets as it is.

    What goes by way of Ray has a coloured prefix, in which CloudWatch finds neither metrics (the embedded metric format
    wants JSON by itself) nor fields. Where that output is closed to this process, Ray's it is.
    """
    try:
        with CONTAINER_LOG.open("wb") as log:
            yield log
    except OSError as error:
        print(
            f"kennel: {CONTAINER_LOG} cannot be written ({error}): CloudWatch gets no metrics of the server", flush=True
        )
        yield None


def _healthy() -> bool:
    try:
        with urllib.request.urlopen(HEALTH_URL, timeout=HEALTH_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


app = ServerSupervisor.bind()  # type: ignore[attr-defined]  # what the decorator made of the class
