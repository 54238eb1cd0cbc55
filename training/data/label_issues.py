"""Label issues by the backbone's features: images with a likely wrong label, and images unlike all others.

Labels are judged by confident learning (Northcutt, Jiang, Chuang 2021): each image is classified by a linear classifier
that was fitted without it, and is doubtful if that is as sure of another class as it is of that class's own images on
average. The classifier is a ridge regression onto the classes, whose answers without one image follow from the answers
with it in closed form. Outliers are far from their nearest neighbours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from training.data.dataset import Dataset, Sample
from training.model import evaluation
from training.model.features import Cache, Features, in_order

Array = npt.NDArray[np.float64]

LABEL, OUTLIER = "label", "outlier"
# Ridge strengths that are tried, as shares of the mean eigenvalue.
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Enough to calibrate the answers with.
CALIBRATED_ROWS = 20_000
# Neighbours are looked for among so many training images, evenly spread: the time is linear in the dataset.
COMPARED_ROWS = 5_000
NEIGHBOURS = 10
# Tukey's fence: so many interquartile ranges above the upper quartile.
FENCE = 1.5
# Fewer images have no quartiles worth the name.
MIN_IMAGES = 20


@dataclass(frozen=True)
class Doubt:
    """An image that is doubtful.

    `score` is the probability of the class that it looks like, or the mean cosine distance of an outlier from its
    neighbours, of which `looks_like` is None.
    """

    kind: str
    split: str
    sample: Sample
    score: float
    looks_like: int | None = None


def of(cache: Cache, data: Dataset) -> list[Doubt]:
    """All doubts about the images of `data`, whose features are in `cache`: labels first, the most doubtful first."""
    ordered = {split: in_order(samples) for split, samples in data.splits.items()}
    return [
        *(Doubt(LABEL, split, ordered[split][row], score, guess) for score, split, row, guess in _labels(cache)),
        *(Doubt(OUTLIER, split, ordered[split][row], score) for score, split, row in _outliers(cache)),
    ]


def _labels(cache: Cache) -> list[tuple[float, str, int, int]]:
    """(probability, split, row, class that it looks like), the surest first."""
    train, classes = cache.splits["train"], len(cache.labels)
    values, vectors, weights, ridge = _fitted(train, classes)

    def answers(features: Features, *, without: bool) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
        for numbers, rows in _rows(features):
            turned = rows @ vectors
            scores = (turned / (values + ridge)) @ weights
            if without:
                scores = _without_itself(scores, turned, values + ridge, features.labels[numbers], classes)
            yield numbers, scores

    temperature = _temperature(answers(train, without=True), train)
    found: list[tuple[float, str, int, int]] = []
    sure: Array | None = None
    for split, features in cache.splits.items():
        best, likely, own = (np.zeros(len(features)) for _ in range(3))
        for numbers, scores in answers(features, without=split == "train"):
            odds = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
            odds /= odds.sum(axis=1, keepdims=True)
            best[numbers], likely[numbers] = odds.argmax(axis=1), odds.max(axis=1)
            own[numbers] = odds[np.arange(len(odds)), features.labels[numbers]]
        if sure is None:
            # The training images are the first split. A class without any is as sure as none.
            counts = np.bincount(features.labels, minlength=classes)
            sure = np.where(counts, np.bincount(features.labels, own, classes) / np.maximum(counts, 1), np.inf)
        guessed = best.astype(np.int64)
        for row in np.flatnonzero((guessed != features.labels) & (likely >= sure[guessed])):
            found.append((round(float(likely[row]), 4), split, int(row), int(guessed[row])))
    return sorted(found, reverse=True)


def _fitted(train: Features, classes: int) -> tuple[Array, Array, Array, float]:
    """Eigenvalues, eigenvectors, weights in their basis, and the ridge with the least error on rows left out."""
    gram: Array | float = 0.0
    targets: Array | float = 0.0
    for numbers, rows in _rows(train):
        gram = gram + rows.T @ rows
        targets = targets + rows.T @ np.eye(classes)[train.labels[numbers]]
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0)
    weights = vectors.T @ targets
    ridges = [float(values.mean() * share) for share in RIDGES]
    errors = np.zeros(len(ridges))
    for numbers, rows in _rows(train):
        turned, wanted = rows @ vectors, np.eye(classes)[train.labels[numbers]]
        for place, ridge in enumerate(ridges):
            scores = (turned / (values + ridge)) @ weights
            left_out = _without_itself(scores, turned, values + ridge, train.labels[numbers], classes)
            errors[place] += ((left_out - wanted) ** 2).sum()
    return values, vectors, weights, ridges[int(errors.argmin())]


def _without_itself(scores: Array, turned: Array, spread: Array, labels: npt.NDArray[np.int64], classes: int) -> Array:
    """The prediction for each row by a fit without it: (n, classes)."""
    own = ((turned**2) / spread).sum(axis=1, keepdims=True)
    left_out: Array = (scores - own * np.eye(classes)[labels]) / np.maximum(1 - own, 1e-9)
    return left_out


def _temperature(answers: Iterator[tuple[npt.NDArray[np.int64], Array]], train: Features) -> float:
    scores, labels, count = [], [], 0
    for numbers, some in answers:
        scores.append(some)
        labels.append(train.labels[numbers])
        count += len(numbers)
        if count >= CALIBRATED_ROWS:
            break
    logits, targets = torch.from_numpy(np.concatenate(scores)), torch.from_numpy(np.concatenate(labels))
    return evaluation.fit_temperature(evaluation.Predictions(logits, targets))


def _outliers(cache: Cache) -> list[tuple[float, str, int]]:
    """(distance, split, row), the farthest first."""
    train = cache.splits["train"]
    if len(train) < MIN_IMAGES:
        return []
    step = -(-len(train) // COMPARED_ROWS)
    chosen, compared = [], []
    for numbers, rows in _rows(train):
        taken = numbers % step == 0
        chosen.append(numbers[taken])
        compared.append(_directions(rows[taken]))
    places, known = np.concatenate(chosen), np.concatenate(compared).astype(np.float32)
    distances = {}
    for split, features in cache.splits.items():
        distances[split] = np.zeros(len(features))
        for numbers, rows in _rows(features):
            between = 1 - _directions(rows).astype(np.float32) @ known.T
            if split == "train":
                between[numbers[:, None] == places[None]] = np.inf  # itself
            nearest = np.partition(between, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
            distances[split][numbers] = nearest.mean(axis=1)
    lower, upper = np.quantile(distances["train"], (0.25, 0.75))
    limit = upper + FENCE * (upper - lower)
    found = [
        (round(float(values[row]), 4), split, int(row))
        for split, values in distances.items()
        for row in np.flatnonzero(values > limit)
    ]
    return sorted(found, reverse=True)


def _rows(features: Features) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
    """(row numbers, rows (n, features + 1)) by block: each image as it is served, and a constant."""
    for numbers, rows in features.blocks():
        yield numbers, np.hstack([rows[:, 0].astype(np.float64), np.ones((len(rows), 1))])


def _directions(rows: Array) -> Array:
    plain = rows[:, :-1]
    directions: Array = plain / np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-12)
    return directions
