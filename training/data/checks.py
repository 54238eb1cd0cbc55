"""Checks of images before they cost training time: every finding at once."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from training.data.findings import ERROR, NOTE, WARNING, Finding
from training.data.formats import EXTENSIONS
from training.data.inspection import BLANK, BLURRED, DARK, HASH_SIDE, CheckedImage

UNREADABLE, SMALL, SHAPE = "unreadable", "small", "shape"
SMALL_SIDE_PX = 64
TINY_CLASS = 10
IMBALANCE = 10
# Copies that were scaled or compressed again differ in fewer bits of their hash than these.
NEAR_BITS = 12
HASH_BYTES = HASH_SIDE**2 // 8
# Every twelfth bit of a hash, as words. Adjacent bits are often equal: parts of them would separate few images.
PARTS = [
    np.frombuffer(sum(1 << bit for bit in range(part, HASH_SIDE**2, NEAR_BITS)).to_bytes(HASH_BYTES), np.uint64)
    for part in range(NEAR_BITS)
]
# Odd numbers without a pattern, one for each word: their products spread over a table (Knuth, volume 3, 6.4).
MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], np.uint64)
# So many hashes are looked up at a time; buckets with more than LARGE hashes are compared one by one.
BLOCK, LARGE = 512, 128
# Hashes that show which bits say most.
SAMPLE = 1024
Places = npt.NDArray[np.int64]
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
# Adjectives for kinds of findings whose name is not one.
NAMES = {
    SHAPE: f"more than {ODD_SHAPE} times as long as wide",
    SMALL: f"small (below {SMALL_SIDE_PX} pixels)",
}
# What more images than this have is how images of the dataset look, and nothing wrong with one of them.
COMMON_SHARE = 0.5


def of_images(images: list[CheckedImage], groups: list[list[CheckedImage]]) -> list[Finding]:
    """Findings about single files, and about those that are the same; `groups` as `alike` has them."""
    return [*_of_files(images), *_of_copies(groups)]


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
    counts = Counter(look for image in images if not image.problem for look in _appearance(image))
    common = {look: count for look, count in counts.items() if count > COMMON_SHARE * readable}
    for look, count in common.items():
        message = f"{count} of {readable} images are {NAMES.get(look, look)}: taken for how images of this dataset look"
        yield Finding(NOTE, look, "", message)
    for image in images:
        if image.problem:
            yield Finding(WARNING, UNREADABLE, image.name, image.problem)
            continue
        if image.path.suffix.lower() not in EXTENSIONS[image.format]:
            yield Finding(WARNING, "extension", image.name, f"is a {image.format} file: rename it")
        if image.rotated:
            yield Finding(NOTE, "rotation", image.name, "EXIF says that it is rotated; it is turned when it is read")
        for look in _appearance(image):
            if look not in common:
                yield Finding(WARNING, look, image.name, _about(look, *image.size))


def _appearance(image: CheckedImage) -> Iterator[str]:
    """The kinds of findings about the appearance of an image."""
    yield from image.looks
    if max(image.size) > ODD_SHAPE * min(image.size):
        yield SHAPE
    if min(image.size) < SMALL_SIDE_PX:
        yield SMALL


def _about(look: str, width: int, height: int) -> str:
    if look == SHAPE:
        seen = min(width, height) / max(width, height)
        return f"{width} × {height} pixels: the model sees the middle, {seen:.0%} of the longer side"
    return f"only {width} × {height} pixels" if look == SMALL else LOOKS[look]


def _of_copies(groups: list[list[CheckedImage]]) -> Iterator[Finding]:
    largest: list[CheckedImage] = []
    frames = 0
    for group in groups:
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
    readable = [image for image in images if not image.problem]
    if not readable:
        return []
    groups: list[list[CheckedImage]] = []
    by_digest: dict[str, int] = {}
    index = _Index([image.hash for image in readable])
    for start in range(0, len(readable), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(readable)))
        near = index.near(block)
        # The first images of new groups.
        firsts: dict[int, None] = {}
        for place, image in enumerate(readable[start : start + BLOCK], start):
            number = by_digest.get(image.digest)
            if number is None:
                others = (readable[at] for at in sorted(near[place]) if at < start or at in firsts)
                first = next((other for other in others if _same_levels(other, image)), None)
                if first is None:
                    number = len(groups)
                    groups.append([])
                    firsts[place] = None
                else:
                    number = by_digest[first.digest]
                by_digest[image.digest] = number
            groups[number].append(image)
        index.add(np.array([*firsts], np.int64))
    return groups


class _Index:
    """Hashes by their parts: of two that differ in fewer than NEAR_BITS bits, one part is equal.

    A hash table for each part, which refers to hashes by their places in the list. Bits of the hashes of small images
    are often equal to each other, so that a bucket may hold a hundredth of all: numpy compares many of them at a time.
    """

    def __init__(self, hashes: list[int | None]) -> None:
        self._has_hash = np.array([value is not None for value in hashes], bool)
        # A row of 64-bit words for each hash, and one of 64 of its bits: no more of them differ than of all.
        encoded = b"".join((value or 0).to_bytes(HASH_BYTES) for value in hashes)
        self._words = np.frombuffer(encoded, np.uint64).reshape(len(hashes), -1)
        self._samples = _samples(self._words)
        self._bits = max(10, len(hashes).bit_length())
        # For each part, a hash table of places; each bucket has room for all of its hashes.
        self._starts, self._ends, self._places = [], [], []
        for part in range(NEAR_BITS):
            counts = np.bincount(self._buckets(part, np.flatnonzero(self._has_hash)), minlength=1 << self._bits)
            self._starts.append((np.cumsum(counts) - counts).astype(np.int32))
            self._ends.append(self._starts[-1].copy())
            self._places.append(np.empty(len(hashes), np.int32))

    def _buckets(self, part: int, places: Places) -> Places:
        """The buckets of some hashes in the table of a part."""
        mixed = ((self._words[places] & PARTS[part]) * MULTIPLIERS).sum(axis=1, dtype=np.uint64)
        mixed ^= mixed >> np.uint64(32)
        mixed *= MULTIPLIERS[0]
        return (mixed >> np.uint64(64 - self._bits)).astype(np.int64)

    def near(self, block: Places) -> defaultdict[int, set[int]]:
        """For each place, those of the near hashes, among the added ones and those before it in the block."""
        near: defaultdict[int, set[int]] = defaultdict(set)
        block = block[self._has_hash[block]]
        for mine, others in self._candidates(block):
            at = np.flatnonzero(np.bitwise_count(self._samples[mine] ^ self._samples[others]) < NEAR_BITS)
            if not at.size:
                continue
            mine, others = np.broadcast_to(mine, others.shape)[at], others[at]
            at = np.flatnonzero(np.bitwise_count(self._words[mine] ^ self._words[others]).sum(axis=1) < NEAR_BITS)
            for place, other in zip(mine[at].tolist(), others[at].tolist(), strict=True):
                near[place].add(other)
        return near

    def _candidates(self, block: Places) -> Iterator[tuple[Places, Places]]:
        """Pairs of places that may be near, or one place and many others: within the block, and by bucket."""
        samples = self._samples[block]
        later, earlier = np.nonzero(np.tril(np.bitwise_count(samples[:, None] ^ samples) < NEAR_BITS, -1))
        yield block[later], block[earlier]
        for part in range(NEAR_BITS):
            buckets = self._buckets(part, block)
            starts, ends = self._starts[part][buckets], self._ends[part][buckets]
            large = ends - starts > LARGE
            for place, start, end in zip(block[large], starts[large], ends[large], strict=True):
                yield place, self._places[part][start:end]
            starts, counts = starts[~large], (ends - starts)[~large]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            yield np.repeat(block[~large], counts), self._places[part][np.repeat(starts, counts) + within]

    def add(self, places: Places) -> None:
        """Adds these hashes."""
        places = places[self._has_hash[places]]
        for part in range(NEAR_BITS):
            buckets = self._buckets(part, places)
            order = np.argsort(buckets, kind="stable")
            of, firsts, counts = np.unique(buckets[order], return_index=True, return_counts=True)
            within = np.arange(len(places)) - np.repeat(firsts, counts)
            self._places[part][np.repeat(self._ends[part][of], counts) + within] = places[order]
            self._ends[part][of] += counts.astype(np.int32)


def _samples(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """64 bits of each hash: those that are the most even, and the least like those taken before."""
    some = np.unpackbits(words[:: max(1, len(words) // SAMPLE)].view(np.uint8), axis=1).astype(np.float32)
    centred = some - some.mean(axis=0)
    covariance = np.abs(centred.T @ centred)
    left = covariance.diagonal().copy()
    chosen = []
    for _ in range(64):
        chosen.append(int(left.argmax()))
        left = np.minimum(left, covariance.diagonal() - covariance[chosen[-1]])
        left[chosen] = -1
    samples = np.empty(len(words), np.uint64)
    for start in range(0, len(words), SAMPLE):
        bits = np.unpackbits(words[start : start + SAMPLE].view(np.uint8), axis=1)[:, chosen]
        samples[start : start + SAMPLE] = np.frombuffer(np.packbits(bits, axis=1).tobytes(), np.uint64)
    return samples


def _same_levels(one: CheckedImage, other: CheckedImage) -> bool:
    levels = [np.frombuffer(bytes(image.grey), np.uint8).astype(np.float32) for image in (one, other)]
    return float(np.sqrt(np.mean((levels[0] - levels[1]) ** 2))) < NEAR_LEVELS
