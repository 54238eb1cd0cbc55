"""Scores: intervals, calibration and confusions against values that are known."""

import numpy as np
import pytest
import torch

from training.model import evaluation
from training.model.evaluation import Predictions


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    # Wilson's interval as R's prop.test (without correction) and statsmodels give it.
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (145, 153, 0.9002, 0.9733)],
)
def test_interval_matches_wilson(right: int, of: int, low: float, high: float) -> None:
    assert evaluation.interval(right, of) == pytest.approx((low, high), abs=2e-4)


def calibrated(temperature: float, count: int = 20000) -> Predictions:
    """Images whose logits divided by `temperature` are exactly as sure as they are right."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(count, 5, generator=generator) * 2
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    return Predictions(logits * temperature, targets)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_fit_recovers_known_temperature(temperature: float) -> None:
    scored = calibrated(temperature)
    found = evaluation.fit_temperature(scored)
    assert found == pytest.approx(temperature, rel=0.05)
    assert evaluation.calibration_error(scored, found) < 0.015
    if temperature != 1:
        assert evaluation.calibration_error(scored, 1.0) > 0.04


def test_temperature_is_one_without_mistakes() -> None:
    assert evaluation.fit_temperature(Predictions(torch.eye(4) * 5, torch.arange(4))) == 1.0


def test_scores_match_hand_calculation() -> None:
    logits = torch.tensor([[3.0, 1, 0], [0, 2, 1], [2, 1, 0], [0, 0, 4]])
    scored = Predictions(logits, torch.tensor([0, 1, 1, 2]))
    summary = evaluation.summary(scored, 1.0)
    assert summary["top1"] == 0.75
    assert summary["top5"] == 1.0
    matrix = evaluation.confusion(scored)
    assert matrix.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    rows = evaluation.by_class(matrix, ["a", "b", "c"])
    assert [row["recall"] for row in rows] == [1.0, 0.5, 1.0]
    assert [row["precision"] for row in rows] == [0.5, 1.0, 1.0]
    assert [(row, predicted) for row, predicted, _ in evaluation.mistakes(scored, 1.0, 5)] == [(2, 0)]


def test_empty_class_has_no_recall() -> None:
    rows = evaluation.by_class(np.array([[2, 0], [0, 0]]), ["a", "b"])
    assert rows[1]["recall"] is None
    assert rows[1]["recall_interval"] is None
