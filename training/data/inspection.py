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
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """A file of the dataset as it was found; `problem` says why it cannot be used, if so.

    `fixable` if a copy of it can be: in another format, or smaller.
    """

    path: Path
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
    grey: bytes = b""
    hash: int | None = None
    # Thresholds in the order BLANK, DARK, BLURRED.
    looks: tuple[str, ...] = ()


def inspect(listed: Listed, decode: Decode = decoder_pool.decode) -> CheckedImage:
    """Reads one file: its digest, its format, how it looks, and a hash that copies of the image share."""
    path, name, split, label = listed.path, listed.name, listed.split, listed.label

    def unusable(problem: str, *, fixable: bool = False) -> CheckedImage:
        return CheckedImage(path, name, split, label, digest, problem, fixable, listed.format or "")

    digest = ""
    try:
        with open(path, "rb", buffering=0) as file:
            # Python reserves as much as it is asked for.
            data = file.read(min(os.fstat(file.fileno()).st_size, MAX_FILE_BYTES) + 1)
            hashed = hashlib.sha256(data)
            while more := file.read(READ_BYTES):
                hashed.update(more)
            digest = hashed.hexdigest()
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
    whole = Image.fromarray(image.pixels)
    grey = whole.convert("L")
    reduced = grey.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX).tobytes()
    levels = np.frombuffer(reduced, np.uint8).reshape(HASH_SIDE, -1)
    looks = tuple(_looks(whole, grey))
    return CheckedImage(
        path, name, split, label, digest, None, False, image.format, size, rotated, reduced, _hash(levels), looks
    )


def _looks(image: Image.Image, grey: Image.Image) -> Iterator[str]:
    """Blank if it has one colour, dark if even its brightest hundredth is, blurred if its edges have little contrast.

    The contrast of edges is that of the Laplacian (Pech-Pacheco et al. 2000), as a share of the image's own, so that
    fog and a low contrast are not taken for blur.
    """
    grey = _small(grey)
    levels = np.asarray(grey).astype(np.float32)
    contrast, bright = _deviation(levels), 0.01 * levels.size
    # Grey is a mean of the channels, so that it has less contrast and is less bright than one of them. Where it is not
    # enough the channels decide: colours of one brightness are a contrast, too, and a blue that is full is not dark.
    if contrast < BLANK_LEVELS or np.count_nonzero(levels >= DARK_LEVEL) < bright:
        channels = [np.asarray(channel) for channel in _small(image).split()]
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


def _small(image: Image.Image) -> Image.Image:
    if max(image.size) <= LOOK_PX:
        return image
    small = image.copy()
    small.thumbnail((LOOK_PX, LOOK_PX))
    return small


def _deviation(values: npt.NDArray[Any]) -> float:
    """The standard deviation, in half the time that np.std takes for a small array."""
    flat = values.ravel().astype(np.float32)
    flat -= flat.sum() / flat.size
    return math.sqrt(np.dot(flat, flat) / flat.size)


def _hash(levels: Pixels) -> int | None:
    levels = levels.astype(np.int16)
    steps = levels[:, 1:] - levels[:, :-1]
    if np.abs(steps).sum() < MIN_CONTRAST * steps.size:
        return None
    return int.from_bytes(np.packbits(steps > 0).tobytes())


def to_json(image: CheckedImage) -> list[Any]:
    """The result of a file, in the order of SHOWN."""
    return [base64.b64encode(image.grey).decode() if name == "grey" else getattr(image, name) for name in SHOWN]


def from_json(listed: Listed, row: list[Any]) -> CheckedImage:
    """The image that to_json described."""
    shown = dict(zip(SHOWN, row, strict=True))
    shown |= {"grey": base64.b64decode(shown["grey"]), "size": tuple(shown["size"]), "looks": tuple(shown["looks"])}
    return CheckedImage(listed.path, listed.name, listed.split, listed.label, **shown)


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
        files = [Listed(Path(path), "", "", "", format) for path, format in json.loads(line)]
        try:
            rows = [to_json(inspect(file, _decode)) for file in files]
        except MemoryError:
            # As if the decoder had crashed: each file by itself has more.
            os.kill(os.getpid(), signal.SIGKILL)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(rows), flush=True)


if __name__ == "__main__":
    main()
