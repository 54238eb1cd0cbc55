"""Picture bytes to model input: one function for training and for serving, so that both see the same pixels."""

import vendored  # noqa: F401

# isort: split
import io

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from PIL import Image
from torch.nn import functional as F

import image_file
from image_file import ImageFile, UnreadableImage, UnsupportedImage

__all__ = ["UnreadableImage", "UnsupportedImage"]

Pixels = npt.NDArray[np.uint8]

# How many pixels are decoded, so that each image takes less than a second of CPU and 300 MB (measured: 15 bytes a pixel
# of a PNG, 21 of a WebP). A JPEG of one scan is decoded row by row at a reduced scale; all others are held whole.
MAX_ROWWISE_PIXELS = 50_000_000
MAX_PIXELS = {"JPEG": 25_000_000, "PNG": 18_000_000, "WEBP": 13_000_000}
# Each scan goes over all of the pixels, however little data it has; a progressive JPEG has about ten.
MAX_SCANNED_PIXELS = 500_000_000
# The share of the shorter side that the centre crop keeps, as the backbones were trained.
CROP = 0.875
BACKGROUND = "white"

# Pillow's own limit is higher than those above, and warns before it refuses.
Image.MAX_IMAGE_PIXELS = None


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
    # torch warns of arrays that it may not write to.
    planes = torch.from_numpy(np.require(pixels, requirements=("C", "W"))).permute(2, 0, 1)[None]
    planes = F.interpolate(planes, (size, size), mode="bicubic", antialias=True)
    result: Pixels = planes[0].permute(1, 2, 0).contiguous().numpy()
    return result


def opened(data: bytes, shorter_side: int) -> Pixels:
    """The upright picture in RGB, transparency on white: (height, width, 3).

    A JPEG is decoded at the smallest scale (1, 1/2, 1/4, 1/8) that leaves its shorter side `shorter_side` pixels.
    Raises UnsupportedImage or UnreadableImage.
    """
    return decoded(image_file.read(data), shorter_side)


def decoded(file: ImageFile, shorter_side: int) -> Pixels:
    """`opened`, of a file that was read already."""
    _check(file)
    try:
        pixels = _fast(file, shorter_side)
        if pixels is None:
            image = Image.open(io.BytesIO(file.data), formats=(file.format,))
            image.draft("RGB", (shorter_side, shorter_side))
            pixels = np.asarray(_rgb(image))
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        raise UnreadableImage(f"the image is damaged: {error}") from None
    return _upright(pixels, file.orientation)


def _check(file: ImageFile) -> None:
    """Raises UnreadableImage for what would take too much, before a decoder sees it."""
    pixels, limit = file.width * file.height, MAX_ROWWISE_PIXELS if file.in_one_scan else MAX_PIXELS[file.format]
    if pixels > limit:
        raise UnreadableImage(f"{file.width} × {file.height} pixels are more than {limit:,}: send a smaller image")
    if file.scans * pixels > MAX_SCANNED_PIXELS and not file.in_one_scan:
        raise UnreadableImage(f"{file.scans} scans of {file.width} × {file.height} pixels would take too long")


def _fast(file: ImageFile, shorter_side: int) -> Pixels | None:
    """The pixels of a JPEG without Pillow's detours; none if it is not one, or one that is left to Pillow."""
    if file.format != "JPEG":
        return None
    # Other scales than these have no vector code in libjpeg-turbo, and take longer than the next larger one.
    size = (file.height, file.width)
    scale = next((scale for scale in (8, 4, 2) if min(size) >= scale * shorter_side), 1)
    height, width = (-(-side // scale) for side in size)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(file.data, min_height=height, min_width=width)
    except ValueError as error:
        # Pillow makes up what is missing.
        if "premature end" in str(error):
            raise UnreadableImage("the image is damaged: it ends before its last pixel") from None
        return None
    return pixels


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    if orientation in (5, 7):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 4):
        return pixels[:, ::-1] if orientation == 2 else pixels[::-1]
    return np.rot90(pixels, {3: 2, 6: -1, 7: 2, 8: 1}.get(orientation, 0))


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
