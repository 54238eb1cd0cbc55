"""The search space of the head's settings: one table for Optuna and for SageMaker's tuner."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """A real number between two, searched on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """One of several whole numbers."""

    values: tuple[int, ...]


SPACE: dict[str, Range | Choice] = {
    "learning_rate": Range(1e-4, 1e-2, log=True),
    "batch_size": Choice((32, 64, 128, 256)),
    "weight_decay": Range(1e-4, 1e-1, log=True),
    "label_smoothing": Range(0.0, 0.2),
    "hidden": Choice((0, 512)),
}
