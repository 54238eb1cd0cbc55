"""What a package answers: the classes in order, by calibrated probabilities."""

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.images import encode, gradient
from inference import predictor

LOGITS = np.array([[0.5, 2.0, 1.0]], dtype=np.float32)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose model gives the same logits for every image."""
    monkeypatch.setattr(predictor.runtimes, "load", lambda *told: lambda batch: LOGITS)
    (tmp_path / "labels.json").write_text(json.dumps(["a", "b", "c"]))
    return tmp_path


def answers(package: Path, temperature: float, top_k: int = 5) -> list[predictor.Prediction]:
    variant = {"runtime": "onnxruntime", "precision": "fp32", "file": "model.onnx"}
    description = {"name": "m", "variant": variant, "input": {"size_px": 64}, "temperature": temperature}
    (package / "model.json").write_text(json.dumps(description))
    return predictor.Predictor(package).predict(encode(gradient(), "JPEG"), top_k)


def test_most_probable_class_comes_first(package: Path) -> None:
    found = answers(package, 1.0)
    assert [item["label"] for item in found] == ["b", "c", "a"]
    assert sum(item["probability"] for item in found) == pytest.approx(1, abs=1e-5)
    assert [item["label"] for item in answers(package, 1.0, top_k=1)] == ["b"]


def test_higher_temperature_is_less_sure(package: Path) -> None:
    one, two = (answers(package, temperature)[0]["probability"] for temperature in (1.0, 2.0))
    assert one == pytest.approx(np.exp(2) / (np.exp(0.5) + np.exp(2) + np.exp(1)), abs=1e-5)
    assert two == pytest.approx(np.exp(1) / (np.exp(0.25) + np.exp(1) + np.exp(0.5)), abs=1e-5)
