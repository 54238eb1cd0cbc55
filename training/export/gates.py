"""Quality gates before a package is written; a network that fails one is a failed job with the reason."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from training.model import evaluation
from training.model.evaluation import Predictions
from training.model.head import EpochMetrics

# On fewer images a good model may look bad by chance: with three classes and three images, every fourth time.
JUDGED_IMAGES = 8


class NoModel(Exception):
    """The training gave no model that can be served; the message says why and what to change."""


@dataclass(frozen=True)
class Start:
    """The network before its backbone was trained: top-1 share and mean cross entropy on the validation images."""

    top1: float
    loss: float


def require_numbers(epochs: Sequence[EpochMetrics], scored: dict[str, Predictions], mode: str) -> None:
    """Raises NoModel if a loss or a logit is not a number."""
    bad = [epoch.number for epoch in epochs if not math.isfinite(epoch.train_loss + epoch.loss)]
    if bad or not all(bool(one.logits.isfinite().all()) for one in scored.values()):
        since = f" since epoch {bad[0]}" if bad else ""
        raise NoModel(f"the loss is not a number{since}: lower {_learning_rate(mode)}")


def require_gain(start: Start | None, valid: Predictions) -> None:
    """Raises NoModel if fine-tuning made both the accuracy and the loss on the validation images worse.

    Nothing is said of a few images.
    """
    if start is None or too_few(valid):
        return
    after = evaluation.summary(valid, temperature=1.0)
    if after["top1"] < start.top1 and after["loss"] > start.loss:
        raise NoModel(
            f"fine-tuning made the model worse: validation top-1 {after['top1']:.4f}, "
            f"{start.top1:.4f} before: lower {_learning_rate('finetune')}, or train with --mode head"
        )


def require_skill(scored: Predictions, split: str) -> None:
    """Raises NoModel if the model is no better on `split` than one answer for every image.

    Judged by the mean recall of the classes, which is 1 / classes whatever that one answer is: so the commonest class
    counts as one class, and a model that finds rare ones passes though it may be right on fewer images.
    Nothing is said of a few images.
    """
    if too_few(scored):
        return
    matrix = evaluation.confusion(scored)
    images = matrix.sum(axis=1)
    present = images > 0
    if present.sum() < 2:
        return
    recall = float((matrix.diagonal()[present] / images[present]).mean())
    if recall <= 1 / present.sum():
        raise NoModel(
            f"on the {len(scored.targets)} images of {split} the model is not better than predicting one class: the "
            f"mean recall of {present.sum()} classes is {recall:.4f}. See with `kennel data check` whether the labels "
            "are right, or train for more epochs"
        )


def too_few(scored: Predictions) -> bool:
    """True if there are too few images to judge a model."""
    return len(scored.targets) < JUDGED_IMAGES


def _learning_rate(mode: str) -> str:
    setting = "finetune_learning_rate" if mode == "finetune" else "learning_rate"
    return f"{setting} (--set {setting}=VALUE)"
