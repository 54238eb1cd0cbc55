"""Decoding: the same pixels for training and serving, and a named refusal for everything that is no picture."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bad_pictures import NOT_AN_IMAGE, corpus
from drawing import encode, gradient
from images import UnreadableImage, UnsupportedImage, _first_scan, decode, normalise, opened


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_given_a_picture_when_decoded_then_it_is_a_square_of_rgb_pixels(kind: str, mode: str) -> None:
    pixels = decode(encode(gradient().convert(mode), kind), 224)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1"])
def test_given_a_png_of_an_uncommon_mode_when_decoded_then_it_is_rgb(mode: str) -> None:
    assert decode(encode(gradient().convert(mode), "PNG"), 64).shape == (64, 64, 3)


@pytest.mark.parametrize("size", [(10, 700), (700, 10), (1, 1), (3000, 2000), (60000, 2)])
def test_given_an_extreme_shape_when_decoded_then_it_is_a_square(size: tuple[int, int]) -> None:
    assert decode(encode(gradient(*size), "JPEG"), 224).shape == (224, 224, 3)


def test_given_a_large_jpeg_when_decoded_at_a_reduced_scale_then_it_is_the_same_picture() -> None:
    image = gradient(2400, 1800)
    reduced = decode(encode(image, "JPEG", quality=95), 224).astype(int)
    full = decode(encode(image, "PNG"), 224).astype(int)
    assert np.abs(reduced - full).mean() < 3


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_given_an_exif_orientation_when_decoded_then_the_picture_is_upright(
    orientation: int, turn: Image.Transpose, kind: str
) -> None:
    image = gradient(300, 200)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = opened(encode(image.transpose(turn), kind, quality=95, exif=exif), 200).astype(int)
    upright = opened(encode(image, kind, quality=95), 200).astype(int)
    assert turned.shape == upright.shape == (200, 300, 3)
    assert np.abs(turned - upright).mean() < 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so, and goes on
def test_given_damaged_exif_data_when_decoded_then_the_picture_is_read_all_the_same() -> None:
    assert decode(encode(gradient(), "JPEG", exif=b"Exif\x00\x00MM\x00*" + b"\xff" * 40), 64).shape == (64, 64, 3)


def test_given_transparency_when_decoded_then_what_is_below_is_white() -> None:
    clear = Image.new("RGBA", (80, 80), (0, 0, 0, 0))
    palette = Image.new("P", (80, 80))
    palette.info["transparency"] = 0
    for image in (clear, palette, Image.new("LA", (80, 80), (0, 0))):
        assert (decode(encode(image, "PNG", **image.info), 32) == 255).all()
    assert (decode(encode(clear, "WEBP", lossless=True), 32) == 255).all()


def test_given_sixteen_bits_when_decoded_then_the_upper_eight_are_seen() -> None:
    grey = Image.fromarray(np.full((50, 50), 0x8040, np.uint16))
    assert (decode(encode(grey, "PNG"), 32) == 0x80).all()


def test_given_a_cmyk_jpeg_when_decoded_then_it_has_its_colours() -> None:
    red = Image.new("RGB", (64, 64), (200, 30, 30)).convert("CMYK")
    assert np.abs(decode(encode(red, "JPEG"), 32).astype(int) - (200, 30, 30)).max() < 20


def test_given_a_jpeg_that_the_fast_decoder_rejects_when_decoded_then_pillow_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(gradient(700, 500), "JPEG", quality=95)
    fast = decode(data, 64)

    def reject(*_: object, **__: object) -> None:
        raise ValueError("Unsupported")

    monkeypatch.setattr("simplejpeg.decode_jpeg", reject)
    assert np.abs(decode(data, 64).astype(int) - fast).max() <= 2


def test_given_a_file_of_several_jpegs_when_decoded_then_the_first_is_meant() -> None:
    first, second = gradient(200, 150), Image.new("RGB", (200, 150))
    data = encode(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(decode(data, 64), decode(encode(first, "JPEG"), 64))


def test_given_a_thumbnail_in_a_large_photograph_when_decoded_then_its_scan_is_not_counted() -> None:
    thumbnail = encode(gradient(64, 64), "JPEG")
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00" + thumbnail
    assert _first_scan(encode(gradient(), "JPEG", exif=exif))[1] is False
    assert _first_scan(encode(gradient(), "JPEG", progressive=True))[1] is True


def test_given_a_text_when_decoded_then_it_is_unsupported() -> None:
    with pytest.raises(UnsupportedImage):
        decode(b"not a picture at all", 224)


def test_given_another_format_when_decoded_then_it_is_unsupported() -> None:
    with pytest.raises(UnsupportedImage):
        decode(encode(gradient(), "GIF"), 224)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_given_a_truncated_jpeg_when_decoded_then_it_is_unreadable(jpeg: bytes, share: float) -> None:
    with pytest.raises(UnreadableImage):
        decode(jpeg[: int(len(jpeg) * share)], 224)


def test_given_a_bomb_when_decoded_then_it_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(UnreadableImage, match="pixels"):
        decode(start + struct.pack(">I", 1000) + b"IDAT" + bytes(1000), 224)


def test_given_only_a_header_when_decoded_then_it_is_unreadable() -> None:
    with pytest.raises(UnreadableImage, match="ends before"):
        decode(encode(gradient(), "PNG")[:30], 224)


def test_given_pixels_when_normalised_then_channels_come_first_and_are_scaled() -> None:
    pixels = np.full((2, 4, 4, 3), 255, np.uint8)
    result = normalise(pixels, (0.5, 0.5, 0.0), (0.5, 1.0, 1.0))
    assert result.shape == (2, 3, 4, 4)
    assert result[0, :, 0, 0].tolist() == [1.0, 0.5, 1.0]


@pytest.mark.parametrize(("name", "data", "status"), corpus(), ids=lambda value: value if type(value) is str else "")
def test_given_a_bad_picture_when_decoded_then_it_is_refused_rightly(name: str, data: bytes, status: int) -> None:
    with pytest.raises(UnsupportedImage if status == NOT_AN_IMAGE else UnreadableImage):
        decode(data, 224)
