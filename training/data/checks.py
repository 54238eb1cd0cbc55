"""Checks of images before they cost training time: every finding at once."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from training.data.findings import ERROR, NOTE, WARNING, Finding
from training.data.formats import EXTENSIONS
from training.data.inspection import BLANK, BLURRED, DARK, HASH_SIDE, CheckedImage

UNREADABLE = "unreadable"
SMALL_SIDE_PX = 64
TINY_CLASS = 10
IMBALANCE = 10
# Copies that were scaled or compressed again differ in fewer bits of their hash than these.
NEAR_BITS = 12
# Every twelfth bit of a hash. Adjacent bits are often equal, so parts of adjacent bits would separate few images.
PARTS = [sum(1 << bit for bit in range(part, HASH_SIDE**2, NEAR_BITS)) for part in range(NEAR_BITS)]
# A second look, before two images are called alike. Measured as root mean square: different handwritten digits whose
# hashes are near differ by 12.5 grey levels and more, photographs at half their size by 0.8 at the median.
NEAR_LEVELS = 10.0
# Longer side to shorter side: the model sees the middle third, or less.
ODD_SHAPE = 3
LOOKS = {
    BLANK: "nearly one colour: there is nothing on it to learn from",
    DARK: "hardly anything on it is brighter than black",
    BLURRED: "out of focus, or enlarged from a much smaller image",
}
# What more images than this have is how images of the dataset look, and nothing wrong with one of them.
COMMON_SHARE = 0.5


def of_images(images: list[CheckedImage]) -> list[Finding]:
    """Findings about single files, and about files that are the same."""
    return [*_of_files(images), *_of_copies(images)]


def of_classes(images: list[CheckedImage], split_already: bool) -> list[Finding]:
    """Findings about the number of readable training images in each class."""
    usable = Counter(image.label for image in images if image.split == "train" and not image.problem)
    named = sorted({image.label for image in images if image.split == "train"})
    fixable = Counter(image.label for image in images if image.split == "train" and image.fixable)
    unread: dict[str, CheckedImage] = {}
    for image in images:
        if image.split == "train" and image.problem:
            unread.setdefault(image.label, image)
    findings = []
    for label in named:
        count, where = usable[label], f"class {label!r}"
        if count == 0:
            first = f"; {unread[label].name}: {unread[label].problem}"
            advice = f": --fix makes {fixable[label]} of them so" if fixable[label] else first
            findings.append(Finding(ERROR, "class", where, f"no readable training image{advice}"))
        elif count == 1 and not split_already:
            message = "a single image cannot be split into training and validation: add another"
            findings.append(Finding(ERROR, "class", where, message))
        elif count < TINY_CLASS:
            message = f"only {count} training images: at least {TINY_CLASS} make its accuracy mean something"
            findings.append(Finding(WARNING, "class", where, message))
    findings += _missing(images, named)
    if usable and max(usable.values()) > IMBALANCE * min(usable.values()):
        (most, high), *_, (least, low) = usable.most_common()
        message = f"{high} training images, and {low} in {least!r}: rare classes will be guessed less often"
        findings.append(Finding(WARNING, "imbalance", f"class {most!r}", message))
    return findings


def _missing(images: list[CheckedImage], named: list[str]) -> Iterator[Finding]:
    there: dict[str, set[str]] = defaultdict(set)
    for image in images:
        if not image.problem:
            there[image.split].add(image.label)
    for split in ("valid", "test"):
        for label in sorted(set(named) - there[split]) if there[split] else []:
            message = f"no readable image in {split}: nothing there says how well the class is told"
            yield Finding(WARNING, "class", f"class {label!r}", message)


def _of_files(images: list[CheckedImage]) -> Iterator[Finding]:
    readable = sum(not image.problem for image in images)
    counts = Counter(look for image in images for look in image.looks)
    common = {look: count for look, count in counts.items() if count > COMMON_SHARE * readable}
    for look, count in common.items():
        message = f"{count} of {readable} images are {look}: taken for how images of this dataset look"
        yield Finding(NOTE, look, "", message)
    for image in images:
        if image.problem:
            yield Finding(WARNING, UNREADABLE, image.name, image.problem)
            continue
        if image.path.suffix.lower() not in EXTENSIONS[image.format]:
            yield Finding(WARNING, "extension", image.name, f"is a {image.format} file: rename it")
        if image.rotated:
            yield Finding(NOTE, "rotation", image.name, "EXIF says that it is rotated; it is turned when it is read")
        for look in image.looks:
            if look not in common:
                yield Finding(WARNING, look, image.name, LOOKS[look])
        if max(image.size) > ODD_SHAPE * min(image.size):
            width, height = image.size
            seen = min(image.size) / max(image.size)
            message = f"{width} × {height} pixels: the model sees the middle, {seen:.0%} of the longer side"
            yield Finding(WARNING, "shape", image.name, message)
        if min(image.size) < SMALL_SIDE_PX:
            width, height = image.size
            yield Finding(WARNING, "small", image.name, f"only {width} × {height} pixels")


def _of_copies(images: list[CheckedImage]) -> Iterator[Finding]:
    largest, frames = [], 0
    for group in alike(images):
        if len(group) == 1:
            continue
        # Within one class and split, near copies are not an error: films and bursts have them, and they teach little.
        same = [one for one in group if (one.label, one.split) == (group[0].label, group[0].split)]
        distinct = len({one.digest for one in same})
        if distinct > 1:
            frames += distinct
            largest = max(largest, same, key=len)
        for image in group[1:]:
            first, exact = group[0], image.digest == group[0].digest
            what = "the same file as" if exact else "nearly the same image as"
            if image.label != first.label:
                message = f"{what} {first.name}, which has another class: one of them is wrong"
                yield Finding(WARNING, "contradiction", image.name, message)
            elif image.split != first.split:
                message = f"{what} {first.name}: its accuracy is known from training (a leak)"
                yield Finding(WARNING, "leak", image.name, message)
            elif exact:
                yield Finding(WARNING, "duplicate", image.name, f"{what} {first.name}: it counts twice")
    if frames:
        message = (
            f"{frames} images show nearly the same as others of their class and split, such as frames of a film; the "
            f"largest group has {len(largest)}"
        )
        yield Finding(NOTE, "near copies", largest[0].name, message)


def alike(images: list[CheckedImage]) -> list[list[CheckedImage]]:
    """The readable images in groups: equal files, and those that show the same as the first of their group.

    Two show the same if their hashes differ in fewer than NEAR_BITS bits, and their grey levels by less than
    NEAR_LEVELS. Each group is in the order given, and so are the groups.
    """
    groups: list[list[CheckedImage]] = []
    by_digest: dict[str, int] = {}
    index = _Index(len(images))
    for image in images:
        if image.problem:
            continue
        number = by_digest.get(image.digest)
        if number is None:
            buckets = index.buckets(image)
            near = (at for at in index.found(buckets) if _same(groups[at][0], image))
            number = min(near, default=None)
            if number is None:
                number = len(groups)
                groups.append([])
                index.add(buckets)
            by_digest[image.digest] = number
        groups[number].append(image)
    return groups


class _Index:
    """Groups by the parts of a hash: of two hashes that differ in fewer than NEAR_BITS bits, one part is equal.

    A hash table for each part, whose chains are arrays of group numbers: 12 to 20 bytes a group and part, where
    dictionaries take 250, which is 3 GB for a million images.
    """

    def __init__(self, count: int) -> None:
        self._bits = max(10, count.bit_length())
        self._newest = [array("i", [-1]) * (1 << self._bits) for _ in PARTS]
        self._older = [array("i") for _ in PARTS]

    def buckets(self, image: CheckedImage) -> list[int]:
        """The key of an image in each table; none if it has no hash."""
        if image.hash is None:
            return []
        # Fibonacci hashing (Knuth, volume 3, 6.4): the bits of a part lie far apart.
        return [(hash(image.hash & part) * 0x9E3779B97F4A7C15 & 2**64 - 1) >> (64 - self._bits) for part in PARTS]

    def found(self, buckets: list[int]) -> Iterator[int]:
        """The groups in these buckets, some of them more than once."""
        for bucket, newest, older in zip(buckets, self._newest, self._older, strict=False):
            at = newest[bucket]
            while at >= 0:
                yield at
                at = older[at]

    def add(self, buckets: list[int]) -> None:
        """Adds the next group."""
        number = len(self._older[0])
        for part, older in enumerate(self._older):
            older.append(self._newest[part][buckets[part]] if buckets else -1)
            if buckets:
                self._newest[part][buckets[part]] = number


def _same(one: CheckedImage, other: CheckedImage) -> bool:
    if one.hash is None or other.hash is None or (one.hash ^ other.hash).bit_count() >= NEAR_BITS:
        return False
    levels = [np.frombuffer(image.grey, np.uint8).astype(np.float32) for image in (one, other)]
    return float(np.sqrt(np.mean((levels[0] - levels[1]) ** 2))) < NEAR_LEVELS
