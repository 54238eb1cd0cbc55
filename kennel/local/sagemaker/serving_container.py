"""AWS's Ray Serve container on this machine: what it sets and starts, in its order, without Docker and pip.

python -m kennel.local.sagemaker.serving_container PACKAGE
    as the container does, with Ray, on its fixed ports, in namespaces of its own: its first process is AWS's shell
    script, which ignores SIGTERM; the network has loopback alone, the model is read-only. Enter it with nsenter.
python -m kennel.local.sagemaker.serving_container PACKAGE --without-ray --port 8080
    the adapter and the model server alone, on any port: how the endpoints of the embedded AWS run, where several
    containers share one machine
tests/e2e/test_container.py holds the two together.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from kennel.local.ports import LOOPBACK, free_port
from kennel.local.settings import REPOSITORY

ADAPTER_PORT = 8080
ENTRYPOINT = Path(__file__).with_name("container_entrypoint.sh")
# The image's versions of what server and adapter use (requirements-image.txt), as `make setup` installs them.
IMAGE = REPOSITORY / "build" / "serving-image"
POLL_S = 0.2
GRACE_S = 30.0


class PackageError(Exception):
    """The container could not run this package without a network."""


def main() -> None:
    """Runs a container until it is stopped, or one of its processes ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the folder that the container sees as /opt/ml/model")
    parser.add_argument("--port", type=int, default=ADAPTER_PORT, help="where the adapter listens")
    parser.add_argument("--without-ray", action="store_true")
    arguments = parser.parse_args()
    package = arguments.package.resolve()
    try:
        check(package)
    except PackageError as error:
        sys.exit(str(error))
    if arguments.without_ray:
        signal.signal(signal.SIGTERM, _end)
        run(package, arguments.port)
    command = isolated(package)
    os.execvpe(command[0], command, container_environment())


def isolated(package: Path) -> list[str]:
    """The command that runs the container in namespaces, which all end with its first process."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        raise SystemExit("The container needs Linux with unshare (util-linux) and ip (iproute2).")
    # Without root, the process becomes root of a namespace.
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    namespaces = ["--pid", "--net", "--mount", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *user, *namespaces, "bash", str(ENTRYPOINT), str(package)]


def container_environment() -> dict[str, str]:
    """The environment of the container's processes."""
    here = f"{IMAGE}{os.pathsep}{REPOSITORY}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": here, "PYTHONUNBUFFERED": "1"}


def run(package: Path, port: int) -> NoReturn:
    """Runs server and adapter alone; raises SystemExit when one of them ends."""
    running: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "PYTHONPATH": python_path(package)}
    try:
        free = free_port()
        running.append(_start([sys.executable, "-I", "inference/server.py", "--port", str(free)], package, environment))
        adapter = [sys.executable, "-m", "kennel.local.sagemaker.adapter", "--port", str(port)]
        backend = f"http://{LOOPBACK}:{free}"
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


def check(package: Path) -> None:
    """Raises PackageError if the container would need a network, or has nothing to run."""
    if (package / "code" / "requirements.txt").exists():
        raise PackageError(f"{package} has code/requirements.txt: the container would call pip at each start")
    if not (package / "config.yaml").is_file():
        raise PackageError(f"{package} has no config.yaml: Ray Serve would have nothing to run")


def python_path(package: Path) -> str:
    """The container's PYTHONPATH, were `package` its /opt/ml/model."""
    return os.pathsep.join((str(package), str(package / "code")))


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
