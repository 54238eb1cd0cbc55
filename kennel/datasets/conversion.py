"""Images that Kennel does not read, as JPEG or PNG: other formats, and what is too large, made smaller.

Pillow reads the files, in processes with limits on their processor time and memory, because a file may be hostile.
"""

import functools
import io
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from queue import SimpleQueue

from PIL import Image, ImageOps

from inference import memory
from inference.colours import rgb
from inference.processors import usable

# More than the largest phones and scanners of today produce.
MAX_PIXELS = 300_000_000
MAX_CPU_S = 60.0
MAX_MEMORY_BYTES = 4_000_000_000
# They are compressed without loss, and so is their copy.
LOSSLESS = ("BMP", "GIF", "PNG", "TIFF")


class ConversionError(Exception):
    """The image cannot be read, or takes too much; the message says which."""


def convert(data: bytes, longest_px: int, quality: int, *, png_bytes: int = 0) -> tuple[bytes, str]:
    """The upright first frame of `data` in RGB, its sides at most `longest_px`, and its format, from any thread.

    PNG for what was compressed without loss, if that takes at most `png_bytes`; else JPEG of `quality`.
    Raises ConversionError.
    """
    idle = _idle()
    process = idle.get()
    try:
        written, reason = process.submit(_convert, data, longest_px, quality, png_bytes).result()
    except BrokenProcessPool:
        process.shutdown()
        process = _process()
        written, reason = None, f"it takes more than {MAX_CPU_S:g} s, or ends its decoder"
    finally:
        idle.put(process)
    if written is None:
        raise ConversionError(reason)
    return written, reason


@functools.cache
def _idle() -> SimpleQueue[ProcessPoolExecutor]:
    """One process for each processor; they start when they are needed, and end with this one."""
    idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
    for _ in range(usable()):
        idle.put(_process())
    return idle


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _prepare)


def _prepare() -> None:
    """Registers the formats that Pillow lacks, and sets the limits that hold for all images of the process."""
    import pi_heif

    pi_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is in its place
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    memory.limit(MAX_MEMORY_BYTES)


def _convert(data: bytes, longest_px: int, quality: int, png_bytes: int) -> tuple[bytes | None, str]:
    """The converted file and its format, or None and the reason."""
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
    try:
        image, lossless = _small(data, longest_px)
        if png_bytes and lossless and len(written := _file(image, "PNG")) <= png_bytes:
            return written, "PNG"
        return _file(image, "JPEG", quality=quality), "JPEG"
    except MemoryError:
        return None, f"it takes more than {MAX_MEMORY_BYTES:,} bytes of memory"
    except Exception as error:  # decoders raise whatever they like
        return None, str(error) or type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _small(data: bytes, longest_px: int) -> tuple[Image.Image, bool]:
    """The image, and whether it was compressed without loss."""
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ConversionError(f"{image.width} × {image.height} pixels are more than {MAX_PIXELS:,}")
        image.draft("RGB", (longest_px, longest_px))
        small = rgb(ImageOps.exif_transpose(image))
        small.thumbnail((longest_px, longest_px))
        return small, image.format in LOSSLESS


def _file(image: Image.Image, kind: str, **options: int) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()
