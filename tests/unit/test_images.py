"""Decoding: the same pixels for training and serving, and a named refusal for everything that is no picture."""

import struct
import zlib

import numpy as np
import pytest
from drawing import encode, gradient
from PIL import Image

from images import UnreadableImage, UnsupportedImage, decode, normalise


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_given_a_picture_when_decoded_then_it_is_a_square_of_rgb_pixels(kind: str, mode: str) -> None:
    pixels = decode(encode(gradient().convert(mode), kind), 224)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1"])
def test_given_a_png_of_an_uncommon_mode_when_decoded_then_it_is_rgb(mode: str) -> None:
    assert decode(encode(gradient().convert(mode), "PNG"), 64).shape == (64, 64, 3)


@pytest.mark.parametrize("size", [(10, 700), (700, 10), (1, 1), (3000, 2000)])
def test_given_an_extreme_shape_when_decoded_then_it_is_a_square(size: tuple[int, int]) -> None:
    assert decode(encode(gradient(*size), "JPEG"), 224).shape == (224, 224, 3)


def test_given_a_large_jpeg_when_decoded_at_a_reduced_scale_then_it_is_the_same_picture() -> None:
    image = gradient(2400, 1800)
    reduced = decode(encode(image, "JPEG", quality=95), 224).astype(int)
    full = decode(encode(image, "PNG"), 224).astype(int)
    assert np.abs(reduced - full).mean() < 3


def test_given_an_exif_orientation_when_decoded_then_the_picture_is_upright() -> None:
    image = gradient(300, 300)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = decode(encode(image.rotate(180), "JPEG", quality=95, exif=exif), 64).astype(int)
    upright = decode(encode(image, "JPEG", quality=95), 64).astype(int)
    assert np.abs(turned - upright).mean() < 3


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


def test_given_a_long_thin_picture_when_decoded_then_it_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(UnreadableImage, match="long and thin"):
        decode(encode(Image.new("L", (3_000_000, 4)), "PNG"), 224)
