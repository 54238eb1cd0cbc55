"""What is wrong with pictures, before they cost training time: one pass over the files, every finding at once."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import decoder_pool
from decoder import MAX_FILE_BYTES
from images import Pixels, UnreadableImage, UnsupportedImage

ERROR, WARNING, NOTE = "error", "warning", "note"
UNREADABLE = "unreadable"
SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "WEBP": (".webp",)}
SMALL_SIDE_PX = 64
TINY_CLASS = 10
IMBALANCE = 10
# Difference hash of 16 × 16 bits; copies that were scaled or compressed again differ in fewer than this many of them.
HASH_SIDE = 16
NEAR_BITS = 12
# A hash of a nearly even picture is noise: its neighbouring grey values differ by less than this on average.
MIN_CONTRAST = 0.5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. An error stops the training, a warning costs accuracy, a note is dealt with."""

    severity: str
    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@dataclass(frozen=True)
class Picture:
    """A file of the dataset as it was found; `problem` says why it cannot be used, if so."""

    path: Path
    name: str
    split: str
    label: str
    digest: str
    problem: str | None = None
    format: str = ""
    size: tuple[int, int] = (0, 0)
    rotated: bool = False
    hash: npt.NDArray[np.uint64] | None = None


def inspect(root: Path, split: str, label: str, path: Path) -> Picture:
    """Reads one file: its digest, its format, and a hash that copies of the picture share."""
    name = path.relative_to(root).as_posix()
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            with path.open("rb") as large:
                digest = hashlib.file_digest(large, "sha256").hexdigest()
            return Picture(path, name, split, label, digest, problem=f"has more than {MAX_FILE_BYTES:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        return Picture(path, name, split, label, "", problem=f"cannot be read: {error.strerror}")
    digest = hashlib.sha256(data).hexdigest()
    try:
        file = decoder_pool.decode(data, 2 * HASH_SIDE)
    except (UnreadableImage, UnsupportedImage) as error:
        return Picture(path, name, split, label, digest, problem=str(error))
    size, rotated = (file.width, file.height), file.orientation != 1
    return Picture(path, name, split, label, digest, None, file.format, size, rotated, _hash(file.pixels))


def _hash(pixels: Pixels) -> npt.NDArray[np.uint64] | None:
    grey = np.asarray(
        Image.fromarray(pixels).convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX), np.int16
    )
    steps = np.diff(grey, axis=1)
    if np.abs(steps).mean() < MIN_CONTRAST:
        return None
    return np.packbits(steps > 0).view(np.uint64)


def of_pictures(pictures: list[Picture]) -> list[Finding]:
    """Findings about single files, and about files that are the same."""
    return [*_of_files(pictures), *_of_copies(pictures)]


def of_classes(pictures: list[Picture], split_already: bool) -> list[Finding]:
    """Findings about the number of readable training pictures in each class."""
    usable = Counter(picture.label for picture in pictures if picture.split == "train" and not picture.problem)
    named = sorted({picture.label for picture in pictures if picture.split == "train"})
    findings = []
    for label in named:
        count, where = usable[label], f"class {label!r}"
        if count == 0:
            findings.append(Finding(ERROR, "class", where, "no readable training picture: add some"))
        elif count == 1 and not split_already:
            message = "a single picture cannot be split into training and validation: add another"
            findings.append(Finding(ERROR, "class", where, message))
        elif count < TINY_CLASS:
            message = f"only {count} training pictures: at least {TINY_CLASS} make its accuracy mean something"
            findings.append(Finding(WARNING, "class", where, message))
    if usable and max(usable.values()) > IMBALANCE * min(usable.values()):
        (most, high), *_, (least, low) = usable.most_common()
        message = f"{high} training pictures, and {low} in {least!r}: rare classes will be guessed less often"
        findings.append(Finding(WARNING, "imbalance", f"class {most!r}", message))
    return findings


def _of_files(pictures: list[Picture]) -> Iterator[Finding]:
    for picture in pictures:
        if picture.problem:
            yield Finding(WARNING, UNREADABLE, picture.name, picture.problem)
            continue
        if picture.path.suffix.lower() not in SUFFIXES[picture.format]:
            yield Finding(WARNING, "extension", picture.name, f"is a {picture.format} file: rename it")
        if picture.rotated:
            yield Finding(NOTE, "rotation", picture.name, "EXIF says that it is rotated; it is turned when it is read")
        if min(picture.size) < SMALL_SIDE_PX:
            width, height = picture.size
            yield Finding(WARNING, "small", picture.name, f"only {width} × {height} pixels")


def _of_copies(pictures: list[Picture]) -> Iterator[Finding]:
    for group in alike(pictures):
        for picture in group[1:]:
            first, exact = group[0], picture.digest == group[0].digest
            what = "the same file as" if exact else "nearly the same picture as"
            if picture.label != first.label:
                message = f"{what} {first.name}, which has another class: one of them is wrong"
                yield Finding(WARNING, "contradiction", picture.name, message)
            elif picture.split != first.split:
                message = f"{what} {first.name}: its accuracy is known from training (a leak)"
                yield Finding(WARNING, "leak", picture.name, message)
            elif exact:
                yield Finding(WARNING, "duplicate", picture.name, f"{what} {first.name}: it counts twice")


def alike(pictures: list[Picture]) -> list[list[Picture]]:
    """The readable pictures in groups that show the same: equal files, or hashes within NEAR_BITS.

    Each group is in the order given, and so are the groups. O(n²) in 64-bit operations: a second for 10,000 pictures.
    """
    usable = [picture for picture in pictures if not picture.problem]
    group = list(range(len(usable)))

    def root(index: int) -> int:
        while group[index] != index:
            group[index] = group[group[index]]
            index = group[index]
        return index

    def join(one: int, other: int) -> None:
        low, high = sorted((root(one), root(other)))
        group[high] = low

    first: dict[str, int] = {}
    for index, picture in enumerate(usable):
        join(index, first.setdefault(picture.digest, index))
    hashed = [index for index, picture in enumerate(usable) if picture.hash is not None]
    if hashed:
        hashes = np.array([usable[index].hash for index in hashed])
        for place, index in enumerate(hashed):
            bits = np.bitwise_count(hashes[place + 1 :] ^ hashes[place]).sum(axis=1)
            for near in np.flatnonzero(bits < NEAR_BITS):
                join(index, hashed[place + 1 + int(near)])
    groups: dict[int, list[Picture]] = defaultdict(list)
    for index, picture in enumerate(usable):
        groups[root(index)].append(picture)
    return list(groups.values())
