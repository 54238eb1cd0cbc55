"""A generated image that stands for a photograph, to measure a server or an endpoint with."""

import functools
import io

import numpy as np
from PIL import Image


@functools.cache
def photograph() -> bytes:
    """A JPEG of 640 × 480 pixels: about what the web page sends."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    image = io.BytesIO()
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(image, "JPEG")
    return image.getvalue()
