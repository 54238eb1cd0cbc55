"""Fine-tuning: killed and resumed it ends with the same weights; one process and two learn the same."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

SETTINGS = (
    "--backbone",
    "tiny_random",
    "--mode",
    "finetune",
    "--finetune-epochs",
    "3",
    "--finetune-batch-size",
    "5",
    "--epochs",
    "3",
)


def start(data: Path, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "training.train", "--data", str(data), *SETTINGS, *arguments]
    return subprocess.Popen(
        [*command, "--model-dir", str(folder / "model"), "--checkpoint-dir", str(folder / "checkpoints")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(folder / "ml"), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def read_until(process: "subprocess.Popen[str]", pattern: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if re.search(pattern, line):
            return
    raise AssertionError("".join(seen))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "network.pt", weights_only=True)


def losses(output: str) -> list[float]:
    return [float(value) for value in re.findall(r"epoch=\d+ train_loss=([0-9.]+)", output)]


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


@pytest.fixture(scope="module")
def uninterrupted(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, finish(start(images, folder))


@pytest.fixture(scope="module")
def on_two(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("two")
    return folder, finish(start(images, folder, "--processes-per-host", "2"))


def test_sigkill_resumes_from_epoch_to_same_weights(
    images: Path,
    uninterrupted: tuple[Path, str],
    tmp_path: Path,
) -> None:
    killed = start(images, tmp_path)
    read_until(killed, "epoch=2 train_loss")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    resumed = finish(start(images, tmp_path))
    assert "resumed in epoch 3 after step 0" in resumed
    assert "the head first" not in resumed
    assert furthest(weights(uninterrupted[0]), weights(tmp_path)) == 0
    assert losses(uninterrupted[1])[2:] == losses(resumed)


def test_sigterm_resumes_from_step_to_same_weights(
    images: Path,
    uninterrupted: tuple[Path, str],
    tmp_path: Path,
) -> None:
    told = start(images, tmp_path)
    read_until(told, "epoch=1 train_loss")
    told.send_signal(signal.SIGTERM)
    output, _ = told.communicate(timeout=120)
    assert told.returncode == 143, output
    assert "goes on from the checkpoint" in output
    resumed = finish(start(images, tmp_path))
    assert re.search(r"resumed in epoch 2 after step [1-9]", resumed), resumed
    assert furthest(weights(uninterrupted[0]), weights(tmp_path)) == 0


def test_two_processes_match_losses_of_one(uninterrupted: tuple[Path, str], on_two: tuple[Path, str]) -> None:
    one, two = (
        [epoch["train_loss"] for epoch in json.loads((folder / "model" / "metrics.json").read_text())["epochs"]]
        for folder, _ in (uninterrupted, on_two)
    )
    assert len(one) == len(two) == 3
    assert one == pytest.approx(two, abs=1e-4, rel=0)
    assert "2 process(es) on cpu" in on_two[1]


def test_two_processes_resume_to_same_weights(
    images: Path,
    on_two: tuple[Path, str],
    tmp_path: Path,
) -> None:
    killed = start(images, tmp_path, "--processes-per-host", "2")
    read_until(killed, "epoch=1 train_loss")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    deadline = time.monotonic() + 10
    while left := [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    finish(start(images, tmp_path, "--processes-per-host", "2"))
    assert furthest(weights(on_two[0]), weights(tmp_path)) < 1e-5


def test_checkpoint_of_other_settings_is_ignored(
    images: Path,
    tmp_path: Path,
) -> None:
    killed = start(images, tmp_path)
    read_until(killed, "epoch=1 train_loss")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    other = finish(start(images, tmp_path, "--finetune-epochs", "1"))
    assert "resumed" not in other
    assert len(losses(other)) == 1
