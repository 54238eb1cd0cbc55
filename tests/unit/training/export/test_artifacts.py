"""What is told of a model is told of the variant that is served."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.data.dataset import Sample
from training.export import artifacts, candidates
from training.model.backbones import BACKBONES
from training.model.evaluation import Predictions


def test_served_variant_is_what_is_scored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = candidates.Candidate("torch", "fp32", logits=[np.array([0.0, 1.0], np.float32)])
    asked: list[Path] = []

    def logits(one: candidates.Candidate, folder: Path, images: list[Path], *rest: object) -> list[object]:
        assert one is kept
        asked.extend(images)
        return [np.array([3.0, 0.0], np.float32)]

    monkeypatch.setattr(candidates, "logits", logits)
    trained = artifacts.TrainResult(
        nn.Sequential(),
        {split: Predictions(torch.tensor([[9.0, 9.0]]), torch.tensor([1])) for split in ("train", "valid", "test")},
        {split: [Sample(tmp_path / split, 1, "")] for split in ("train", "valid", "test")},
        [],
    )
    scored = artifacts._as_served(kept, trained, BACKBONES["efficientnet_lite0"], tmp_path)
    assert {split: one.logits.tolist() for split, one in scored.items()} == {
        "train": [[9.0, 9.0]],
        "valid": [[0.0, 1.0]],  # as it was measured already
        "test": [[3.0, 0.0]],
    }
    assert asked == [tmp_path / "test"]
    assert all(one.targets.tolist() == [1] for one in scored.values())
