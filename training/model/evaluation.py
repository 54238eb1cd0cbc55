"""Evaluation of a classifier from its logits: accuracy with intervals, classes, calibration."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

Z95 = 1.959964
RELIABILITY_BINS = 10
TEMPERATURE_RANGE = (0.05, 20.0)


@dataclass(frozen=True)
class Predictions:
    """The logits (n, classes) of one split in float32, and the true classes (n,)."""

    logits: torch.Tensor
    targets: torch.Tensor

    def probabilities(self, temperature: float = 1.0) -> torch.Tensor:
        """(n, classes)."""
        return (self.logits / temperature).softmax(dim=1)


def interval(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927)."""
    if of == 0:
        return 0.0, 1.0
    share, z2 = right / of, Z95**2
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z95 / (1 + z2 / of) * (share * (1 - share) / of + z2 / (4 * of**2)) ** 0.5
    return round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4)


def fit_temperature(scored: Predictions) -> float:
    """The temperature with the lowest cross entropy (Guo et al. 2017), within TEMPERATURE_RANGE.

    Where every image is right the entropy falls without end as the model grows surer; such a fit is no evidence,
    and the temperature stays 1.
    """
    if bool((scored.logits.argmax(1) == scored.targets).all()):
        return 1.0
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    logits = scored.logits.double()
    optimiser: Any = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(logits / log_temperature.exp(), scored.targets)
        torch.autograd.backward(loss)
        return loss

    optimiser.step(closure)
    low, high = TEMPERATURE_RANGE
    return round(min(max(float(log_temperature.detach().exp()), low), high), 4)


def summary(scored: Predictions, temperature: float) -> dict[str, Any]:
    """Accuracy and calibration of one split, before and after scaling by `temperature`."""
    count, classes = scored.logits.shape
    best = scored.logits.topk(min(5, classes), dim=1).indices == scored.targets[:, None]
    top1, top5 = int(best[:, 0].sum()), int(best.any(dim=1).sum())
    return {
        "pictures": count,
        "top1": top1 / count,
        "top1_interval": interval(top1, count),
        "top5": top5 / count,
        "top5_interval": interval(top5, count),
        "loss": float(F.cross_entropy(scored.logits, scored.targets)),
        "loss_calibrated": float(F.cross_entropy(scored.logits / temperature, scored.targets)),
        "ece": calibration_error(scored, 1.0),
        "ece_calibrated": calibration_error(scored, temperature),
    }


def reliability(scored: Predictions, temperature: float) -> list[dict[str, float]]:
    """By bin of confidence: images, mean confidence, accuracy. Empty bins are left out."""
    confidence, predicted = scored.probabilities(temperature).max(dim=1)
    right = (predicted == scored.targets).double()
    bins = (confidence * RELIABILITY_BINS).long().clamp(max=RELIABILITY_BINS - 1)
    return [
        {
            "pictures": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(right[inside].mean()),
        }
        for number in range(RELIABILITY_BINS)
        if (inside := bins == number).any()
    ]


def calibration_error(scored: Predictions, temperature: float) -> float:
    """Expected calibration error: |confidence - accuracy| over the bins, weighted by their images."""
    parts = reliability(scored, temperature)
    return sum(part["pictures"] * abs(part["confidence"] - part["accuracy"]) for part in parts) / len(scored.targets)


def confusion(scored: Predictions) -> npt.NDArray[np.int64]:
    """(classes, classes): rows are the true classes, columns the predicted ones."""
    classes = scored.logits.shape[1]
    pairs = scored.targets * classes + scored.logits.argmax(1)
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes).numpy()


def by_class(matrix: npt.NDArray[np.int64], labels: list[str]) -> list[dict[str, Any]]:
    """Images, recall with its interval, and precision of each class; those without images have none."""
    rows = []
    for index, label in enumerate(labels):
        right, true, predicted = int(matrix[index, index]), int(matrix[index].sum()), int(matrix[:, index].sum())
        rows.append(
            {
                "label": label,
                "pictures": true,
                "recall": right / true if true else None,
                "recall_interval": interval(right, true) if true else None,
                "precision": right / predicted if predicted else None,
            }
        )
    return rows


def mistakes(scored: Predictions, temperature: float, count: int) -> list[tuple[int, int, float]]:
    """(row, predicted class, confidence) of the wrong predictions that were surest, surest first."""
    confidence, predicted = scored.probabilities(temperature).max(dim=1)
    wrong = torch.nonzero(predicted != scored.targets).flatten()
    order = wrong[confidence[wrong].argsort(descending=True, stable=True)][:count]
    return [(int(row), int(predicted[row]), float(confidence[row])) for row in order]
