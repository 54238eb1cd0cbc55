"""The images of a folder, read and checked: splits, labels, and everything that is wrong with them."""

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from training.data import checks, layout
from training.data.findings import ERROR, WARNING, Finding
from training.data.inspection import CheckedImage
from training.data.inspector_pool import inspect_all
from training.data.layout import SPLITS


class DatasetError(Exception):
    """The folder cannot be trained on; the message says all that is wrong, `findings` has it one by one."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        worst_first = sorted(findings, key=lambda finding: finding.severity != ERROR)
        super().__init__("\n".join(map(str, worst_first)))


@dataclass(frozen=True, slots=True)
class Sample:
    """One image, the index of its class, and the SHA-256 of its file."""

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


@dataclass(frozen=True)
class Checked:
    """The images of a folder, everything that was found about them, and the readable ones by split.

    With an error among the findings, nothing is held out.
    """

    images: list[CheckedImage]
    findings: list[Finding]
    labels: list[str]
    splits: dict[str, list[CheckedImage]]

    @property
    def errors(self) -> int:
        """The number of findings that stop a training."""
        return sum(finding.severity == ERROR for finding in self.findings)


def check(root: Path, seed: int, valid_fraction: float = 0.2, progress: Progress | None = None) -> Checked:
    """Reads and checks `root` (layout.py); of classes that are not split, `valid_fraction` is held out.

    Every image is decoded once; `progress` gets (read, all).
    """
    structure, images = read(root, progress)
    labels = sorted({image.label for image in images if image.split == "train"})
    known = set(labels)
    splits: dict[str, list[CheckedImage]] = {}
    for image in images:
        if not image.problem and image.label in known:
            splits.setdefault(image.split, []).append(image)
    groups = checks.alike(images)
    findings = [
        *structure,
        *checks.of_images(images, groups),
        *checks.of_classes(images, split_already="valid" in splits),
    ]
    checked = Checked(images, findings, labels, splits)
    if not checked.errors and "valid" not in splits:
        splits["train"], splits["valid"], divided = _hold_out(groups, seed, valid_fraction)
        findings += divided
    return checked


def load(root: Path, seed: int, valid_fraction: float = 0.2, progress: Progress | None = None) -> Dataset:
    """The checked images of `root` as samples. Raises DatasetError with everything that is wrong."""
    checked = check(root, seed, valid_fraction, progress)
    if checked.errors:
        raise DatasetError(checked.findings)
    index = {label: number for number, label in enumerate(checked.labels)}
    splits = checked.splits
    digest = hashlib.sha256()
    for image in sorted((image for items in splits.values() for image in items), key=lambda item: item.name):
        digest.update(f"{image.name}\0{image.digest}\n".encode())
    return Dataset(
        checked.labels,
        {
            split: [Sample(item.path, index[item.label], item.digest) for item in splits[split]]
            for split in SPLITS
            if split in splits
        },
        digest.hexdigest(),
        checked.findings,
    )


def read(root: Path, progress: Progress | None = None) -> tuple[list[Finding], list[CheckedImage]]:
    """Findings about the layout of `root`, and every image in it, in the order of their names."""
    found = layout.read(root)
    images = []
    for image in inspect_all(found.images):
        images.append(image)
        if progress:
            progress(len(images), len(found.images))
    return found.findings, images


def _hold_out(
    alike: list[list[CheckedImage]], seed: int, fraction: float
) -> tuple[list[CheckedImage], list[CheckedImage], list[Finding]]:
    """Splits the training images, each class by itself, so that all classes are in both parts.

    `alike` has all images in groups that show the same; such a group stays on one side, if it can.
    """
    generator = random.Random(seed)
    train: list[CheckedImage] = []
    valid: list[CheckedImage] = []
    findings: list[Finding] = []
    by_label: dict[str, list[list[CheckedImage]]] = defaultdict(list)
    for group in alike:
        images = [image for image in group if image.split == "train"]
        for label in dict.fromkeys(image.label for image in images):
            by_label[label].append([image for image in images if image.label == label])
    for label, groups in sorted(by_label.items()):
        size = sum(map(len, groups))
        generator.shuffle(groups)
        count = min(max(1, round(size * fraction)), size - 1)
        held: list[CheckedImage] = []
        kept: list[list[CheckedImage]] = []
        for group in groups:
            fits = len(held) < count and len(held) + len(group) <= min(2 * count, size - 1)
            if fits:
                held += group
            else:
                kept.append(group)
        if not held:
            # The last ones by name: neighbours in a film are the most alike.
            largest = max(kept, key=len)
            held = largest[-count:]
            del largest[-count:]
            message = (
                f"{len(largest) + count} of its {size} images show nearly the same, so that training and "
                "validation do: its accuracy will be told too high"
            )
            findings.append(Finding(WARNING, "alike", f"class {label!r}", message))
        valid += held
        train += [image for group in kept for image in group]
    return train, valid, findings
