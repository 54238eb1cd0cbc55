"""Checkpoints: the state of a training in one file, replaced in one step, so that there is always a whole one."""

import os
from pathlib import Path
from typing import Any

import torch


class Checkpoint:
    """The newest state of the training `run`, in `folder`; another run's state there is left alone until replaced."""

    def __init__(self, folder: Path, run: str) -> None:
        self._file = folder / "checkpoint.pt"
        self._run = run

    def save(self, state: dict[str, Any]) -> None:
        """Replaces the state; after a crash at any moment there is the old one or the new one."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # The dot keeps uploads of the folder that happen in the meantime from taking a part for a checkpoint.
        fresh = self._file.with_name(f".{self._file.name}")
        with fresh.open("wb") as file:
            torch.save({"run": self._run, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last for this run; none if there is none, or one of another run or damaged."""
        if not self._file.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
        except Exception as error:
            print(f"kennel: {self._file} cannot be read ({error}): training starts from the beginning", flush=True)
            return None
        return state if state.get("run") == self._run else None

    def remove(self) -> None:
        """Forgets the state: the training is done."""
        self._file.unlink(missing_ok=True)
