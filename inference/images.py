"""Picture bytes to model input: one function for training and for serving, so that both see the same pixels."""

import io
import re

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
SIGNATURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP", re.DOTALL)
MAX_PIXELS = 50_000_000
# The share of the shorter side that the centre crop keeps, as the backbones were trained.
CROP = 0.875


class UnsupportedImage(ValueError):
    """The bytes are no picture of a format in FORMATS."""


class UnreadableImage(ValueError):
    """The bytes begin like a picture, and cannot be decoded, or would take more than MAX_PIXELS."""


def decode(data: bytes, size: int) -> npt.NDArray[np.uint8]:
    """The upright picture, resized and centre-cropped: RGB pixels of shape (size, size, 3).

    Raises UnsupportedImage or UnreadableImage.
    """
    return centre_crop(resized(data, round(size / CROP)), size)


def centre_crop(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """The middle of `image`: pixels of shape (size, size, 3)."""
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def resized(data: bytes, shorter_side: int) -> Image.Image:
    """The upright picture in RGB, its shorter side `shorter_side` pixels.

    A JPEG is decoded at the smallest scale (1, 1/2, 1/4, 1/8) that is still large enough. Raises UnsupportedImage or
    UnreadableImage.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if SIGNATURE.match(data):
            raise UnreadableImage("the picture ends before its first pixel") from None
        raise UnsupportedImage(f"not a picture in one of the formats {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise UnreadableImage(f"the picture has more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:
        raise UnreadableImage(f"the picture cannot be read: {error}") from None
    # Dimensions come from the header: a bomb is refused before any pixel is decoded.
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(f"{image.width} × {image.height} pixels are more than {MAX_PIXELS:,}")

    try:
        scale = shorter_side / min(image.size)
        if scale < 1:
            image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:
        raise UnreadableImage(f"the picture is damaged: {error}") from None

    scale = shorter_side / min(upright.size)
    wanted = (round(upright.width * scale), round(upright.height * scale))
    if wanted[0] * wanted[1] > MAX_PIXELS:
        raise UnreadableImage(f"{upright.width} × {upright.height} pixels are too long and thin")
    return upright.resize(wanted, Image.Resampling.BICUBIC, reducing_gap=2.0)


def normalise(
    pixels: npt.NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]
) -> npt.NDArray[np.float32]:
    """Pixels (…, height, width, 3) of 0..255 as (…, 3, height, width) of (p / 255 - mean) / std."""
    scaled = (pixels.astype(np.float32) / 255.0 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))
