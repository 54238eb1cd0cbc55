"""The runtimes: they stay on this machine, and their first callers may come together."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import REPOSITORY
from training.export import candidates
from training.model.serving_module import ServingModule

SIZE_PX = 16
FIRST_CALLS = """
import os, signal, sys, threading
from pathlib import Path
import numpy as np
from inference import runtimes  # once: each process that is forked from this one calls for the first time all the same

def first_calls(runtime, file):
    signal.alarm(60)
    run = runtimes.load(runtime, Path(file), "fp32", 2)
    gate, answers = threading.Barrier(4), []
    def call():
        gate.wait()
        answers.append(run(np.zeros((1, 16, 16, 3), np.uint8)))
    threads = [threading.Thread(target=call) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(answers) == 4
    assert not [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module]

for _ in range(3):
    if not (pid := os.fork()):
        first_calls(*sys.argv[1:])
        os._exit(0)
    if status := os.waitpid(pid, 0)[1]:
        sys.exit(f"ended with {os.waitstatus_to_exitcode(status)}")
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    black = torch.zeros(SIZE_PX, SIZE_PX, 3, dtype=torch.uint8).numpy()
    candidates.export(ServingModule(network, (0.5,) * 3, (0.5,) * 3), SIZE_PX, [black], folder)
    return folder


@pytest.mark.parametrize(
    ("runtime", "file"), [("torch", "model.pt2"), ("onnxruntime", "model.onnx"), ("openvino", "model.onnx")]
)
def test_first_calls_run_without_hang_or_telemetry(files: Path, runtime: str, file: str) -> None:
    command = [sys.executable, "-c", FIRST_CALLS, runtime, str(files / file)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
