"""The feature cache: computed once, only what changed computed again, resumed where it was, read in any order."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.images import encode, gradient
from inference import images
from training.data import dataset
from training.model import features
from training.model.backbones import BACKBONES, Backbone

SIZE_PX = 32
INPUT = images.Preprocessing(SIZE_PX)
# The fixture `seen` replaces it.
RUNNER = features.runner


class Network(nn.Module):
    """Features from pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) to (n, 4)."""
        means = inputs.mean(dim=(2, 3)) * self.weight
        return torch.cat([means, inputs[:, :1, 0, 0]], dim=1)


BACKBONE = Backbone("tiny", SIZE_PX, (0.5,) * 3, (0.5,) * 3, 4, lambda weights: Network(), lambda network: [[network]])


def write(root: Path, count: int = 6) -> Path:
    for split in ("train", "valid"):
        for label in ("a", "b"):
            for number in range(count):
                file = root / split / label / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                shade = number + 20 * (label == "b") + 40 * (split == "valid")
                file.write_bytes(encode(gradient(60 + shade, 50), "PNG"))
    return root


def cached(folder: Path, root: Path) -> features.Cache:
    return features.cached(root, dataset.load(folder, seed=1), BACKBONE, Network())


class Seen:
    """The number of images that went through a network, of at most `limit`."""

    def __init__(self) -> None:
        self.count, self.limit = 0, 10**9

    def since(self) -> int:
        """The number since the last call."""
        count, self.count = self.count, 0
        return count


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()

    def counting(
        backbone: Backbone, network: nn.Module, device: str, threads: int
    ) -> Callable[[images.Pixels], features.Rows]:
        run = features.torch_runner(backbone, network, device)  # no export, which takes seconds

        def counted(pixels: images.Pixels) -> features.Rows:
            if found.count >= found.limit:
                raise MemoryError("out of memory")
            found.count += len(pixels)
            return run(pixels)

        return counted

    monkeypatch.setattr(features, "runner", counting)
    return found


def rows(cache: features.Cache, split: str) -> np.ndarray:
    return np.load(cache.splits[split].file)


def test_cached_features_are_reused(tmp_path: Path, seen: Seen) -> None:
    folder = write(tmp_path / "data")
    first = cached(folder, tmp_path / "cache")
    assert seen.since() == 12 * features.TRAIN_VIEWS + 12
    assert rows(first, "train").shape == (12, features.TRAIN_VIEWS, 4)
    again = cached(folder, tmp_path / "cache")
    assert seen.since() == 0
    assert again.folder == first.folder


def test_only_changed_image_is_recomputed(tmp_path: Path, seen: Seen) -> None:
    folder = write(tmp_path / "data")
    before = cached(folder, tmp_path / "cache")
    (folder / "train" / "a" / "0.png").write_bytes(encode(gradient(200, 50), "PNG"))
    seen.since()
    after = cached(folder, tmp_path / "cache")
    assert seen.since() == features.TRAIN_VIEWS
    old = {row.tobytes() for row in rows(before, "train")}
    new = {row.tobytes() for row in rows(after, "train")}
    assert len(old & new) == 11
    assert np.array_equal(rows(before, "valid"), rows(after, "valid"))


def test_new_weights_recompute_everything(tmp_path: Path, seen: Seen) -> None:
    folder = write(tmp_path / "data")
    cached(folder, tmp_path / "cache")
    seen.since()
    network = Network()
    network.weight.data *= 2
    features.cached(tmp_path / "cache", dataset.load(folder, seed=1), BACKBONE, network)
    assert seen.since() == 12 * features.TRAIN_VIEWS + 12


def test_interrupted_extraction_resumes(tmp_path: Path, seen: Seen) -> None:
    folder = write(tmp_path / "data", count=40)
    data, seen.limit = dataset.load(folder, seed=1), 2 * features.TRAIN_VIEWS * features.BATCH
    with pytest.raises(MemoryError):
        features.cached(tmp_path / "cache", data, BACKBONE, Network())
    seen.count, seen.limit = 0, 10**9
    with pytest.raises(features.CacheError, match="no complete feature cache"):
        features.load(tmp_path / "cache")
    resumed = cached(folder, tmp_path / "cache")
    assert features.TRAIN_VIEWS <= seen.since() < 80 * features.TRAIN_VIEWS + 80
    whole = cached(folder, tmp_path / "other")
    for split in ("train", "valid"):
        assert np.array_equal(rows(resumed, split), rows(whole, split))


def test_views_are_deterministic_and_start_as_served() -> None:
    data = encode(gradient(90, 70), "JPEG")
    first, mirrored, *parts = features.views_of(data, "digest", INPUT, 4)
    assert np.array_equal(first, images.decode(data, INPUT))
    assert np.array_equal(mirrored, first[:, ::-1])
    assert all(part.shape == first.shape for part in parts)
    again = features.views_of(data, "digest", INPUT, 4)
    assert all(np.array_equal(one, other) for one, other in zip(again, (first, mirrored, *parts), strict=True))
    assert not np.array_equal(features.views_of(data, "other", INPUT, 4)[2], parts[0])


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
    made = cached(folder, tmp_path / "cache")
    loaded = features.load(tmp_path / "cache")
    assert loaded.labels == ["a", "b"]
    assert loaded.fingerprint == made.fingerprint
    assert loaded.splits["train"].labels.tolist() == made.splits["train"].labels.tolist()
    assert json.loads((made.folder / features.MANIFEST).read_text())["backbone"] == "tiny"


def test_new_seed_keeps_rows_with_their_images(tmp_path: Path, seen: Seen) -> None:
    folder = write(tmp_path / "data") / "train"
    caches, computed = {}, 0
    for seed in (1, 2):
        data = dataset.load(folder, seed=seed)
        seen.since()
        caches[seed] = features.cached(tmp_path / "cache", data, BACKBONE, Network())
        computed = seen.since()
        fresh = features.cached(tmp_path / f"fresh-{seed}", data, BACKBONE, Network())
        for split in ("train", "valid"):
            assert np.array_equal(rows(caches[seed], split), rows(fresh, split))
    # Of the images that were in the training part, what the validation part needs was there.
    assert caches[1].folder != caches[2].folder
    assert computed < 12 * features.TRAIN_VIEWS


def test_truncated_cache_file_is_recomputed(tmp_path: Path, seen: Seen) -> None:
    folder = write(tmp_path / "data")
    before = cached(folder, tmp_path / "cache")
    whole = rows(before, "train")
    file = before.splits["train"].file
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    seen.since()
    after = cached(folder, tmp_path / "cache")
    assert seen.since() == 12 * features.TRAIN_VIEWS
    assert np.array_equal(rows(after, "train"), whole)


def test_features_are_those_of_pytorch() -> None:
    """ONNX Runtime computes them on processors, PyTorch elsewhere: an accelerator continues a processor's cache."""
    backbone = BACKBONES["tiny_random"]
    network = backbone.load(None)
    pixels = np.random.default_rng(1).integers(0, 256, (3, backbone.size_px, backbone.size_px, 3), np.uint8)
    own = features.torch_runner(backbone, network, "cpu")(pixels)
    assert np.allclose(RUNNER(backbone, network, "cpu", 1)(pixels), own, atol=1e-4)


def test_wrong_export_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = BACKBONES["tiny_random"]
    wrong = np.ones((1, backbone.features), np.float32)
    monkeypatch.setattr(features.runtimes, "load", lambda *_: lambda pixels: wrong)
    with pytest.raises(features.CacheError, match="tiny_random computes other features in ONNX Runtime"):
        RUNNER(backbone, backbone.load(None), "cpu", 1)
