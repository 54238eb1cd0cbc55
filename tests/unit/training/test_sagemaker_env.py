"""Hyperparameters and folders, as SageMaker hands them over."""

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from training import sagemaker_env
from training.model import distributed


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["train.py", "--seed", "9"])
    module = importlib.reload(sagemaker_env)
    yield module
    monkeypatch.undo()
    importlib.reload(module)


def test_command_line_overrides_hyperparameters(environment: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "input" / "config").mkdir(parents=True)
    values = {"learning_rate": "0.5", "backbone": '"resnet50"', "weights": "hub"}
    (tmp_path / "input" / "config" / "hyperparameters.json").write_text(json.dumps(values))
    expected = ["--learning-rate", "0.5", "--backbone", "resnet50", "--weights", "hub", "--seed", "9"]
    assert environment.arguments() == expected


def test_channel_folder_is_found(environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.channel("training") is None
    (tmp_path / "input" / "data" / "training").mkdir(parents=True)
    assert environment.channel("training") == tmp_path / "input" / "data" / "training"
    monkeypatch.setenv("SM_CHANNEL_TRAINING", str(tmp_path))
    assert environment.channel("training") == tmp_path


def test_failure_is_written_for_sagemaker(environment: ModuleType, tmp_path: Path) -> None:
    environment.report_failure("no images")
    assert (tmp_path / "output" / "failure").read_text() == "no images"


def test_toolkit_hyperparameters_are_filtered(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "input" / "config").mkdir(parents=True)
    values = {"sagemaker_program": '"training/hpo.py"', "_tuning_objective_metric": "valid:top1", "hidden": "0"}
    (tmp_path / "input" / "config" / "hyperparameters.json").write_text(json.dumps(values))
    monkeypatch.setattr(sys, "argv", ["hpo.py", "--learning_rate", "1e-3", "--data", "my_folder"])
    assert environment.arguments() == ["--hidden", "0", "--learning-rate", "1e-3", "--data", "my_folder"]


def test_hosts_are_in_rank_order(environment: ModuleType, tmp_path: Path) -> None:
    assert environment.hosts() == (["localhost"], "localhost")
    (tmp_path / "input" / "config").mkdir(parents=True)
    resources = {"hosts": ["algo-2", "algo-1"], "current_host": "algo-2"}
    (tmp_path / "input" / "config" / "resourceconfig.json").write_text(json.dumps(resources))
    assert environment.hosts() == (["algo-1", "algo-2"], "algo-2")


def test_hosts_talk_by_the_interface_of_the_job(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.interface() is None
    (tmp_path / "input" / "config").mkdir(parents=True)
    resources = {"hosts": ["algo-1", "algo-2"], "current_host": "algo-1", "network_interface_name": "eth0"}
    (tmp_path / "input" / "config" / "resourceconfig.json").write_text(json.dumps(resources))
    monkeypatch.delenv("RANK", raising=False)
    for library in ("GLOO", "NCCL"):
        monkeypatch.delenv(f"{library}_SOCKET_IFNAME", raising=False)
    seen: dict[str, str] = {}
    monkeypatch.setattr(os, "execv", lambda *command: seen.update(os.environ))
    monkeypatch.setattr(distributed, "sagemaker_env", environment)
    distributed.launch("training.train", 1)
    assert (seen["GLOO_SOCKET_IFNAME"], seen["NCCL_SOCKET_IFNAME"]) == ("eth0", "eth0")


def test_checkpoint_folder_is_found(environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.checkpoint_dir() is None
    (tmp_path / "checkpoints").mkdir()
    assert environment.checkpoint_dir() == tmp_path / "checkpoints"
    monkeypatch.setenv("SM_CHECKPOINT_DIR", str(tmp_path))
    assert environment.checkpoint_dir() == tmp_path
