"""What AWS's Ray Serve container runs: an application that keeps server.py running beside Ray.

Requests do not pass through Ray (docs/architecture.md has the figures): the container's adapter talks to server.py.
"""

import asyncio
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from ray import serve

PACKAGE = Path(__file__).resolve().parent
HEALTH_URL = "http://127.0.0.1:8081/-/healthz"
RESTART_DELAY_S = 1.0


@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0}, health_check_period_s=10)
class ServerKeeper:
    """Starts server.py, and starts it again when it ends."""

    def __init__(self) -> None:
        self._server = self._start()
        self._watch = asyncio.get_running_loop().create_task(self._keep())

    def _start(self) -> "subprocess.Popen[bytes]":
        # The pipe closes with this process, even if Ray kills it: the server then ends too.
        command = [sys.executable, str(PACKAGE / "server.py"), "--with-parent"]
        return subprocess.Popen(command, cwd=PACKAGE, stdin=subprocess.PIPE)

    async def _keep(self) -> None:
        while True:
            if self._server.poll() is not None:
                print(f"kennel: server.py ended with status {self._server.returncode}, starting it again", flush=True)
                await asyncio.sleep(RESTART_DELAY_S)
                self._server = self._start()
            await asyncio.sleep(0.2)

    async def __call__(self, request: Any) -> str:
        """Ray's own HTTP path, which the adapter does not use: says where the model is."""
        return f"the model answers on {HEALTH_URL}"

    def check_health(self) -> None:
        """Ray's health check; raises while the server has not answered."""
        if self._server.poll() is None:
            return
        urllib.request.urlopen(HEALTH_URL, timeout=5).close()


app = ServerKeeper.bind()  # type: ignore[attr-defined]  # what the decorator made of the class
