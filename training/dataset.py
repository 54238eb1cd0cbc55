"""A folder of pictures by class, as people have them: split already, or one folder of classes."""

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path

from images import UnreadableImage, UnsupportedImage, decode

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}
SPLITS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test",),
}
NAMED_FILES = 5


class DatasetError(Exception):
    """The folder cannot be trained on; the message lists every reason."""


@dataclass(frozen=True)
class Sample:
    """One picture and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Dataset:
    """Samples by split ("train", "valid" and, where the folder has one, "test"), and the class names by index."""

    labels: list[str]
    splits: dict[str, list[Sample]]
    fingerprint: str
    skipped: list[str] = field(default_factory=list)


def load(root: Path, seed: int, valid_fraction: float = 0.2) -> Dataset:
    """Reads `root`: train/valid/test, train/val, or classes, of which `valid_fraction` is then held out.

    Every picture is decoded once: what cannot be is left out and named in `skipped`. Raises DatasetError.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder")
    folders = {split: folder for split, names in SPLITS.items() if (folder := _first(root, names))}
    if "train" not in folders:
        folders = {"train": root}

    files = {split: _by_class(folder) for split, folder in folders.items()}
    labels = sorted(files["train"])
    _check_classes(root, files, labels)

    skipped: list[str] = []
    digest = hashlib.sha256()
    splits: dict[str, list[Sample]] = {}
    for split, classes in files.items():
        samples = []
        for index, label in enumerate(labels):
            for path in classes.get(label, []):
                data = path.read_bytes()
                if reason := _unusable(data):
                    skipped.append(f"{path.relative_to(root)}: {reason}")
                    continue
                digest.update(f"{path.relative_to(root).as_posix()}\0{hashlib.sha256(data).hexdigest()}\n".encode())
                samples.append(Sample(path, index))
        splits[split] = samples
    _check_samples(splits["train"], labels, skipped)

    if "valid" not in splits:
        splits["train"], splits["valid"] = _hold_out(splits["train"], len(labels), seed, valid_fraction)
    return Dataset(labels, splits, digest.hexdigest(), skipped)


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _by_class(folder: Path) -> dict[str, list[Path]]:
    return {
        child.name: sorted(file for file in child.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }


def _check_classes(root: Path, files: dict[str, dict[str, list[Path]]], labels: list[str]) -> None:
    errors = []
    if not any(paths for classes in files.values() for paths in classes.values()):
        errors.append(
            f"no pictures ({', '.join(sorted(EXTENSIONS))}) under {root}: give a folder with one folder per class"
        )
    elif len(labels) < 2:
        errors.append(f"only the class {labels[0]!r}: a classifier needs at least two folders")
    else:
        for split, classes in files.items():
            for label, paths in classes.items():
                if not paths:
                    errors.append(f"class {label!r} has no pictures in {split}: add some, or remove the folder")
                if label not in labels:
                    errors.append(f"class {label!r} is in {split} and not in train: add it there, or remove it")
    if errors:
        raise DatasetError("\n".join(errors))


def _check_samples(samples: list[Sample], labels: list[str], skipped: list[str]) -> None:
    present = {sample.label for sample in samples}
    if missing := [label for index, label in enumerate(labels) if index not in present]:
        named = "; ".join(skipped[:NAMED_FILES]) + (" …" if len(skipped) > NAMED_FILES else "")
        raise DatasetError(f"no readable training picture in class {', '.join(missing)} ({named})")


def _unusable(data: bytes) -> str | None:
    try:
        decode(data, 16)
    except (UnreadableImage, UnsupportedImage) as error:
        return str(error)
    return None


def _hold_out(samples: list[Sample], classes: int, seed: int, fraction: float) -> tuple[list[Sample], list[Sample]]:
    """Splits each class by itself, so that rare ones are in both parts."""
    generator = random.Random(seed)
    train, valid = [], []
    for label in range(classes):
        members = [sample for sample in samples if sample.label == label]
        if len(members) < 2:
            raise DatasetError(f"a class with a single picture ({members[0].path}) cannot be split: add another")
        generator.shuffle(members)
        count = min(max(1, round(len(members) * fraction)), len(members) - 1)
        valid += members[:count]
        train += members[count:]
    return train, valid
