"""Decodes images in a process of its own, which the operating system ends when one image takes too much.

`decoder_pool.py` starts it and talks to it through standard input, a socket. Limits hold whatever a file contains and
whichever library decodes it: processor time by ITIMER_PROF, memory by RLIMIT_AS (Linux only).

Request: "<IfI", the shorter side in pixels, the share of it that is wanted, and the length of the file, which is in the
memory that both processes share. Reply: "<II", the lengths of a JSON header and of the pixels, which are there, one
after the other; pixels that do not fit follow the reply. Each is one message, so that the processes take turns once.
"""

from inference import vendor_path  # noqa: F401

# isort: split
import contextlib
import io
import json
import mmap
import signal
import socket
import struct
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from inference import image_file, memory
from inference.colours import rgb
from inference.formats import FORMATS
from inference.image_file import ImageFile, TooLargeImage, UnreadableImage, UnsupportedImage

Pixels = npt.NDArray[np.uint8]

# A JPEG of one scan is decoded row by row at a reduced scale. All others are held whole: their format's limit is lower.
MAX_ROWWISE_PIXELS = 50_000_000
# Each scan goes over all of the pixels, however little data it has; a progressive JPEG has about ten.
MAX_SCANNED_PIXELS = 500_000_000
# The function and the model server take less; this is for datasets.
MAX_FILE_BYTES = 40_000_000
# For one image, and beyond what the process has once it is ready.
MAX_CPU_S = 1.0
MAX_MEMORY_BYTES = 300_000_000
REQUEST, REPLY = struct.Struct("<IfI"), struct.Struct("<II")
SHARED_BYTES = MAX_FILE_BYTES
# Errors by their names in a reply.
ERRORS = {"unsupported": UnsupportedImage, "too large": TooLargeImage, "unreadable": UnreadableImage}

# Pillow's own limit is higher than those above, and warns before it refuses.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Decoded:
    """An upright image: RGB `pixels` (height, width, 3), and what the file says: its own width and height in pixels."""

    format: str
    width: int
    height: int
    orientation: int
    pixels: Pixels


def decode(data: bytes, shorter_side: int, share: float = 0) -> Decoded:
    """The upright image in RGB, transparency on white: all of it, or the middle square of `share` of its shorter side.

    It is decoded at the smallest scale (1, 1/2, 1/4, 1/8) that leaves its shorter side `shorter_side` pixels.
    Raises UnsupportedImage or UnreadableImage.
    """
    try:
        file = image_file.read(data)
        _check(file)
        pixels = _fast(file, shorter_side)
        if pixels is None:
            image = Image.open(io.BytesIO(file.data), formats=(file.format,))
            image.draft("RGB", (shorter_side, shorter_side))
            image = rgb(image)
            scale = _scale(image.size, shorter_side)
            pixels = np.asarray(image.reduce(scale) if scale > 1 else image)
    except (UnreadableImage, UnsupportedImage):
        raise
    except MemoryError:
        raise TooLargeImage(f"decoding takes more than {MAX_MEMORY_BYTES:,} bytes: send a smaller image") from None
    except UnidentifiedImageError:
        # Its message has an address of this process's memory.
        raise UnreadableImage("the image is damaged in its header") from None
    except Exception as error:
        raise UnreadableImage(f"the image is damaged: {error}") from None
    pixels = _upright(pixels, file.orientation)
    return Decoded(file.format, file.width, file.height, file.orientation, middle(pixels, share) if share else pixels)


def middle(pixels: Pixels, share: float) -> Pixels:
    """The middle square of an image, `share` of its shorter side."""
    height, width = pixels.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _check(file: ImageFile) -> None:
    """Raises TooLargeImage for what would take too much, before a decoder sees it."""
    pixels = file.width * file.height
    limit = MAX_ROWWISE_PIXELS if file.in_one_scan else FORMATS[file.format].max_pixels
    if pixels > limit:
        raise TooLargeImage(f"{file.width} × {file.height} pixels are more than {limit:,}: send a smaller image")
    if file.scans * pixels > MAX_SCANNED_PIXELS and not file.in_one_scan:
        raise TooLargeImage(f"{file.scans} scans of {file.width} × {file.height} pixels would take too long")


