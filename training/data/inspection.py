"""Inspection of one file: its digest and format, how it looks, and a hash that copies of it share.

As a program it inspects files for inspector_pool.py: each line of its input is a JSON list of [path, format], each line
of its output the list of what they show. A file that takes too much, or crashes a decoder, ends the process.
"""

import base64
import hashlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, SupportsBytes

import numpy as np
import numpy.typing as npt
from PIL import Image

from inference import decoder, decoder_pool, memory
from inference.decoder import MAX_CPU_S, MAX_FILE_BYTES, MAX_MEMORY_BYTES, Decoded, Pixels
from inference.formats import FORMATS
from inference.image_file import TooLargeImage, UnreadableImage, UnsupportedImage
from training.data.formats import CONVERTIBLE, START_BYTES, placeholder
from training.data.layout import Image as Listed

Decode = Callable[[bytes, int], Decoded]
# Bytes read at a time from a file that is too large to be decoded.
READ_BYTES = 1 << 20
# Difference hash of 16 × 16 bits.
HASH_SIDE = 16
GREY_BYTES = HASH_SIDE * (HASH_SIDE + 1)
# A hash of a nearly even image is noise: its neighbouring grey values differ by less than this on average.
MIN_CONTRAST = 0.5
BLANK, DARK, BLURRED = "blank", "dark", "blurred"
# In grey levels of 256: the standard deviation of an image on which there is nothing.
BLANK_LEVELS = 1.5
# How an image looks is judged with its longer side at so many pixels. Of 486 images of five datasets (photographs,
# hands, magnetic resonance), the least sharp had an edge contrast of 0.38, and the darkest a bright end of 102; with a
# blur of 2 pixels, the same images had 0.21 and less in 95 % of the cases.
LOOK_PX = 64
SHARP = 0.25
DARK_LEVEL = 64
# ITU-R 601-2, as Pillow has it, times 2 ** 16.
GREY_WEIGHTS = np.array([19595, 38470, 7471], np.float32)


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """A file of the dataset as it was found; `problem` says why it cannot be used, if so.

    `fixable` if a copy of it can be: in another format, or smaller.
    """

    file: str
    name: str
    split: str
    label: str
    digest: str
    problem: str | None = None
    fixable: bool = False
    format: str = ""
    size: tuple[int, int] = (0, 0)
    rotated: bool = False
    # HASH_SIDE × (HASH_SIDE + 1) grey levels, and their difference hash; none of an image that is nearly even.
    grey: SupportsBytes = b""
    hash: int | None = None
    # Thresholds in the order BLANK, DARK, BLURRED.
    looks: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return Path(self.file)


def inspect(listed: Listed, decode: Decode = decoder_pool.decode) -> CheckedImage:
    """Reads one file: its digest, its format, how it looks, and a hash that copies of the image share."""
    file, name, split, label = listed.file, listed.name, listed.split, listed.label

    def unusable(problem: str, *, fixable: bool = False) -> CheckedImage:
        return CheckedImage(file, name, split, label, digest, problem, fixable, listed.format or "")

    digest = ""
    try:
        data, digest = _read(file)
    except OSError as error:
        return unusable(f"cannot be read: {error.strerror}")
    if listed.format and listed.format not in FORMATS:
        if listed.format in CONVERTIBLE:
            return unusable(f"{listed.format} is not read: --fix converts it", fixable=True)
        return unusable(f"{listed.format} is not read: convert it to JPEG or PNG")
    if instead := placeholder(data[:START_BYTES]):
        return unusable(instead)
    try:
        image = decode(data, LOOK_PX)
    except TooLargeImage as error:
        # Its advice is for who sends an image.
        return unusable(f"{str(error).partition(':')[0]}: --fix makes a smaller copy", fixable=True)
    except (UnreadableImage, UnsupportedImage) as error:
        return unusable(str(error))
    size, rotated = (image.width, image.height), image.orientation != 1
    grey = _grey(image.pixels)
    levels = _reduced(grey)
    looks = tuple(_looks(image.pixels, grey))
    return CheckedImage(
        file,
        name,
        split,
        label,
        digest,
        None,
        False,
        image.format,
        size,
        rotated,
        levels.tobytes(),
        _hash(levels),
        looks,
    )


def _read(path: str) -> tuple[bytes, str]:
    """The file, or its first MAX_FILE_BYTES and one more, and the SHA-256 of all of it. Raises OSError."""
    # os.open takes half the time of open: it counts with a million files.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Python reserves as much as it is asked for.
        expected = min(os.fstat(descriptor).st_size, MAX_FILE_BYTES)
        data = os.read(descriptor, expected + 1)
        # A network's file system may return less than it is asked for.
        while len(data) < expected and (more := os.read(descriptor, expected + 1 - len(data))):
            data += more
        digest = hashlib.sha256(data)
        while len(data) > expected and (more := os.read(descriptor, READ_BYTES)):
            digest.update(more)
        return data, digest.hexdigest()
    finally:
        os.close(descriptor)


def _grey(pixels: Pixels) -> Pixels:
    """Grey levels of RGB pixels, as Pillow's: the products are whole numbers below 2 ** 24."""
    sums = pixels.reshape(-1, 3).astype(np.float32) @ GREY_WEIGHTS
    sums += 1 << 15
    sums *= 2**-16
    return sums.astype(np.uint8).reshape(pixels.shape[:2])


