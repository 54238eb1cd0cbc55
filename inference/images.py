"""Image bytes to model input: one function for training and for serving, so that both see the same pixels."""

from inference import vendor_path  # noqa: F401

# isort: split
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from inference import decoder_pool
from inference.decoder import Pixels, middle
from inference.image_file import UnreadableImage, UnsupportedImage

__all__ = ["Pixels", "UnreadableImage", "UnsupportedImage"]


@dataclass(frozen=True)
class Preprocessing:
    """From an image to the pixels that a network was trained with: (size_px, size_px, 3).

    `crop` is the share of the shorter side that the square in the middle keeps; `interpolation` is torch's name for how
    it is resized.
    """

    size_px: int
    crop: float = 0.875
    interpolation: str = "bicubic"

    @classmethod
    def of(cls, description: dict[str, Any]) -> "Preprocessing":
        """Out of model.json. Older packages have only a size: the rest was the same for all backbones."""
        given = description["input"]
        return cls(given["size_px"], given.get("crop", cls.crop), given.get("interpolation", cls.interpolation))

    @property
    def shorter_side(self) -> int:
        """The pixels of an image's shorter side that are used; a file with more may be decoded at a smaller scale."""
        return round(self.size_px / self.crop)


def decode(data: bytes, wanted: Preprocessing) -> Pixels:
    """The centre of the upright image: RGB pixels of shape (size_px, size_px, 3).

    Raises UnsupportedImage or UnreadableImage.
    """
    with decoder_pool.lent(data, wanted.shorter_side, wanted.crop) as decoded:
        return resized(decoded.pixels, wanted)


def centre(pixels: Pixels, wanted: Preprocessing) -> Pixels:
    """The middle square of an image, as (size_px, size_px, 3)."""
    return resized(middle(pixels, wanted.crop), wanted)


def resized(pixels: Pixels, wanted: Preprocessing) -> Pixels:
    """(height, width, 3) as (size_px, size_px, 3), antialiased. Its threads are torch's: give it one."""
    size = wanted.size_px
    # torch warns of arrays that it may not write to.
    planes = torch.from_numpy(np.require(pixels, requirements=("C", "W"))).permute(2, 0, 1)[None]
    planes = F.interpolate(planes, (size, size), mode=wanted.interpolation, antialias=True)
    result = np.empty((size, size, 3), np.uint8)
    for channel, plane in enumerate(planes[0].numpy()):  # torch's contiguous() takes four times as long
        result[:, :, channel] = plane
    return result


def opened(data: bytes, shorter_side: int) -> Pixels:
    """The upright image in RGB, (height, width, 3), its shorter side at least `shorter_side` if the file's is.

    It is decoded in another process, with limits. Raises UnsupportedImage or UnreadableImage.
    """
    return decoder_pool.decode(data, shorter_side).pixels


def normalise(pixels: Pixels, mean: tuple[float, ...], std: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """Pixels (…, height, width, 3) of 0..255 as (…, 3, height, width) of (p / 255 - mean) / std."""
    scaled = (pixels.astype(np.float32) / 255.0 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))
