"""The image formats that are served and trained on: one table for the URL, its page, the model server and datasets.

The function's asset has a copy of this module, so it needs nothing but Python. A further format also needs a parser in
image_file.py; tests hold openapi.json to the table.
"""

import re
from typing import NamedTuple


class ImageFormat(NamedTuple):
    """A format: its name for people, media type, first bytes as a regular expression, and file name extensions.

    `max_pixels` are decoded, so that each image takes less than a second of CPU and 300 MB (measured: 15 bytes a pixel
    of a PNG, 21 of a WebP).
    """

    title: str
    media_type: str
    signature: bytes
    extensions: tuple[str, ...]
    max_pixels: int


# By Pillow's names.
FORMATS = {
    "JPEG": ImageFormat("JPEG", "image/jpeg", rb"\xff\xd8\xff", (".jpg", ".jpeg", ".jpe", ".jfif"), 25_000_000),
    "PNG": ImageFormat("PNG", "image/png", rb"\x89PNG\r\n\x1a\n", (".png",), 18_000_000),
    "WEBP": ImageFormat("WebP", "image/webp", rb"RIFF....WEBP", (".webp",), 13_000_000),
}
MEDIA_TYPES = tuple(format.media_type for format in FORMATS.values())
# The first bytes of a file in one of the formats, and how many of them decide.
SIGNATURE = re.compile(b"|".join(format.signature for format in FORMATS.values()), re.DOTALL)
SIGNATURE_BYTES = 12


def titles() -> str:
    """The formats in words."""
    *first, last = (format.title for format in FORMATS.values())
    return f"{', '.join(first)} or {last}"
