"""Images that no server should take, made here: name, bytes, and the status that is right for each."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator

from PIL import Image

from helpers.images import encode, gradient

NOT_AN_IMAGE, UNREADABLE = 415, 422
Bad = tuple[str, bytes, int]
SHARES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


def corpus() -> list[Bad]:
    """All of them; the same bytes each time."""
    return [*truncated(), *headers(), *bombs(), *animated(), *others(), *polyglots()]


def truncated() -> Iterator[Bad]:
    """Good images, cut at many points."""
    noise = Image.effect_noise((640, 480), 60).convert("RGB")
    images = {
        "jpeg": encode(noise, "JPEG"),
        "progressive": encode(noise, "JPEG", progressive=True),
        "png": encode(noise, "PNG"),
        "palette png": encode(noise.quantize(64), "PNG"),
        "webp": encode(noise, "WEBP"),
        "lossless-webp": encode(noise, "WEBP", lossless=True),
    }
    for name, data in images.items():
        for share in SHARES:
            yield f"{name} cut at {share:.0%}", data[: int(len(data) * share)], UNREADABLE


def headers() -> Iterator[Bad]:
    """Headers that lie, or that nobody can read."""
    data = encode(gradient(64, 64), "JPEG")
    yield "jpeg: two markers and no more", b"\xff\xd8\xff\xd9", UNREADABLE
    yield "jpeg: the first three bytes", b"\xff\xd8\xff", UNREADABLE
    yield "jpeg: then noise", b"\xff\xd8\xff" + random.Random(1).randbytes(5000), UNREADABLE
    yield "jpeg: zero height", _sof(data, height=0), UNREADABLE
    yield "jpeg: zero width", _sof(data, width=0), UNREADABLE
    yield "jpeg: 12 bits", _sof(data, precision=12), UNREADABLE
    yield "jpeg: 5 components", _sof(data, components=5), UNREADABLE
    yield "jpeg: no quantisation table", _without(data, b"\xff\xdb"), UNREADABLE
    yield "jpeg: no scan", data[: data.index(b"\xff\xda")] + b"\xff\xd9", UNREADABLE
    yield "jpeg: lossless coding", data.replace(b"\xff\xc0", b"\xff\xc3", 1), UNREADABLE
    yield "jpeg: a segment longer than the file", b"\xff\xd8\xff\xe1\xff\xff" + data[2:200], UNREADABLE
    for field, values in {
        "no width": (0, 8, 8, 2, 0),
        "no height": (8, 0, 8, 2, 0),
        "3 bits": (8, 8, 3, 2, 0),
        "colour type 1": (8, 8, 8, 1, 0),
        "interlace method 7": (8, 8, 8, 2, 7),
    }.items():
        yield f"png: {field}", png(*values), UNREADABLE
    whole = encode(gradient(64, 64), "PNG")
    yield "png: a wrong check sum", whole[:29] + bytes([whole[29] ^ 1]) + whole[30:], UNREADABLE
    yield "png: no data", png(8, 8, data=b""), UNREADABLE
    yield "png: data that is not compressed", png(8, 8, raw=b"not zlib at all"), UNREADABLE
    yield "png: the signature alone", b"\x89PNG\r\n\x1a\n", UNREADABLE
    yield "webp: the signature alone", b"RIFF\x04\x00\x00\x00WEBP", UNREADABLE
    yield "webp: a chunk longer than the file", b"RIFF\xff\xff\xff\x7fWEBPVP8 \xff\xff\xff\x7f" + bytes(64), UNREADABLE
    yield "webp: noise", b"RIFF\x00\x10\x00\x00WEBPVP8L" + random.Random(2).randbytes(4096), UNREADABLE


def bombs() -> Iterator[Bad]:
    """Small files that want much memory or much time."""
    data = encode(gradient(64, 64), "JPEG")
    yield "jpeg: 65,500 × 65,500", _sof(data, width=65500, height=65500), UNREADABLE
    progressive = encode(gradient(64, 64), "JPEG", progressive=True)
    yield "jpeg: 65,500 × 65,500, progressive", _sof(progressive, width=65500, height=65500), UNREADABLE
    yield "jpeg: as large as allowed, hardly any data", _sof(data, width=7000, height=7000), UNREADABLE
    yield "jpeg: as large as allowed, 5,000 scans", many_scans(7000, 7000, 5000), UNREADABLE
    yield "png: 100,000 × 100,000", png(100_000, 100_000), UNREADABLE
    yield "png: the largest number there is", png(2**31 - 1, 2**31 - 1), UNREADABLE
    yield "png: 30,000 × 30,000, all of it", encode(Image.new("1", (30_000, 30_000)), "PNG"), UNREADABLE
    yield "webp: 16,383 × 16,383", _webp_of(16383, 16383), UNREADABLE
    yield "webp: 2^24 × 2^24 by its extended header", _webp_extended(2**24, 2**24), UNREADABLE


def animated() -> Iterator[Bad]:
    """More than one image in a file: which one is meant?"""
    frames = [gradient(64, 64).rotate(angle) for angle in (0, 90, 180)]
    for kind in ("PNG", "WEBP"):
        yield f"animated {kind}", encode(frames[0], kind, save_all=True, append_images=frames[1:]), UNREADABLE


def others() -> Iterator[Bad]:
    """Images of formats that are not served, and what is no image."""
    image = gradient(64, 64)
    for kind in ("GIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "PCX"):
        yield kind, encode(image, kind), NOT_AN_IMAGE
    yield "nothing", b"", NOT_AN_IMAGE
    yield "one byte", b"\xff", NOT_AN_IMAGE
    yield "zeros", bytes(100_000), NOT_AN_IMAGE
    yield "noise", random.Random(3).randbytes(100_000), NOT_AN_IMAGE
    yield "a text", "Größe".encode(), NOT_AN_IMAGE
    yield "JSON", b'{"url": "https://example.com/dog.jpg"}', NOT_AN_IMAGE
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', NOT_AN_IMAGE
    yield "HEIC", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200), NOT_AN_IMAGE
    yield "a RIFF file that is sound", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28), NOT_AN_IMAGE


def polyglots() -> Iterator[Bad]:
    """Files that are two things."""
    image = encode(gradient(64, 64), "JPEG")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("image.jpg", image)
    yield "ZIP with a JPEG in it", archive.getvalue(), NOT_AN_IMAGE
    yield "PDF with a JPEG in it", b"%PDF-1.4\n" + image, NOT_AN_IMAGE
    yield "HTML before a JPEG", b"<html><script>alert(1)</script>" + image, NOT_AN_IMAGE
    yield "GIF header before a JPEG", b"GIF89a" + image, NOT_AN_IMAGE
    yield "JPEG signature before a PNG", b"\xff\xd8\xff" + encode(gradient(64, 64), "PNG"), UNREADABLE


def png(
    width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0,
    *, data: bytes | None = None, raw: bytes | None = None, before: bytes = b"",
) -> bytes:  # fmt: skip
    """A PNG of given header; `data` is compressed (some black pixels by default), `raw` is not."""
    pixels = bytes(8 * 25) if data is None else data
    compressed = zlib.compress(pixels) if raw is None else raw
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    chunks = chunk(b"IHDR", header) + before
    if compressed and data != b"":
        chunks += chunk(b"IDAT", compressed)
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG that goes over all of its pixels again and again, with next to no data."""
    data = _sof(encode(Image.new("L", (64, 64)), "JPEG", progressive=True), width=width, height=height)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start : data.index(b"\xff\xd9", start)] * scans + b"\xff\xd9"


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def segment(marker: int, payload: bytes) -> bytes:
    """A part of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def _sof(
    data: bytes, *, precision: int | None = None, height: int | None = None, width: int | None = None,
    components: int | None = None,
) -> bytes:  # fmt: skip
    """`data` with another frame header."""
    place = next(data.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in data) + 4
    old = struct.unpack(">BHHB", data[place : place + 6])
    given = (precision, height, width, components)
    new = [before if value is None else value for before, value in zip(old, given, strict=True)]
    return data[:place] + struct.pack(">BHHB", *new) + data[place + 6 :]


def _without(data: bytes, marker: bytes) -> bytes:
    """`data` without the segments of `marker`."""
    while (place := data.find(marker)) >= 0:
        (length,) = struct.unpack(">H", data[place + 2 : place + 4])
        data = data[:place] + data[place + 2 + length :]
    return data


def _webp_of(width: int, height: int) -> bytes:
    """A lossless WebP whose header says a size that its data does not have."""
    data = bytearray(encode(gradient(64, 64), "WEBP", lossless=True))
    place = data.index(b"VP8L") + 9
    bits = struct.unpack("<I", data[place : place + 4])[0] & ~0xFFFFFFF
    data[place : place + 4] = struct.pack("<I", bits | (width - 1) | (height - 1) << 14)
    return bytes(data)


def _webp_extended(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size
    rest = encode(gradient(64, 64), "WEBP", lossless=True)[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(chunk) + len(rest)) + b"WEBP" + chunk + rest