def _reduced(grey: Pixels) -> Pixels:
    """HASH_SIDE × (HASH_SIDE + 1) grey levels, each the mean of its part of the image."""
    height, width = grey.shape
    means = _parts(HASH_SIDE, height) @ grey.astype(np.float32) @ _parts(HASH_SIDE + 1, width).T
    return (means + 0.5).astype(np.uint8)


@lru_cache(1024)
def _parts(count: int, length: int) -> npt.NDArray[np.float32]:
    """`length` pixels in `count` equal parts: the share that each pixel has in the mean of each part."""
    edges = np.arange(count + 1)[:, None] * (length / count)
    overlap = np.minimum(edges[1:], np.arange(1, length + 1)) - np.maximum(edges[:-1], np.arange(length))
    return (overlap.clip(0) * (count / length)).astype(np.float32)


def _image(grey: Pixels) -> Image.Image:
    return Image.frombuffer("L", grey.shape[::-1], grey, "raw", "L", 0, 1)


def _looks(pixels: Pixels, grey: Pixels) -> Iterator[str]:
    """Blank if it has one colour, dark if even its brightest hundredth is, blurred if its edges have little contrast.

    The contrast of edges is that of the Laplacian (Pech-Pacheco et al. 2000), as a share of the image's own, so that
    fog and a low contrast are not taken for blur.
    """
    levels = _small(grey).astype(np.int16)
    contrast, bright = _deviation(levels), 0.01 * levels.size
    # Grey is a mean of the channels, so that it has less contrast and is less bright than one of them. Where it is not
    # enough the channels decide: colours of one brightness are a contrast, too, and a blue that is full is not dark.
    if contrast < BLANK_LEVELS or np.count_nonzero(levels >= DARK_LEVEL) < bright:
        channels = [_small(np.ascontiguousarray(pixels[:, :, channel])) for channel in range(3)]
        if max(map(_deviation, channels)) < BLANK_LEVELS:
            yield BLANK
            return
        if np.count_nonzero(np.maximum.reduce(channels) >= DARK_LEVEL) < bright:
            yield DARK
    inner = levels[1:-1, 1:-1]
    if inner.size and contrast > BLANK_LEVELS:
        edges = 4 * inner - levels[:-2, 1:-1] - levels[2:, 1:-1] - levels[1:-1, :-2] - levels[1:-1, 2:]
        if _deviation(edges) < SHARP * contrast:
            yield BLURRED


def _small(levels: Pixels) -> Pixels:
    """One channel, with its longer side at LOOK_PX at most."""
    if max(levels.shape) <= LOOK_PX:
        return levels
    small = _image(levels)
    small.thumbnail((LOOK_PX, LOOK_PX))
    return np.asarray(small)


def _deviation(values: npt.NDArray[Any]) -> float:
    """The standard deviation of whole numbers, in a third of the time that np.std takes for a small array."""
    flat = values.ravel().astype(np.int64)
    return math.sqrt(max(0.0, np.dot(flat, flat) / flat.size - (flat.sum() / flat.size) ** 2))


def _hash(levels: Pixels) -> int | None:
    levels = levels.astype(np.int16)
    steps = levels[:, 1:] - levels[:, :-1]
    if np.abs(steps).sum() < MIN_CONTRAST * steps.size:
        return None
    return int.from_bytes(np.packbits(steps > 0).tobytes())


def to_json(image: CheckedImage) -> list[Any]:
    """The result of a file, in the order of SHOWN."""
    return [base64.b64encode(bytes(image.grey)).decode() if name == "grey" else getattr(image, name) for name in SHOWN]


def from_json(listed: Listed, row: list[Any], keep: Callable[[bytes], SupportsBytes]) -> CheckedImage:
    """The image that to_json described, its grey levels where `keep` puts them."""
    shown = dict(zip(SHOWN, row, strict=True))
    shown["grey"] = keep(base64.b64decode(shown["grey"]))
    # Equal values of many images share one object.
    shown |= {"format": sys.intern(shown["format"])} | {name: _one(*shown[name]) for name in ("size", "looks")}
    return CheckedImage(listed.file, listed.name, listed.split, listed.label, **shown)


@cache
def _one(*values: Any) -> tuple[Any, ...]:
    return values


# Not its place in the dataset.
SHOWN = [field.name for field in fields(CheckedImage)][4:]


def _decode(data: bytes, shorter_side: int) -> Decoded:
    """As decoder.decode, with as much processor time for what follows, too, until the next image."""
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
    return decoder.decode(data, shorter_side)


def main() -> None:
    """Inspects the requested files on standard input, until that ends."""
    memory.limit(MAX_MEMORY_BYTES)
    for line in sys.stdin.buffer:
        files = [Listed(path, "", "", "", format) for path, format in json.loads(line)]
        try:
            rows = [to_json(inspect(file, _decode)) for file in files]
        except MemoryError:
            # As if the decoder had crashed: each file by itself has more.
            os.kill(os.getpid(), signal.SIGKILL)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(rows), flush=True)


if __name__ == "__main__":
    main()