def _scale(size: tuple[int, int], shorter_side: int) -> int:
    # Other scales than these have no vector code in libjpeg-turbo, and take longer than the next larger one.
    return next((scale for scale in (8, 4, 2) if min(size) >= scale * shorter_side), 1)


def _fast(file: ImageFile, shorter_side: int) -> Pixels | None:
    """The pixels of a JPEG without Pillow's detours; none if it is not one, or one that is left to Pillow."""
    if file.format != "JPEG":
        return None
    size = (file.height, file.width)
    height, width = (-(-side // _scale(size, shorter_side)) for side in size)
    try:
        # Colours are enlarged by repetition: it takes 0.7 of the time, and what follows makes the image smaller.
        pixels: Pixels = simplejpeg.decode_jpeg(file.data, min_height=height, min_width=width, fastupsample=True)
    except ValueError as error:
        # Pillow makes up what is missing.
        if "premature end" in str(error):
            raise UnreadableImage("the image is damaged: it ends before its last pixel") from None
        return None
    return pixels


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    if orientation == 1:
        return pixels
    if orientation in (5, 7):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 4):
        return pixels[:, ::-1] if orientation == 2 else pixels[::-1]
    return np.rot90(pixels, {3: 2, 6: -1, 7: 2, 8: 1}.get(orientation, 0))


def serve(connection: socket.socket, shared: mmap.mmap) -> None:
    """Answers requests. Raises ConnectionError when the other side closes."""
    memory = np.frombuffer(shared, np.uint8)
    while True:
        shorter_side, share, length = REQUEST.unpack(receive(connection, REQUEST.size))
        data = shared[:length]
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
        header, pixels = _reply(data, shorter_side, share)
        signal.setitimer(signal.ITIMER_PROF, 0)
        shared[: len(header)] = header
        fit = fits(len(header), pixels.size)
        if fit:
            memory[len(header) :][: pixels.size].reshape(pixels.shape)[...] = pixels
        connection.sendall(REPLY.pack(len(header), pixels.size))
        if not fit:
            connection.sendall(np.ascontiguousarray(pixels).data.cast("B"))


def fits(header_length: int, pixels_length: int) -> bool:
    """True if a reply's pixels are in the shared memory."""
    return header_length + pixels_length <= SHARED_BYTES


def _reply(data: bytes, shorter_side: int, share: float) -> tuple[bytes, Pixels]:
    try:
        found = decode(data, shorter_side, share)
    except (UnsupportedImage, UnreadableImage) as error:
        kind = next(name for name, error_class in ERRORS.items() if isinstance(error, error_class))
        return json.dumps({"error": kind, "message": str(error)}).encode(), np.empty(0, np.uint8)
    described = {name: getattr(found, name) for name in ("format", "width", "height", "orientation")}
    return json.dumps({**described, "shape": found.pixels.shape}).encode(), found.pixels


def receive(connection: socket.socket, length: int) -> bytearray:
    """`length` bytes. Raises ConnectionError if the other side closes."""
    data = bytearray(length)
    view, place = memoryview(data), 0
    while place < length:
        count = connection.recv_into(view[place:])
        if not count:
            raise ConnectionError
        place += count
    return data


def main() -> None:
    """Serves the process that started this one; the argument is the descriptor of the memory that both share."""
    shared = mmap.mmap(int(sys.argv[1]), SHARED_BYTES)
    memory.limit(MAX_MEMORY_BYTES)
    with contextlib.suppress(ConnectionError):
        serve(socket.socket(fileno=sys.stdin.fileno()), shared)


if __name__ == "__main__":
    main()
