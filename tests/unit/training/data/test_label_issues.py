"""Wrong labels and outliers are found in the features, and little else."""

from pathlib import Path

import numpy as np
import pytest

from training.data import label_issues
from training.data.dataset import Dataset, Sample
from training.model.features import Cache, Features

CLASSES, WIDTH = 4, 32


def made(folder: Path, count: int, *, wrong: tuple[int, ...] = (), far: tuple[int, ...] = ()) -> tuple[Cache, Dataset]:
    """Classes around centres; the rows `wrong` have the label of the next class, and those of `far` are of none."""
    generator = np.random.default_rng(1)
    centres = 3 * generator.normal(size=(CLASSES, WIDTH))
    splits, samples = {}, {}
    for split, rows, views in (("train", count, 2), ("valid", 20, 1)):
        labels = np.arange(rows) % CLASSES
        values = centres[labels] + generator.normal(size=(rows, WIDTH))
        if split == "train":
            values[list(far)] = 3 * generator.normal(size=(len(far), WIDTH))
            labels[list(wrong)] = (labels[list(wrong)] + 1) % CLASSES
        file = folder / f"{split}.npy"
        np.save(file, np.repeat(values[:, None], views, axis=1).astype(np.float32))
        splits[split] = Features(file, labels)
        samples[split] = [Sample(folder / f"{n}", int(label), f"{n:06}") for n, label in enumerate(labels)]
    names = [str(number) for number in range(CLASSES)]
    return Cache(folder, "f", "b", names, splits), Dataset(names, samples, "f")


def rows(found: list[label_issues.Doubt], kind: str) -> set[int]:
    return {int(one.sample.digest) for one in found if one.kind == kind and one.split == "train"}


@pytest.mark.parametrize("count", [24, 600])
def test_wrong_labels_are_found(tmp_path: Path, count: int) -> None:
    cache, data = made(tmp_path, count, wrong=(3, 10, 17))
    found = label_issues.of(cache, data)
    assert rows(found, label_issues.LABEL) == {3, 10, 17}
    # Most doubtful first, and each looks like the class that it is of.
    labels = [one for one in found if one.kind == label_issues.LABEL]
    assert [one.score for one in labels] == sorted((one.score for one in labels), reverse=True)
    assert all(one.looks_like == (one.sample.label - 1) % CLASSES for one in labels)


def test_good_labels_are_not_doubted(tmp_path: Path) -> None:
    cache, data = made(tmp_path, 600)
    assert [one for one in label_issues.of(cache, data) if one.kind == label_issues.LABEL] == []


def test_outliers_are_found(tmp_path: Path) -> None:
    cache, data = made(tmp_path, 600, far=(5, 77))
    outliers = [one for one in label_issues.of(cache, data) if one.kind == label_issues.OUTLIER]
    assert {int(one.sample.digest) for one in outliers[:2]} == {5, 77}
    assert len(outliers) < 15


def test_neighbours_are_looked_for_among_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_issues, "COMPARED_ROWS", 130)
    cache, data = made(tmp_path, 600, far=(5, 77))
    outliers = [one for one in label_issues.of(cache, data) if one.kind == label_issues.OUTLIER]
    assert {int(one.sample.digest) for one in outliers[:2]} == {5, 77}


def test_few_images_have_no_outliers(tmp_path: Path) -> None:
    cache, data = made(tmp_path, 8)
    assert [one for one in label_issues.of(cache, data) if one.kind == label_issues.OUTLIER] == []
