"""The feature cache: computed once, only what changed computed again, resumed where it was, read in any order."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.images import encode, gradient
from inference import images
from training.data import dataset
from training.model import features
from training.model.backbones import Backbone

SIZE_PX = 32


class Counting(nn.Module):
    """Features from pixels, and how many images it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen += len(inputs)
        means = inputs.mean(dim=(2, 3)) * self.weight
        return torch.cat([means, inputs[:, :1, 0, 0]], dim=1)


BACKBONE = Backbone("tiny", SIZE_PX, (0.5,) * 3, (0.5,) * 3, 4, lambda weights: Counting(), lambda network: [[network]])


def write(root: Path, count: int = 6) -> Path:
    for split in ("train", "valid"):
        for label in ("a", "b"):
            for number in range(count):
                file = root / split / label / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                shade = number + 20 * (label == "b") + 40 * (split == "valid")
                file.write_bytes(encode(gradient(60 + shade, 50), "PNG"))
    return root


def cached(folder: Path, root: Path) -> tuple[features.Cache, Counting]:
    network = Counting()
    return features.cached(root, dataset.load(folder, seed=1), BACKBONE, network), network


def rows(cache: features.Cache, split: str) -> np.ndarray:
    return np.load(cache.splits[split].file)


def test_cached_features_are_reused(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    first, network = cached(folder, tmp_path / "cache")
    assert network.seen == 12 * features.TRAIN_VIEWS + 12
    assert rows(first, "train").shape == (12, features.TRAIN_VIEWS, 4)
    again, network = cached(folder, tmp_path / "cache")
    assert network.seen == 0
    assert again.folder == first.folder


def test_only_changed_image_is_recomputed(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    before, _ = cached(folder, tmp_path / "cache")
    (folder / "train" / "a" / "0.png").write_bytes(encode(gradient(200, 50), "PNG"))
    after, network = cached(folder, tmp_path / "cache")
    assert network.seen == features.TRAIN_VIEWS
    old = {row.tobytes() for row in rows(before, "train")}
    new = {row.tobytes() for row in rows(after, "train")}
    assert len(old & new) == 11
    assert np.array_equal(rows(before, "valid"), rows(after, "valid"))


def test_new_weights_recompute_everything(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    cached(folder, tmp_path / "cache")
    network = Counting()
    network.weight.data *= 2
    features.cached(tmp_path / "cache", dataset.load(folder, seed=1), BACKBONE, network)
    assert network.seen == 12 * features.TRAIN_VIEWS + 12


def test_interrupted_extraction_resumes(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", count=40)

    class Breaking(Counting):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if self.seen >= 2 * features.TRAIN_VIEWS * features.BATCH:
                raise MemoryError("out of memory")
            return super().forward(inputs)

    data = dataset.load(folder, seed=1)
    with pytest.raises(MemoryError):
        features.cached(tmp_path / "cache", data, BACKBONE, Breaking())
    with pytest.raises(features.CacheError, match="no complete feature cache"):
        features.load(tmp_path / "cache")
    resumed, network = cached(folder, tmp_path / "cache")
    assert features.TRAIN_VIEWS <= network.seen < 80 * features.TRAIN_VIEWS + 80
    whole, _ = cached(folder, tmp_path / "other")
    for split in ("train", "valid"):
        assert np.array_equal(rows(resumed, split), rows(whole, split))


def test_views_are_deterministic_and_start_as_served() -> None:
    data = encode(gradient(90, 70), "JPEG")
    first, mirrored, *parts = features.views_of(data, "digest", SIZE_PX, 4)
    assert np.array_equal(first, images.decode(data, SIZE_PX))
    assert np.array_equal(mirrored, first[:, ::-1])
    assert all(part.shape == first.shape for part in parts)
    again = features.views_of(data, "digest", SIZE_PX, 4)
    assert all(np.array_equal(one, other) for one, other in zip(again, (first, mirrored, *parts), strict=True))
    assert not np.array_equal(features.views_of(data, "other", SIZE_PX, 4)[2], parts[0])


def test_windows_yield_each_row_once_with_label(tmp_path: Path) -> None:
    count = features.WINDOW_ROWS + features.BLOCK_ROWS + 3
    labels = np.arange(count)
    np.save(tmp_path / "train.npy", np.repeat(labels[:, None, None], 2, axis=1).astype(np.float32))
    split = features.Features(tmp_path / "train.npy", labels)
    windows = list(split.windows(np.random.default_rng(1)))
    assert max(len(window) for window, _ in windows) <= features.WINDOW_ROWS
    seen = torch.cat([inputs[:, 0] for inputs, _ in windows]).long()
    assert torch.equal(seen, torch.cat([labels for _, labels in windows]))
    assert sorted(seen.tolist()) == labels.tolist()
    assert seen.tolist() != labels.tolist()


def test_cache_loads_without_images(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    made, _ = cached(folder, tmp_path / "cache")
    loaded = features.load(tmp_path / "cache")
    assert loaded.labels == ["a", "b"]
    assert loaded.fingerprint == made.fingerprint
    assert loaded.splits["train"].labels.tolist() == made.splits["train"].labels.tolist()
    assert json.loads((made.folder / features.MANIFEST).read_text())["backbone"] == "tiny"


def test_new_seed_keeps_rows_with_their_images(tmp_path: Path) -> None:
    folder = write(tmp_path / "data") / "train"
    caches = {}
    for seed in (1, 2):
        data, network = dataset.load(folder, seed=seed), Counting()
        caches[seed] = features.cached(tmp_path / "cache", data, BACKBONE, network)
        fresh = features.cached(tmp_path / f"fresh-{seed}", data, BACKBONE, Counting())
        for split in ("train", "valid"):
            assert np.array_equal(rows(caches[seed], split), rows(fresh, split))
    # Of the images that were in the training part, what the validation part needs was there.
    assert caches[1].folder != caches[2].folder
    assert network.seen < 12 * features.TRAIN_VIEWS


def test_truncated_cache_file_is_recomputed(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    before, _ = cached(folder, tmp_path / "cache")
    whole = rows(before, "train")
    file = before.splits["train"].file
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    after, network = cached(folder, tmp_path / "cache")
    assert network.seen == 12 * features.TRAIN_VIEWS
    assert np.array_equal(rows(after, "train"), whole)
