"""Picture bytes to model input: one function for training and for serving, so that both see the same pixels."""

import vendored  # noqa: F401

# isort: split
import contextlib
import io
import re
import struct

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from PIL import Image, UnidentifiedImageError
from torch.nn import functional as F

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP")
SIGNATURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP", re.DOTALL)
# What may be decoded, by its header alone. A JPEG of one scan is decoded row by row at a reduced scale; all others are
# held whole, at 4 to 8 bytes a pixel.
MAX_ROWWISE_PIXELS = 50_000_000
MAX_PIXELS = 25_000_000
# Each scan goes over all of the pixels, however little data it has; a progressive JPEG has about ten.
MAX_SCANNED_PIXELS = 500_000_000
# The share of the shorter side that the centre crop keeps, as the backbones were trained.
CROP = 0.875
BACKGROUND = "white"
ORIENTATION = 0x0112

# Pillow's own limit is higher than those above, and warns before it refuses.
Image.MAX_IMAGE_PIXELS = None


class UnsupportedImage(ValueError):
    """The bytes are no picture of a format in FORMATS."""


class UnreadableImage(ValueError):
    """The bytes begin like a picture, and cannot be decoded, are more than one, or would take too much memory."""


def decode(data: bytes, size: int) -> Pixels:
    """The centre of the upright picture: RGB pixels of shape (size, size, 3).

    Raises UnsupportedImage or UnreadableImage.
    """
    return centre(opened(data, round(size / CROP)), size)


def centre(pixels: Pixels, size: int) -> Pixels:
    """The middle square of a picture, CROP of its shorter side, as (size, size, 3)."""
    height, width = pixels.shape[:2]
    side = max(1, round(CROP * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    return resized(pixels[top : top + side, left : left + side], size)


def resized(pixels: Pixels, size: int) -> Pixels:
    """(height, width, 3) as (size, size, 3): bicubic, antialiased. Its threads are torch's: give it one."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    planes = F.interpolate(planes, (size, size), mode="bicubic", antialias=True)
    result: Pixels = planes[0].permute(1, 2, 0).contiguous().numpy()
    return result


def opened(data: bytes, shorter_side: int) -> Pixels:
    """The upright picture in RGB, transparency on white: (height, width, 3).

    A JPEG is decoded at the smallest scale (1, 1/2, 1/4, 1/8) that leaves its shorter side `shorter_side` pixels.
    Raises UnsupportedImage or UnreadableImage.
    """
    if not SIGNATURE.match(data):
        raise UnsupportedImage(f"not a picture in one of the formats {', '.join(FORMATS)}")
    try:
        if data.startswith(b"RIFF"):
            # Pillow takes the memory for a WebP when it opens it.
            _limit(*_webp_size(data))
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check(image, data)
        pixels = _fast(image, data, shorter_side)
        if pixels is None:
            image.draft("RGB", (shorter_side, shorter_side))
            pixels = np.asarray(_rgb(image))
        return _upright(pixels, image)
    except (UnreadableImage, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("the picture ends before its first pixel, or its header is damaged") from None
    except Exception as error:
        raise UnreadableImage(f"the picture is damaged: {error}") from None


def _check(image: Image.Image, data: bytes) -> None:
    """Raises UnreadableImage for what would take too much; Pillow has read no more than the header yet."""
    # A JPEG may bring further pictures for other screens; the first is the one meant.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise UnreadableImage("the picture is animated: send one frame")
    if image.format not in ("JPEG", "MPO"):
        _limit(*image.size)
        return
    place, several = _first_scan(data)
    _limit(*image.size, MAX_PIXELS if several else MAX_ROWWISE_PIXELS)
    if several and (scans := data.count(b"\xff\xda", place)) * image.width * image.height > MAX_SCANNED_PIXELS:
        raise UnreadableImage(f"{scans} scans of {image.width} × {image.height} pixels would take too long")


def _first_scan(data: bytes) -> tuple[int, bool]:
    """Where the pixels of a JPEG begin; whether they come in several scans, which are held whole (ITU T.81, B.2)."""
    place, components, progressive = 2, 0, False
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        if marker == 0xDA:
            return place, progressive or data[place + 4] < components
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            progressive, components = marker & 3 == 2, data[place + 9]
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return place, True


def _limit(width: int, height: int, limit: int = MAX_PIXELS) -> None:
    if width * height > limit:
        raise UnreadableImage(f"{width} × {height} pixels are more than {limit:,}: send a smaller picture")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height, from the first chunk (RFC 9649)."""
    try:
        if data[12:16] == b"VP8X":
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        if data[12:16] == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        width, height = struct.unpack_from("<HH", data, 26)
    except struct.error:
        raise UnreadableImage("the picture ends before its first pixel") from None
    return width & 0x3FFF, height & 0x3FFF


def _fast(image: Image.Image, data: bytes, shorter_side: int) -> Pixels | None:
    """The pixels of a JPEG without Pillow's detours; none if it is not one, or one that is left to Pillow."""
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
        return None
    # Other scales than these have no vector code in libjpeg-turbo, and take longer than the next larger one.
    scale = next((scale for scale in (8, 4, 2) if min(image.size) >= scale * shorter_side), 1)
    width, height = (-(-side // scale) for side in image.size)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except ValueError as error:
        # Pillow makes up what is missing.
        if "premature end" in str(error):
            raise UnreadableImage("the picture ends before its last pixel") from None
        return None
    return pixels


def _upright(pixels: Pixels, image: Image.Image) -> Pixels:
    # Damaged EXIF data say nothing of the pixels.
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ORIENTATION, 1)
        if orientation in (5, 7):
            pixels = pixels.swapaxes(0, 1)
        if orientation in (2, 4):
            return pixels[:, ::-1] if orientation == 2 else pixels[::-1]
        return np.rot90(pixels, {3: 2, 6: -1, 7: 2, 8: 1}.get(orientation, 0))
    return pixels


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits of grey; convert() would cut off what is above 255.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        below = Image.new("RGB", whole.size, BACKGROUND)
        below.paste(whole, mask=whole)
        return below
    return image.convert("RGB")


def normalise(pixels: Pixels, mean: tuple[float, ...], std: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """Pixels (…, height, width, 3) of 0..255 as (…, 3, height, width) of (p / 255 - mean) / std."""
    scaled = (pixels.astype(np.float32) / 255.0 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))
