"""Parses image files in the formats of formats.py: size, orientation, and the file without metadata.

Decoders get a file that is rebuilt from the parts that this parser understands, so that a decoder and this parser
cannot interpret the same bytes differently. Metadata is dropped without being parsed: general-purpose EXIF readers can
be made to take gigabytes or minutes. A part that is not understood makes the file unreadable.

Sources: ITU T.81 annex B and JFIF 1.02, the PNG specification (third edition), RFC 9649 (WebP), and TIFF 6.0 for the
one EXIF entry that is read.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from inference.formats import FORMATS, SIGNATURE

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
# More than any camera or program writes. Each part costs some microseconds here, and so does each scan in a decoder.
MAX_PARTS = 5_000
MAX_SCANS = 500
ORIENTATION = 0x0112
# EXIF is at most one segment of a JPEG; what other formats have beyond that is not looked at.
EXIF_BYTES = 65_536

# A JPEG's frames that decoders take: baseline, extended and progressive, with Huffman coding.
FRAMES = (0xC0, 0xC1, 0xC2)
PROGRESSIVE = 0xC2
TABLES = (0xC4, 0xDB, 0xDD)  # Huffman, quantisation, restart interval
SCAN, END = 0xDA, 0xD9
EXIF, COMMENT = 0xE1, 0xFE
# These two say how colours are coded. By the number of the segment: how its data begin.
COLOURS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
FILLING = re.compile(rb"\xff+")
# In coded data, FF 00 stands for FF, and FF D0 to FF D7 restart; anything else is the next marker.
NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
WEBP_KEPT = (b"ALPH", b"VP8 ", b"VP8L")
WEBP_METADATA = (b"ICCP", b"EXIF", b"XMP ")
ALPHA_FLAG = 0x10


class UnsupportedImage(ValueError):
    """The bytes are no image of a format of formats.py."""


class UnreadableImage(ValueError):
    """The bytes begin like an image, and cannot be decoded, are more than one, or would take too much."""


class TooLargeImage(UnreadableImage):
    """Decoding the image would take too much: a smaller one of the same may be readable."""


@dataclass(frozen=True)
class ImageFile:
    """An image file without metadata: `data` has the parts that a decoder needs.

    `orientation` is EXIF's, 1 to 8. `scans` goes over the pixels of a JPEG; `in_one_scan` ones are decoded row by row.
    """

    format: str
    width: int
    height: int
    data: bytes
    orientation: int = 1
    scans: int = 1
    in_one_scan: bool = False


def read(data: bytes) -> ImageFile:
    """The image file in `data`. Raises UnsupportedImage or UnreadableImage."""
    if not SIGNATURE.match(data):
        raise UnsupportedImage(f"not an image in one of the formats {', '.join(FORMATS)}")
    if data.startswith(JPEG_START):
        return _jpeg(data)
    return _png(data) if data.startswith(PNG_START) else _webp(data)


def _jpeg(data: bytes) -> ImageFile:
    parts, colours, exif = [JPEG_START], set(), b""
    width = height = components = scans = 0
    progressive = in_one_scan = False
    for marker, start, payload, end in _segments(data):
        if marker == EXIF:
            if not exif and payload.startswith(b"Exif\0\0"):
                exif = payload
            continue
        if 0xE0 <= marker <= 0xEF or marker == COMMENT:
            if marker in COLOURS and marker not in colours and payload.startswith(COLOURS[marker]):
                colours.add(marker)
                parts.append(data[start:end])
            continue
        if marker in FRAMES:
            if components:
                raise UnreadableImage("the image has two frames")
            height, width, components = _frame(payload)
            progressive = marker == PROGRESSIVE
        elif marker == SCAN:
            if not components or not payload:
                raise UnreadableImage("the image has a scan before its header")
            scans += 1
            if scans > MAX_SCANS:
                raise UnreadableImage(f"the image has more than {MAX_SCANS} scans")
            in_one_scan = scans == 1 and not progressive and payload[0] == components
        elif marker not in TABLES and marker != END:
            raise UnreadableImage(f"the image has a part that no decoder here takes (JPEG marker FF {marker:02X})")
        parts.append(data[start:end])
    if not scans:
        raise UnreadableImage("the image is damaged: it ends before its first pixel")
    return ImageFile("JPEG", width, height, b"".join(parts), _orientation(exif), scans, in_one_scan)


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """(marker, where it starts, what is in it, where it ends), to the end of the image, which is the last.

    A scan ends with the coded data that follow its header.
    """
    place = len(JPEG_START)
    for _ in range(MAX_PARTS):
        filling = FILLING.match(data, place)
        if filling is None or filling.end() >= len(data):
            raise UnreadableImage(_cut_short(data, place))
        marker, start = data[filling.end()], filling.end() - 1
        body = start + 4
        if marker == END:
            yield marker, start, b"", start + 2
            return
        # FF 00, FF 01 and FF D0 to FF D8 have no length: none of them may stand here.
        if marker < 0xC0 or 0xD0 <= marker <= 0xD8:
            raise UnreadableImage(f"the image is damaged: FF {marker:02X} at byte {start}")
        end = start + 2 + int.from_bytes(data[start + 2 : body])
        if end < body or end > len(data):
            raise UnreadableImage(_cut_short(data, len(data)))
        place = _coded_until(data, end) if marker == SCAN else end
        yield marker, start, data[body:end], place
    raise UnreadableImage(f"the image has more than {MAX_PARTS} parts")


def _coded_until(data: bytes, start: int) -> int:
    found = NEXT_MARKER.search(data, start)
    if found is None:
        raise UnreadableImage("the image is damaged: it ends before its last pixel")
    return found.start()


def _cut_short(data: bytes, place: int) -> str:
    return (
        "the image is damaged: it ends before its last pixel"
        if place >= len(data)
        else f"the image is damaged at byte {place}"
    )


def _frame(payload: bytes) -> tuple[int, int, int]:
    """Height, width, components."""
    if len(payload) < 6:
        raise UnreadableImage("the image is damaged: its header is too short")
    bits, height, width, components = struct.unpack_from(">BHHB", payload)
    if bits != 8 or components not in (1, 3, 4) or not height or not width or len(payload) != 6 + 3 * components:
        raise UnreadableImage(f"the image has {components} components of {bits} bits, {width} × {height} pixels")
    return height, width, components


def _png(data: bytes) -> ImageFile:
    parts, exif, counts = [PNG_START], b"", dict.fromkeys(PNG_KEPT, 0)
    size, last = (0, 0), b""
    for kind, start, body, end in _chunks(data, len(PNG_START), png=True):
        if kind in PNG_KEPT:
            counts[kind] += 1
            in_place = kind == b"IHDR" if start == len(PNG_START) else kind != b"IHDR"
            if not in_place or (counts[kind] > 1 and (kind, last) != (b"IDAT", b"IDAT")):
                raise UnreadableImage(f"the image's {kind.decode()} parts are not in order")
            if kind == b"IHDR":
                size = _png_size(data[body : end - 4])
            parts.append(data[start:end])
        elif kind == b"acTL" and int.from_bytes(data[body : body + 4]) > 1:
            raise UnreadableImage("the image is animated: send one frame")
        elif kind == b"eXIf" and not exif:
            exif = data[body : min(body + EXIF_BYTES, end - 4)]
        elif kind[:1].isupper():
            raise UnreadableImage(f"the image has a part that no decoder here takes (PNG chunk {kind!r})")
        last = kind
        if kind == b"IEND":
            break
    if not counts[b"IDAT"]:
        raise UnreadableImage("the image is damaged: it ends before its first pixel")
    return ImageFile("PNG", *size, b"".join(parts), _orientation(exif))


def _png_size(header: bytes) -> tuple[int, int]:
    if len(header) != 13 or 0 in struct.unpack_from(">II", header):
        raise UnreadableImage("the image is damaged in its header")
    width, height = struct.unpack_from(">II", header)
    return width, height


def _webp(data: bytes) -> ImageFile:
    parts: dict[bytes, bytes] = {}
    exif, canvas = b"", None
    whole = data[: 8 + int.from_bytes(data[4:8], "little")]
    for kind, start, body, end in _chunks(whole, 12, png=False):
        payload = whole[body:end]
        if kind == b"VP8X" and start == 12 and len(payload) >= 10:
            canvas = (1 + int.from_bytes(payload[4:7], "little"), 1 + int.from_bytes(payload[7:10], "little"))
        elif kind in (b"ANIM", b"ANMF"):
            raise UnreadableImage("the image is animated: send one frame")
        elif kind in WEBP_KEPT:
            if kind in parts:
                raise UnreadableImage("the file has more than one image")
            parts[kind] = whole[start:end] + bytes(len(payload) % 2)
            size = _lossless_size(payload) if kind == b"VP8L" else _lossy_size(payload) if kind == b"VP8 " else None
            if size is not None and canvas not in (None, size):
                raise UnreadableImage("the image has another size than its header says")
            canvas = size or canvas
        elif kind == b"EXIF" and not exif:
            exif = payload[:EXIF_BYTES]
        elif kind not in WEBP_METADATA:
            raise UnreadableImage(f"the image has a part that no decoder here takes (WebP chunk {kind!r})")
    if canvas is None or (b"VP8 " in parts) == (b"VP8L" in parts):
        raise UnreadableImage("the image is damaged: it ends before its first pixel")
    parts.pop(b"ALPH", None) if b"VP8L" in parts else None
    return ImageFile("WEBP", *canvas, _put_together(parts, canvas), _orientation(exif))


def _put_together(parts: dict[bytes, bytes], canvas: tuple[int, int]) -> bytes:
    """The file of the image's own chunks; transparency beside lossy pixels needs the extended header."""
    chunks = [parts[kind] for kind in WEBP_KEPT if kind in parts]
    if b"ALPH" in parts:
        size = b"".join((side - 1).to_bytes(3, "little") for side in canvas)
        chunks.insert(0, b"VP8X" + struct.pack("<II", 10, ALPHA_FLAG) + size)
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _lossy_size(payload: bytes) -> tuple[int, int]:
    """RFC 6386, 9.1: a key frame's header."""
    if len(payload) < 10 or payload[0] & 1 or payload[3:6] != b"\x9d\x01\x2a":
        raise UnreadableImage("the image is damaged in its header")
    width, height = struct.unpack_from("<HH", payload, 6)
    return _sides(width & 0x3FFF, height & 0x3FFF)


