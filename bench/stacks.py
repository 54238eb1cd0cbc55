"""The stacks that bench/serving.py compares, as processes on this machine: start, address, memory, CPU time, end."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from inference.predictor import example
from kennel.local.ports import answers

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "build" / "bench"
BASELINE_PACKAGES = ("torchserve==0.12.0", "sagemaker-pytorch-inference==2.0.25", "sagemaker-inference==1.10.1")
HANDLER = Path(__file__).with_name("baseline") / "inference.py"
READY_S = 180
# What the toolkit writes for TorchServe, with addresses on loopback. Workers and threads are its defaults.
PROPERTIES = """\
vmargs=-XX:-UseContainerSupport
enable_envvars_config=true
decode_input_request=false
load_models=ALL
disable_token_authorization=true
enable_model_api=true
default_response_timeout=60
inference_address=http://127.0.0.1:{port}
management_address=http://127.0.0.1:{management}
metrics_address=http://127.0.0.1:{metrics}
default_service_handler=sagemaker_pytorch_serving_container.handler_service:handle
"""


class StackError(Exception):
    """A stack cannot be built or started; the message says why."""


@dataclass
class Stack:
    """A running stack: where it takes images, and all of its processes."""

    name: str
    url: str
    process: "subprocess.Popen[bytes]"
    start_to_ready_s: float

    def _family(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds of all of its processes so far."""
        return sum(sum(process.cpu_times()[:4]) for process in self._family())

    def peak_mib(self) -> float:
        """The sum of what each of its processes ever had in memory."""
        peak_kib = 0
        for process in self._family():
            text = Path(f"/proc/{process.pid}/status").read_text()
            peak_kib += int(text.partition("VmHWM:")[2].split()[0])
        return peak_kib / 1024

    def resident_mib(self) -> float:
        """The memory of its processes now."""
        return sum(process.memory_info().rss for process in self._family()) / 2**20


@contextmanager
def started(name: str, command: Sequence[str], url: str, ping: str, environment: dict[str, str]) -> Iterator[Stack]:
    """Runs `command` until the block ends; it is ready when `ping` answers 200. Raises StackError."""
    log = WORK / f"{name}.log"
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=WORK, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while not answers(ping, timeout_s=5):
            if process.poll() is not None or time.monotonic() - begun > READY_S:
                raise StackError(f"{name} did not start: see {log}")
            time.sleep(0.05)
        yield Stack(name, url, process, time.monotonic() - begun)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def baseline_environment() -> Path:
    """The Python of the baseline's own environment, made once; torch is the one that Kennel has, too."""
    if not shutil.which("java"):
        raise StackError("TorchServe needs Java 17: install a JRE, for example openjdk-17-jre-headless")
    folder = WORK / "baseline"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *BASELINE_PACKAGES], check=True)
        (site,) = (folder / "lib").glob("python*/site-packages")
        # Last in its path: torch, torchvision and Pillow come from there, all else from the environment itself.
        (site / "torch.pth").write_text(f"{next(path for path in sys.path if path.endswith('site-packages'))}\n")
        (folder / ".ready").touch()
    return python


@contextmanager
def baseline(port: int) -> Iterator[Stack]:
    """AWS's PyTorch inference toolkit on TorchServe with the course's handler."""
    python = baseline_environment()
    base = WORK / "torchserve"
    shutil.rmtree(base, ignore_errors=True)
    (base / "model" / "code").mkdir(parents=True)
    (base / "models").mkdir()
    shutil.copy(HANDLER, base / "model" / "code")
    (base / "model" / "model.pth").touch()
    ports = {"port": port, "management": port + 1, "metrics": port + 2}
    (base / "ts.properties").write_text(PROPERTIES.format(**ports))
    command = [
        str(python.with_name("torchserve")), "--start", "--foreground", "--disable-token-auth",
        "--model-store", str(base / "models"), "--ts-config", str(base / "ts.properties"),
        "--models", f"model={base / 'model'}",
    ]  # fmt: skip
    environment = {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(base),
        "LOG_LOCATION": str(base),
        "METRICS_LOCATION": str(base),
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_PROGRAM": "inference.py",
        "PYTHONPATH": str(base / "model" / "code"),
    }
    address = f"http://127.0.0.1:{port}"
    with started("baseline", command, f"{address}/predictions/model", f"{address}/ping", environment) as stack:
        _until_answers(stack)
        yield stack


def _until_answers(stack: Stack) -> None:
    """TorchServe's ping answers before its workers have loaded the model."""
    begun = time.monotonic()
    while post(stack.url, example())[0] != 200:
        if time.monotonic() - begun > READY_S:
            raise StackError(f"{stack.name} answers no image: see {WORK / 'baseline.log'}")
        time.sleep(0.2)
    stack.start_to_ready_s += time.monotonic() - begun


def post(url: str, image: bytes) -> tuple[int, float]:
    """Status and milliseconds of one request."""
    started = time.perf_counter()
    request = urllib.request.Request(url, data=image, headers={"Content-Type": "image/jpeg"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
            status = answer.status
    except urllib.error.HTTPError as error:
        error.read()
        status = error.code
    return status, 1000 * (time.perf_counter() - started)


@contextmanager
def adapter(package: Path, port: int) -> Iterator[Stack]:
    """Our package behind a stand-in for the container's adapter."""
    command = [sys.executable, "-m", "kennel.local.sagemaker.serving_container", str(package), "--without-ray"]
    address = f"http://127.0.0.1:{port}"
    with started(
        "adapter", [*command, "--port", str(port)], f"{address}/invocations", f"{address}/ping", dict(os.environ)
    ) as stack:
        yield stack


@contextmanager
def server(package: Path, port: int) -> Iterator[Stack]:
    """Our server.py alone."""
    command = [sys.executable, str(package / "inference/server.py"), "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    with started("server", command, f"{address}/", f"{address}/ping", dict(os.environ)) as stack:
        yield stack
