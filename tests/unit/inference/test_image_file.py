"""What a decoder gets of a file: its pixels' own parts, whatever else is in it, and what is refused unread."""

import io
import random
import struct
import zlib

import pytest
from PIL import Image

from helpers.bad_images import chunk, many_scans, png, segment
from helpers.images import encode, gradient
from inference.image_file import MAX_PARTS, UnreadableImage, read

KINDS = ("JPEG", "PNG", "WEBP")


def exif(entries: list[tuple[int, int, int, int]], order: str = "<") -> bytes:
    """An EXIF block with one directory of (tag, type, count, value)."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    rows = (struct.pack(f"{order}HHIHH", *entry, 0) for entry in entries)
    return b"Exif\0\0" + head + b"".join(rows) + bytes(4)


def with_exif(kind: str, block: bytes) -> bytes:
    return encode(gradient(64, 48), kind, exif=block)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_pixels_are_those_of_whole_file(kind: str, mode: str) -> None:
    if kind == "JPEG" and mode in ("RGBA", "P"):
        mode = "CMYK"
    image = gradient(90, 70).convert(mode)
    whole = encode(
        image, kind, exif=exif([(0x0112, 3, 1, 6)]), icc_profile=random.Random(1).randbytes(3000), comment=b"of mine"
    )
    found = read(whole)
    assert (found.format, found.width, found.height, found.orientation) == (kind, 90, 70, 6)
    assert len(found.data) < len(whole) - 2900
    stripped = Image.open(io.BytesIO(found.data))
    assert not {"exif", "icc_profile", "comment", "xmp"} & set(stripped.info)
    assert stripped.tobytes() == Image.open(io.BytesIO(whole)).tobytes()


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 2}, {"subsampling": 0}])
def test_jpeg_of_any_coding_is_kept(options: dict[str, object]) -> None:
    whole = encode(gradient(90, 70), "JPEG", **options)
    found = read(whole)
    assert found.data == whole
    assert found.in_one_scan == ("progressive" not in options)
    assert (found.scans == 1) == found.in_one_scan


def test_thumbnail_and_further_images_are_left_out() -> None:
    first, second = gradient(64, 64), gradient(32, 32)
    thumbnail = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + encode(second, "JPEG")
    assert read(encode(first, "JPEG", exif=thumbnail)) == read(encode(first, "JPEG"))
    assert read(encode(first, "MPO", save_all=True, append_images=[second])) == read(encode(first, "JPEG"))
    for kind in KINDS:
        assert read(encode(first, kind) + b"PK\x03\x04" + bytes(1000)) == read(encode(first, kind))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", KINDS)
def test_orientation_is_read(kind: str, order: str) -> None:
    block = exif([(0x010F, 2, 4, 0), (0x0112, 3, 1, 8), (0x0112, 3, 1, 3)], order)
    assert read(with_exif(kind, block)).orientation == 8


@pytest.mark.parametrize(
    "block",
    [
        exif([(0x0112, 3, 1, 9)]),
        exif([(0x0112, 3, 1, 0)]),
        exif([(0x0112, 4, 1, 6)]),
        exif([(0x0112, 3, 70_000, 6)]),
        exif([(0x0112, 3, 1, 6)])[:20],
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0" * 5_000,
        b"Exif\0\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_damaged_orientation_is_none(kind: str, block: bytes) -> None:
    plain = encode(gradient(64, 48), kind)
    data = plain[:2] + segment(0xE1, block) + plain[2:] if kind == "JPEG" else png(8, 8, before=chunk(b"eXIf", block))
    assert read(data).orientation == 1


@pytest.mark.parametrize("marker", [0x00, 0x01, 0x02, 0xBF, 0xD0, 0xD7, 0xD8, 0xC3, 0xC9, 0xCC, 0xDC, 0xDE, 0xF0])
def test_marker_that_is_not_understood_is_refused(marker: int) -> None:
    data = encode(gradient(64, 48), "JPEG")
    for place in (2, data.index(b"\xff\xda")):
        with pytest.raises(UnreadableImage):
            read(data[:place] + bytes([0xFF, marker]) + data[place:])


def test_marker_within_coded_data_is_seen() -> None:
    data = encode(gradient(64, 48), "JPEG")
    with pytest.raises(UnreadableImage):
        read(data[:-20] + b"\xff\x01" + data[-20:])


def test_hidden_scans_are_counted() -> None:
    """A marker without a length hid them behind a false header (S2 of the attacker's review)."""
    with pytest.raises(UnreadableImage, match="more than 500 scans"):
        read(many_scans(64, 64, 600))
    assert read(many_scans(64, 64, 40)).scans > 40


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + segment(0xFE, b"") * (MAX_PARTS + 1) + encode(gradient(64, 48), "JPEG")[2:],
        png(8, 8, before=chunk(b"tEXt", b"") * (MAX_PARTS + 1)),
        b"RIFF" + struct.pack("<I", 4 + 8 * (MAX_PARTS + 1)) + b"WEBP" + (b"XMP " + bytes(4)) * (MAX_PARTS + 1),
    ],
    ids=KINDS,
)
def test_endless_parts_are_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage, match="more than 5000 parts"):
        read(data)


@pytest.mark.parametrize(
    "parts",
    [
        chunk(b"IHDR", bytes(13)),
        chunk(b"IEND", b""),
        chunk(b"IDAT", zlib.compress(b"")) + chunk(b"tEXt", b"a\0b"),
        chunk(b"CgBI", b"1234"),
        chunk(b"PLTE", bytes(3)) * 2,
    ],
)
def test_png_out_of_order_is_refused(parts: bytes) -> None:
    with pytest.raises(UnreadableImage):
        read(png(8, 8, before=parts))


def test_second_image_in_webp_is_refused() -> None:
    lossless = encode(gradient(64, 48), "WEBP", lossless=True)
    twice = lossless + lossless[12:]
    with pytest.raises(UnreadableImage, match="more than one image"):
        read(b"RIFF" + struct.pack("<I", len(twice) - 8) + twice[8:])


def test_metadata_are_not_unpacked() -> None:
    text = b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9)
    assert read(png(8, 8, before=chunk(b"zTXt", text))) == read(png(8, 8))
    everything = struct.pack("<HHI", 0x0112 - 1, 7, 5_000_000) + bytes(4)
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", 65_000) + everything * 65_000 + bytes(4_000_000)
    assert read(png(8, 8, before=chunk(b"eXIf", block))) == read(png(8, 8))
