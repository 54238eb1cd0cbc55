"""The state of a training in one file."""

import os
from pathlib import Path

import pytest
import torch

from training.model.checkpoint import Checkpoint


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self._mark}",)


def test_checkpoint_loads_for_its_run_only(tmp_path: Path) -> None:
    Checkpoint(tmp_path, "run").save({"step": 3, "weights": torch.ones(2)})
    found = Checkpoint(tmp_path, "run").load()
    assert found is not None
    assert found["step"] == 3
    assert found["weights"].tolist() == [1, 1]
    assert Checkpoint(tmp_path, "another").load() is None


def test_malicious_checkpoint_is_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = tmp_path / "was-here"
    torch.save({"run": "run", "step": Evil(mark)}, tmp_path / "checkpoint.pt")
    assert Checkpoint(tmp_path, "run").load() is None
    assert not mark.exists()
    assert "training starts from the beginning" in capsys.readouterr().out
