"""The head on a frozen backbone: its settings, its training on cached features, its scores."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.model.features import Features
from training.settings import HeadSettings

DROPOUT = 0.3


@dataclass(frozen=True)
class EpochMetrics:
    """The scores after one epoch; `top1` and `loss` are of the validation split, without label smoothing."""

    number: int
    train_loss: float
    top1: float
    loss: float

    def __str__(self) -> str:
        # Metric definitions read this line (kennel/jobs/training_jobs.py).
        return (
            f"epoch={self.number} train_loss={self.train_loss:.4f} "
            f"valid_top1={self.top1:.4f} valid_loss={self.loss:.4f}"
        )


def build(features: int, classes: int, hidden: int) -> nn.Module:
    """A head from (n, features) to logits (n, classes)."""
    if hidden == 0:
        return nn.Linear(features, classes)
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(hidden, classes))


def train(
    training: Features,
    valid: Features,
    classes: int,
    settings: HeadSettings,
    *,
    epochs: int,
    seed: int,
    after_epoch: Callable[[EpochMetrics], Any] = lambda epoch: None,
) -> nn.Module:
    """Trains a head with AdamW on a cosine schedule; returns it frozen, as after the epoch of least validation loss.

    The same seed gives the same head. What `after_epoch` raises ends the training (so does a pruned trial).
    """
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    width = int(np.load(training.file, mmap_mode="r").shape[2])
    head = build(width, classes, settings.hidden)
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    best, kept = math.inf, head.state_dict()
    for number in range(1, epochs + 1):
        head.train()
        total = 0.0
        for inputs, labels in training.windows(generator):
            for rows, targets in zip(
                torch.split(inputs, settings.batch_size), torch.split(labels, settings.batch_size), strict=True
            ):
                loss = F.cross_entropy(head(rows), targets, label_smoothing=settings.label_smoothing)
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                total += loss.item() * len(rows)
        schedule.step()
        top1, valid_loss = score(head, valid)
        if valid_loss < best:
            best, kept = valid_loss, copy.deepcopy(head.state_dict())
        after_epoch(EpochMetrics(number, total / len(training), top1, valid_loss))
    head.load_state_dict(kept)
    return head.eval().requires_grad_(False)


def score(head: nn.Module, features: Features) -> tuple[float, float]:
    """Top-1 accuracy and mean cross entropy over the plain view of each image."""
    right, loss = 0, 0.0
    for numbers, outputs in logits(head, features):
        targets = torch.from_numpy(features.labels[numbers])
        right += int((outputs.argmax(1) == targets).sum())
        loss += float(F.cross_entropy(outputs, targets, reduction="sum"))
    return right / len(features), loss / len(features)


def logits(head: nn.Module, features: Features) -> Iterator[tuple[Any, torch.Tensor]]:
    """(row numbers, logits (n, classes)) of the plain view of each image, a block at a time."""
    head.eval()
    for numbers, rows in features.blocks():
        with torch.no_grad():
            yield numbers, head(torch.from_numpy(rows[:, 0].copy()))
