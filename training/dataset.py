"""A folder of pictures by class, as people have them: split already, or one folder of classes."""

import hashlib
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import checks
from checks import Finding, Picture
from processors import usable

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}
SPLITS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test",),
}
# Files read ahead of the one that is waited for: enough to keep every core busy, and memory flat.
READ_AHEAD = 64


class DatasetError(Exception):
    """The folder cannot be trained on; the message says all that is wrong, `findings` has it one by one."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        worst_first = sorted(findings, key=lambda finding: finding.severity != checks.ERROR)
        super().__init__("\n".join(map(str, worst_first)))


@dataclass(frozen=True)
class Sample:
    """One picture, the index of its class, and the SHA-256 of its file."""

    path: Path
    label: int
    digest: str


@dataclass(frozen=True)
class Dataset:
    """Samples by split ("train", "valid" and, where the folder has one, "test"), and the class names by index."""

    labels: list[str]
    splits: dict[str, list[Sample]]
    fingerprint: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def skipped(self) -> list[str]:
        """The files that cannot be read, each with the reason."""
        return [f"{finding.where}: {finding.message}" for finding in self.findings if finding.kind == checks.UNREADABLE]


Progress = Callable[[int, int], None]


def load(root: Path, seed: int, valid_fraction: float = 0.2, progress: Progress | None = None) -> Dataset:
    """Reads `root`: train/valid/test, train/val, or classes, of which `valid_fraction` is then held out.

    Every picture is decoded once; `progress` gets (read, all). Raises DatasetError with everything that is wrong.
    """
    structure, pictures = read(root, progress)
    findings = structure + checks.of_pictures(pictures)
    labels = sorted({picture.label for picture in pictures if picture.split == "train"})
    splits: dict[str, list[Picture]] = {}
    for picture in pictures:
        if not picture.problem and picture.label in labels:
            splits.setdefault(picture.split, []).append(picture)
    findings += checks.of_classes(pictures, split_already="valid" in splits)
    if any(finding.severity == checks.ERROR for finding in findings):
        raise DatasetError(findings)

    if "valid" not in splits:
        splits["train"], splits["valid"] = _hold_out(splits["train"], seed, valid_fraction)
    digest = hashlib.sha256()
    for picture in sorted((picture for items in splits.values() for picture in items), key=lambda item: item.name):
        digest.update(f"{picture.name}\0{picture.digest}\n".encode())
    return Dataset(
        labels,
        {
            split: [Sample(item.path, labels.index(item.label), item.digest) for item in splits[split]]
            for split in SPLITS
            if split in splits
        },
        digest.hexdigest(),
        findings,
    )


def read(root: Path, progress: Progress | None = None) -> tuple[list[Finding], list[Picture]]:
    """What is wrong with the folders of `root`, and every picture in them, in the order of their names."""
    if not root.is_dir():
        return [Finding(checks.ERROR, "structure", "", f"{root} is not a folder")], []
    folders = {split: folder for split, names in SPLITS.items() if (folder := _first(root, names))}
    if "train" not in folders:
        folders = {"train": root}
    files = {split: _by_class(folder) for split, folder in folders.items()}
    listed = [
        (root, split, label, path)
        for split, classes in files.items()
        for label, paths in classes.items()
        for path in paths
    ]
    pictures = []
    for picture in _inspect(listed):
        pictures.append(picture)
        if progress:
            progress(len(pictures), len(listed))
    return _of_structure(root, files), pictures


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _by_class(folder: Path) -> dict[str, list[Path]]:
    return {
        child.name: sorted(file for file in child.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }


def _of_structure(root: Path, files: dict[str, dict[str, list[Path]]]) -> list[Finding]:
    def error(where: str, message: str) -> Finding:
        return Finding(checks.ERROR, "structure", where, message)

    labels = list(files["train"])
    if not any(paths for classes in files.values() for paths in classes.values()):
        wanted = ", ".join(sorted(EXTENSIONS))
        return [error("", f"no pictures ({wanted}) under {root}: give a folder with one folder per class")]
    errors = []
    if len(labels) == 1:
        errors.append(error("", f"only the class {labels[0]!r}: a classifier needs at least two folders"))
    for split, classes in files.items():
        for label, paths in classes.items():
            if not paths:
                errors.append(error(f"class {label!r}", f"no pictures in {split}: add some, or remove the folder"))
            if label not in labels:
                errors.append(error(f"class {label!r}", f"in {split} and not in train: add it there, or remove it"))
    return errors


def _inspect(listed: list[tuple[Path, str, str, Path]]) -> Iterator[Picture]:
    with ThreadPoolExecutor(usable()) as pool:
        for start in range(0, len(listed), READ_AHEAD):
            yield from pool.map(lambda item: checks.inspect(*item), listed[start : start + READ_AHEAD])


def _hold_out(pictures: list[Picture], seed: int, fraction: float) -> tuple[list[Picture], list[Picture]]:
    """Splits each class by itself, so that rare ones are in both parts; near duplicates stay on one side."""
    generator = random.Random(seed)
    train: list[Picture] = []
    valid: list[Picture] = []
    for label in sorted({picture.label for picture in pictures}):
        members = [picture for picture in pictures if picture.label == label]
        groups = checks.alike(members)
        generator.shuffle(groups)
        count = min(max(1, round(len(members) * fraction)), len(members) - 1)
        held: list[Picture] = []
        while groups and len(held) < count and (len(groups) > 1 or held == []):
            held += groups.pop()
        valid += held
        train += [picture for group in groups for picture in group]
    return train, valid