def _lossless_size(payload: bytes) -> tuple[int, int]:
    if len(payload) < 5 or payload[0] != 0x2F:
        raise UnreadableImage("the image is damaged in its header")
    (bits,) = struct.unpack_from("<I", payload, 1)
    return _sides((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)


def _sides(width: int, height: int) -> tuple[int, int]:
    if not width or not height:
        raise UnreadableImage("the image is damaged in its header")
    return width, height


def _chunks(data: bytes, place: int, *, png: bool) -> Iterator[tuple[bytes, int, int, int]]:
    """(kind, where it starts, where its data start, where it ends) of a PNG's or a WebP's chunks.

    A PNG's begin with the length and end with a check sum, a WebP's begin with the kind and are filled up to even.
    """
    for _ in range(MAX_PARTS):
        if place == len(data) and not png:
            return
        if place + 8 > len(data):
            raise UnreadableImage("the image is damaged: it ends before its last pixel")
        first, second = data[place : place + 4], data[place + 4 : place + 8]
        kind, size = (second, int.from_bytes(first)) if png else (first, int.from_bytes(second, "little"))
        end = place + 8 + size + (4 if png else 0)
        if end > len(data):
            raise UnreadableImage("the image is damaged: it ends before its last pixel")
        yield kind, place, place + 8, end
        place = end if png else min(end + size % 2, len(data))
    raise UnreadableImage(f"the image has more than {MAX_PARTS} parts")


def _orientation(exif: bytes) -> int:
    """The one entry that is read, of the first directory; 1, as it is, where there is none that is sound."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    if first + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    for place in range(first + 2, min(first + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, values, value = struct.unpack_from(f"{order}HHIH", tiff, place)
        if tag == ORIENTATION:
            return int(value) if (kind, values) == (3, 1) and 1 <= value <= 8 else 1
    return 1
