"""AWS's Ray Serve container on this machine: what it sets and starts, in its order, without Docker, network or pip.

python -m kennel.local.serving_container PACKAGE              as the container does, with Ray, on its fixed ports
python -m kennel.local.serving_container PACKAGE --without-ray --port 8080
    the adapter and the model server alone, on any port: how the endpoints of the embedded AWS run, where several
    containers share one machine
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from kennel.local.ports import LOOPBACK, answers, free_port

RAY_PORT, SERVE_PORT, ADAPTER_PORT = 6379, 8000, 8080
# As long as the container waits for Ray Serve before it starts the adapter in any case.
SERVE_TIMEOUT_S = 60.0
POLL_S = 0.2
GRACE_S = 30.0


class PackageError(Exception):
    """The container could not run this package without a network."""


def main() -> None:
    """Runs a container until it is told to end, or one of its processes ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the folder that the container sees as /opt/ml/model")
    parser.add_argument("--port", type=int, default=ADAPTER_PORT, help="where the adapter listens")
    parser.add_argument("--without-ray", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    try:
        run(arguments.package.resolve(), arguments.port, with_ray=not arguments.without_ray)
    except PackageError as error:
        sys.exit(str(error))


def run(package: Path, port: int, *, with_ray: bool) -> NoReturn:
    """Starts the container's processes, in its order; raises SystemExit when one of them ends."""
    check(package)
    running: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "PYTHONPATH": python_path(package), "RAY_USAGE_STATS_ENABLED": "0"}
    try:
        if with_ray:
            running.append(_start_ray(package, environment))
            backend = environment.get("RAYSERVE_BACKEND_URL", f"http://{LOOPBACK}:{SERVE_PORT}")
        else:
            free = free_port()
            running.append(_start([sys.executable, "server.py", "--port", str(free)], package, environment))
            backend = f"http://{LOOPBACK}:{free}"
        adapter = [sys.executable, "-m", "kennel.local.adapter", "--port", str(port)]
        running.append(_start(adapter, Path.cwd(), {**environment, "RAYSERVE_BACKEND_URL": backend}))
        while all(process.poll() is None for process in running):
            time.sleep(POLL_S)
        ended = next(process for process in running if process.returncode is not None)
        raise SystemExit(f"{ended.args!r} ended with status {ended.returncode}")
    finally:
        for process in running:
            process.terminate()
        for process in running:
            _wait(process)
        if with_ray:
            subprocess.run(["ray", "stop", "--force"], env=environment, capture_output=True, check=False)


def check(package: Path) -> None:
    """Raises PackageError if the container would need a network, or has nothing to run."""
    if (package / "code" / "requirements.txt").exists():
        raise PackageError(f"{package} has code/requirements.txt: the container would call pip at each start")
    if not (package / "config.yaml").is_file():
        raise PackageError(f"{package} has no config.yaml: Ray Serve would have nothing to run")


def python_path(package: Path) -> str:
    """The container's PYTHONPATH, were `package` its /opt/ml/model."""
    return os.pathsep.join((str(package), str(package / "code")))


def _start_ray(package: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    head = [
        "ray",
        "start",
        "--head",
        f"--port={RAY_PORT}",
        "--include-dashboard=False",
        f"--node-ip-address={LOOPBACK}",
    ]
    subprocess.run(head, env=environment, check=True, stdout=subprocess.DEVNULL)
    start = ["serve", "start", f"--http-host={LOOPBACK}", f"--http-port={SERVE_PORT}"]
    subprocess.run(start, env=environment, check=True)
    serve = _start(["serve", "run", str(package / "config.yaml")], package, environment)
    deadline = time.monotonic() + SERVE_TIMEOUT_S
    while serve.poll() is None and not answers(f"http://{LOOPBACK}:{SERVE_PORT}/-/healthz"):
        if time.monotonic() > deadline:
            break  # the container then starts its adapter all the same, whose /ping says what is wrong
        time.sleep(POLL_S)
    return serve


def _start(command: list[str], folder: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL)


def _wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
