"""Image formats by their first bytes: those that are trained on, those that can be converted, and those that cannot.

It needs nothing but Python.
"""

import re

from inference.formats import FORMATS

# The other formats that people have: first bytes as a regular expression, and file name extensions.
# HEIC and AVIF: brands of ISO/IEC 14496-12, 23008-12 and AVIF; JPEG 2000: as a file and as a bare codestream.
CONVERTIBLE: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "BMP": (rb"BM....\0\0\0\0", (".bmp",)),
    "TIFF": (rb"II[*+]\0|MM\0[*+]", (".tif", ".tiff")),
    "GIF": (rb"GIF8[79]a", (".gif",)),
    "HEIC": (rb"....ftyp(?:hei[cxms]|hev[cx]|mif1|msf1)", (".heic", ".heif")),
    "AVIF": (rb"....ftyp(?:avif|avis)", (".avif",)),
    "JPEG 2000": (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", ()),
}
UNREADABLE: dict[str, bytes] = {
    "JPEG XL": rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a",
    "DICOM": rb".{128}DICM",
    "PSD": rb"8BPS",
}
# File name extensions by format.
EXTENSIONS = {
    **{name: format.extensions for name, format in FORMATS.items()},
    **{name: extensions for name, (_, extensions) in CONVERTIBLE.items()},
}
# A file with one of them is meant as an image, whatever it contains.
ALL_EXTENSIONS = frozenset(extension for of_format in EXTENSIONS.values() for extension in of_format)
# DICOM has its mark at 128; all others at the beginning.
START_BYTES = 132
SIGNATURES = {
    **{name: format.signature for name, format in FORMATS.items()},
    **{name: signature for name, (signature, _) in CONVERTIBLE.items()},
    **UNREADABLE,
}
# One pattern with a group for each format: it counts with a million files.
NAMES = tuple(SIGNATURES)
START = re.compile(b"|".join(b"(" + signature + b")" for signature in SIGNATURES.values()), re.DOTALL)
# Files that a copy or a download can leave in the place of an image, by their first bytes.
PLACEHOLDERS = (
    (re.compile(rb""), "the file is empty: copy or download it again"),
    (re.compile(rb"version https://git-lfs.*", re.DOTALL), "a Git LFS pointer: run git lfs pull in the repository"),
    (re.compile(rb"\s*<(!doctype html|html).*", re.DOTALL | re.IGNORECASE), "a web page: download the image again"),
)


def format_of(start: bytes) -> str | None:
    """The image format that the first START_BYTES of a file show."""
    match = START.match(start)
    # No signature has a group of its own, so that the number of the group is that of the format.
    return NAMES[match.lastindex - 1] if match and match.lastindex else None


def placeholder(start: bytes) -> str | None:
    """The kind of a file that was meant as an image, and the remedy, if its first START_BYTES show one."""
    return next((advice for pattern, advice in PLACEHOLDERS if pattern.fullmatch(start)), None)
