"""The feature cache: what a frozen backbone makes of each image, computed once and read by every training after it.

A cache is a folder per (backbone, preprocessing, dataset), with a memory-mapped array of rows for each split. Rows are
ordered by the digest of their image, so that reading on mixes the classes; a row that is not there yet is NaN, so
that an interrupted extraction goes on where it was; and rows of the same images are taken over from older caches.
"""

import functools
import hashlib
import inspect
import json
import mmap
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from inference import colours, decoder, image_file, images, runtimes
from inference.processors import usable
from training.data.dataset import Dataset, Sample
from training.model.backbones import Backbone, on_device
from training.model.serving_module import ServingModule, to_onnx
from training.progress import Progress

Rows = npt.NDArray[np.float32]

MANIFEST = "manifest.json"
# The features of each training image: as it is served, mirrored, and two parts of it.
TRAIN_VIEWS = 4
CROP_AREA = (0.35, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
BATCH = 16
BLOCK_ROWS = 256
# What training holds in memory at a time: 10 MB of 1280 features. It is shuffled within, and so are the blocks.
WINDOW_ROWS = 2048
# Largest relative difference between the features of ONNX Runtime and PyTorch; rounding causes about 1e-6.
MAX_DIFFERENCE = 1e-2


@dataclass(frozen=True)
class Features:
    """The rows of one split: a file of shape (images, views, features), and the class of each image."""

    file: Path
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def blocks(self, order: npt.NDArray[np.int64] | None = None) -> Iterator[tuple[npt.NDArray[np.int64], Rows]]:
        """(row numbers, mapped rows of shape (n, views, features)) by block; copy what outlives the step."""
        rows = np.load(self.file, mmap_mode="r")
        for block in range(self.block_count) if order is None else order:
            numbers = np.arange(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, len(self)))
            yield numbers, rows[numbers[0] : numbers[-1] + 1]
            # The pages stay in the system's cache, and leave this process's memory.
            rows._mmap.madvise(mmap.MADV_DONTNEED)

    @property
    def block_count(self) -> int:
        """The number of blocks."""
        return -(-len(self) // BLOCK_ROWS)

    def windows(self, generator: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch: (features (n, f), labels (n,)) in random order, of each image one view drawn at random."""
        order = generator.permutation(self.block_count)
        per_window = WINDOW_ROWS // BLOCK_ROWS
        for start in range(0, len(order), per_window):
            numbers, chosen = [], []
            for block, rows in self.blocks(order[start : start + per_window]):
                views = generator.integers(rows.shape[1], size=len(rows))
                chosen.append(rows[np.arange(len(rows)), views])
                numbers.append(block)
            shuffled = generator.permutation(sum(map(len, numbers)))
            labels = self.labels[np.concatenate(numbers)[shuffled]]
            yield torch.from_numpy(np.concatenate(chosen)[shuffled]), torch.from_numpy(labels)


@dataclass(frozen=True)
class Cache:
    """A complete cache: all that training a head needs, without the images."""

    folder: Path
    fingerprint: str
    backbone: str
    labels: list[str]
    splits: dict[str, Features]


class CacheError(Exception):
    """There is no usable cache; the message says why, and how to make one."""


def cached(
    root: Path,
    data: Dataset,
    backbone: Backbone,
    network: nn.Module,
    progress: Progress = lambda *_: None,
    device: str = "cpu",
) -> Cache:
    """The cache of `data` below `root`, with whatever rows it lacks computed now.

    `progress` gets (split, images done, images of the split).
    """
    recipe = _recipe(backbone, network)
    folder = root / f"{recipe}-{_identity(data)}"
    folder.mkdir(parents=True, exist_ok=True)
    known = _known_rows(root, recipe, folder)
    # Made when the first row is missing, for all splits.
    run = functools.cache(lambda: runner(backbone, network, device, usable()))
    manifest: dict[str, Any] = {"fingerprint": data.fingerprint, "backbone": backbone.name, "labels": data.labels}
    manifest["splits"] = {}
    for split, samples in data.splits.items():
        ordered = in_order(samples)
        views = TRAIN_VIEWS if split == "train" else 1
        file = folder / f"{split}.npy"
        rows = _open(file, (len(ordered), views, backbone.features))
        _take_over(rows, ordered, known)
        _extract(rows, ordered, backbone, run, functools.partial(progress, split))
        rows.flush()
        manifest["splits"][split] = {
            "labels": [sample.label for sample in ordered],
            "digests": [sample.digest for sample in ordered],
        }
    _write(folder / MANIFEST, manifest)
    return load(folder)


def in_order(samples: list[Sample]) -> list[Sample]:
    """The samples in the order of their rows."""
    return sorted(samples, key=lambda sample: (sample.digest, sample.label))


def load(folder: Path) -> Cache:
    """The complete cache in `folder`, or the newest one below it. Raises CacheError."""
    manifests = sorted(folder.rglob(MANIFEST), key=lambda file: file.stat().st_mtime)
    if not manifests:
        raise CacheError(f"{folder} has no complete feature cache: train on the dataset first")
    folder = manifests[-1].parent
    manifest = json.loads(manifests[-1].read_text())
    return Cache(
        folder,
        manifest["fingerprint"],
        manifest["backbone"],
        manifest["labels"],
        {
            split: Features(folder / f"{split}.npy", np.array(part["labels"], np.int64))
            for split, part in manifest["splits"].items()
        },
    )


def views_of(data: bytes, digest: str, wanted: images.Preprocessing, count: int) -> list[images.Pixels]:
    """The first `count` views of an image, (size_px, size_px, 3) each: as served, mirrored, then random parts of it.

    The parts follow from the digest, so that the same image always has the same views.
    """
    whole = images.opened(data, wanted.shorter_side)
    plain = images.centre(whole, wanted)
    generator = random.Random(digest)
    return [plain, plain[:, ::-1], *(_part(whole, wanted, generator) for _ in range(count - 2))][:count]


def _part(whole: images.Pixels, wanted: images.Preprocessing, generator: random.Random) -> images.Pixels:
    """A random resized crop, mirrored half of the time (the augmentation that ImageNet networks are trained with)."""
    full_height, full_width = whole.shape[:2]
    area = full_width * full_height * generator.uniform(*CROP_AREA)
    aspect = generator.uniform(*CROP_ASPECT)
    width = max(1, min(full_width, round((area * aspect) ** 0.5)))
    height = max(1, min(full_height, round((area / aspect) ** 0.5)))
    left, top = generator.randint(0, full_width - width), generator.randint(0, full_height - height)
    part = images.resized(whole[top : top + height, left : left + width], wanted)
    return part[:, ::-1] if generator.random() < 0.5 else part


def _recipe(backbone: Backbone, network: nn.Module) -> str:
    """A name for everything but the images that decides the features: network, weights, preprocessing."""
    digest = hashlib.sha256(f"{backbone.name} {backbone.input} {backbone.mean} {backbone.std}".encode())
    for source in (image_file, colours, decoder, images, views_of, _part):
        digest.update(inspect.getsource(source).encode())
    digest.update(f"{TRAIN_VIEWS} {CROP_AREA} {CROP_ASPECT}".encode())
    for name, values in network.state_dict().items():
        digest.update(name.encode() + values.cpu().contiguous().numpy().tobytes())
    return f"{backbone.name}-{digest.hexdigest()[:12]}"


def _open(file: Path, shape: tuple[int, int, int]) -> Any:
    """The array in `file`; a new one, a damaged one, or one of another shape, is all NaN."""
    rows = _mapped(file, "r+")
    if rows is not None and rows.shape == shape:
        return rows
    fresh = file.with_suffix(".new")
    rows = np.lib.format.open_memmap(fresh, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, shape[0], BLOCK_ROWS):
        rows[start : start + BLOCK_ROWS] = np.nan
    rows.flush()
    fresh.replace(file)
    return np.load(file, mmap_mode="r+")


def _mapped(file: Path, mode: Literal["r", "r+"]) -> Any:
    """The array in `file`; none if it is not there or was cut short, as an upload that was interrupted leaves it."""
    try:
        # To read first: a file that is too short is an error then, and would be filled up with zeros to write.
        rows = np.load(file, mmap_mode="r")
        return rows if mode == "r" else np.load(file, mmap_mode=mode)
    except (FileNotFoundError, ValueError, EOFError):
        return None


def _identity(data: Dataset) -> str:
    """A name for the images and for what split each is in: the same folder held out with two seeds is two."""
    digest = hashlib.sha256(data.fingerprint.encode())
    for split, samples in data.splits.items():
        digest.update(f"{split} {' '.join(sample.digest for sample in in_order(samples))}".encode())
    return digest.hexdigest()[:16]


def _known_rows(root: Path, recipe: str, folder: Path) -> dict[str, tuple[Any, int]]:
    """By digest, where a row is in the other complete caches of the recipe: the one with the most views."""
    known: dict[str, tuple[Any, int]] = {}
    for manifest in sorted(root.glob(f"{recipe}-*/{MANIFEST}")):
        if manifest.parent != folder:
            for split, part in json.loads(manifest.read_text())["splits"].items():
                rows = _mapped(manifest.parent / f"{split}.npy", "r")
                for place, digest in enumerate(part["digests"] if rows is not None else []):
                    if digest not in known or known[digest][0].shape[1] < rows.shape[1]:
                        known[digest] = rows, place
    return known


def _take_over(rows: Any, ordered: list[Sample], known: dict[str, tuple[Any, int]]) -> None:
    views = rows.shape[1]
    for index in _missing(rows):
        older, place = known.get(ordered[index].digest, (None, 0))
        # The views of an image are made in the same order, however many.
        if older is not None and older.shape[1] >= views:
            rows[index] = older[place][:views]


def _missing(rows: Any) -> list[int]:
    missing: list[int] = []
    for start in range(0, len(rows), BLOCK_ROWS):
        block = np.isnan(rows[start : start + BLOCK_ROWS]).any(axis=(1, 2))
        missing += (start + np.flatnonzero(block)).tolist()
    return missing


def _extract(
    rows: Any,
    ordered: list[Sample],
    backbone: Backbone,
    runner: Callable[[], Callable[[images.Pixels], Rows]],
    progress: Callable[[int, int], Any],
) -> None:
    """Fills the missing rows: a worker per core, each decodes its batch and computes its features on one thread.

    Threads inside the network would fight with the decoding; one per worker leaves every core busy.
    """
    missing = _missing(rows)
    if not missing:
        return
    workers, threads = usable(), torch.get_num_threads()
    run = runner()
    done = len(rows) - len(missing)
    batches = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
    local = threading.local()

    def work(batch: list[int]) -> int:
        if not hasattr(local, "ready"):
            torch.set_num_threads(1)
            local.ready = True
        pixels = [
            views_of(ordered[index].path.read_bytes(), ordered[index].digest, backbone.input, rows.shape[1])
            for index in batch
        ]
        for view in range(rows.shape[1]):
            rows[batch, view] = run(np.stack([views[view] for views in pixels]))
        return len(batch)

    waiting = iter(batches)
    running: set[Future[int]] = set()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                # No more than are being worked on, so that a failure or an interruption ends at once.
                for batch in waiting:
                    running.add(pool.submit(work, batch))
                    if len(running) >= 2 * workers:
                        break
                if not running:
                    break
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                done += sum(future.result() for future in ready)
                progress(done, len(rows))
        finally:
            torch.set_num_threads(threads)


def runner(backbone: Backbone, network: nn.Module, device: str, threads: int) -> Callable[[images.Pixels], Rows]:
    """The network as a function from pixels (n, size, size, 3) to features (n, features), for so many threads.

    On processors ONNX Runtime computes them, as it may serve the model: it merges each convolution with what follows,
    and takes a third of PyTorch's time. Raises CacheError if its features are not PyTorch's.
    """
    if device != "cpu":
        return torch_runner(backbone, network, device)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "backbone.onnx"
        to_onnx(ServingModule(network, backbone.mean, backbone.std), backbone.size_px, file)
        session = runtimes.load("onnxruntime", file, "fp32", threads)

    def run(pixels: images.Pixels) -> Rows:
        return np.concatenate([session(one[None]) for one in pixels])

    example = np.random.default_rng(0).integers(0, 256, (1, backbone.size_px, backbone.size_px, 3), np.uint8)
    own, exported = torch_runner(backbone, network, device)(example), run(example)
    difference = float(np.linalg.norm(exported - own) / max(np.linalg.norm(own), 1e-9))
    if not difference < MAX_DIFFERENCE:
        raise CacheError(
            f"{backbone.name} computes other features in ONNX Runtime than in PyTorch (difference {difference:.2g}): "
            "its export is wrong, so it cannot be served; choose another backbone"
        )
    return run


def torch_runner(backbone: Backbone, network: nn.Module, device: str) -> Callable[[images.Pixels], Rows]:
    """The same by PyTorch: on accelerators, and to compare with."""
    network = on_device(network, device)

    def run(pixels: images.Pixels) -> Rows:
        inputs = torch.from_numpy(images.normalise(pixels, backbone.mean, backbone.std))
        with torch.inference_mode():
            outputs: Rows = network(inputs.to(device, memory_format=torch.channels_last)).float().cpu().numpy()
        return outputs

    return run


def _write(file: Path, document: dict[str, Any]) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(document))
    fresh.replace(file)
