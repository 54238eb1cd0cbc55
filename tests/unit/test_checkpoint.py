"""The state of a training in one file."""

import os
from pathlib import Path

import pytest
import torch

from checkpoint import Checkpoint


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self._mark}",)


def test_given_a_state_when_saved_then_it_is_there_for_its_run_only(tmp_path: Path) -> None:
    Checkpoint(tmp_path, "run").save({"step": 3, "weights": torch.ones(2)})
    found = Checkpoint(tmp_path, "run").load()
    assert found is not None
    assert found["step"] == 3
    assert found["weights"].tolist() == [1, 1]
    assert Checkpoint(tmp_path, "another").load() is None


def test_given_a_checkpoint_that_somebody_made_when_loaded_then_nothing_in_it_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "was-here"
    torch.save({"run": "run", "step": Evil(mark)}, tmp_path / "checkpoint.pt")
    assert Checkpoint(tmp_path, "run").load() is None
    assert not mark.exists()
    assert "training starts from the beginning" in capsys.readouterr().out
