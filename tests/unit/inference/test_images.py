"""Decoding: the same pixels for training and serving, and a named refusal for everything that is no image."""

import numpy as np
import pytest
from PIL import Image

from helpers.bad_images import NOT_AN_IMAGE, corpus, png
from helpers.images import encode, gradient
from inference import decoder, images
from inference.images import Pixels, Preprocessing, UnreadableImage, UnsupportedImage, normalise, opened


def decode(data: bytes, size_px: int) -> Pixels:
    return images.decode(data, Preprocessing(size_px))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_decoded_image_is_square_rgb(kind: str, mode: str) -> None:
    pixels = decode(encode(gradient().convert(mode), kind), 224)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1"])
def test_uncommon_png_mode_becomes_rgb(mode: str) -> None:
    assert decode(encode(gradient().convert(mode), "PNG"), 64).shape == (64, 64, 3)


@pytest.mark.parametrize("size", [(10, 700), (700, 10), (1, 1), (3000, 2000), (60000, 2)])
def test_extreme_shape_decodes_to_square(size: tuple[int, int]) -> None:
    assert decode(encode(gradient(*size), "JPEG"), 224).shape == (224, 224, 3)


def test_reduced_scale_decode_matches_full() -> None:
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
def test_exif_orientation_is_applied(orientation: int, turn: Image.Transpose, kind: str) -> None:
    image = gradient(300, 200)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = opened(encode(image.transpose(turn), kind, quality=95, exif=exif), 200).astype(int)
    upright = opened(encode(image, kind, quality=95), 200).astype(int)
    assert turned.shape == upright.shape == (200, 300, 3)
    assert np.abs(turned - upright).mean() < 3


def test_damaged_exif_is_ignored() -> None:
    assert decode(encode(gradient(), "JPEG", exif=b"Exif\x00\x00MM\x00*" + b"\xff" * 40), 64).shape == (64, 64, 3)


def test_transparency_becomes_white() -> None:
    clear = Image.new("RGBA", (80, 80), (0, 0, 0, 0))
    palette = Image.new("P", (80, 80))
    palette.info["transparency"] = 0
    for image in (clear, palette, Image.new("LA", (80, 80), (0, 0))):
        assert (decode(encode(image, "PNG", **image.info), 32) == 255).all()
    assert (decode(encode(clear, "WEBP", lossless=True), 32) == 255).all()


@pytest.mark.parametrize("depth", [8, 12, 16])
def test_16_bit_image_is_scaled_by_its_range(depth: int) -> None:
    steps = np.linspace(0, 2**depth - 1, 64).astype(np.uint16)
    pixels = decode(encode(Image.fromarray(np.tile(steps, (64, 1))), "PNG"), 64)
    assert pixels.min() < 30
    assert pixels.max() > 225


def test_cmyk_jpeg_keeps_colours() -> None:
    red = Image.new("RGB", (64, 64), (200, 30, 30)).convert("CMYK")
    assert np.abs(decode(encode(red, "JPEG"), 32).astype(int) - (200, 30, 30)).max() < 20


def test_rejected_jpeg_falls_back_to_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(gradient(700, 500), "JPEG", quality=95)
    fast = decoder.decode(data, 64).pixels

    def reject(*_: object, **__: object) -> None:
        raise ValueError("Unsupported")

    monkeypatch.setattr("simplejpeg.decode_jpeg", reject)
    assert np.abs(decoder.decode(data, 64).pixels.astype(int) - fast).max() <= 2


def test_multi_jpeg_file_decodes_first() -> None:
    first, second = gradient(200, 150), Image.new("RGB", (200, 150))
    data = encode(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(decode(data, 64), decode(encode(first, "JPEG"), 64))


def test_text_is_unsupported() -> None:
    with pytest.raises(UnsupportedImage):
        decode(b"not an image at all", 224)


def test_gif_is_unsupported() -> None:
    with pytest.raises(UnsupportedImage):
        decode(encode(gradient(), "GIF"), 224)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_jpeg_is_unreadable(jpeg: bytes, share: float) -> None:
    with pytest.raises(UnreadableImage):
        decode(jpeg[: int(len(jpeg) * share)], 224)


def test_decompression_bomb_is_rejected_by_header() -> None:
    with pytest.raises(UnreadableImage, match="100000 × 100000 pixels"):
        decode(png(100_000, 100_000), 224)


def test_header_without_pixels_is_unreadable() -> None:
    with pytest.raises(UnreadableImage, match="ends before"):
        decode(encode(gradient(), "PNG")[:30], 224)


def test_normalise_scales_and_puts_channels_first() -> None:
    pixels = np.full((2, 4, 4, 3), 255, np.uint8)
    result = normalise(pixels, (0.5, 0.5, 0.0), (0.5, 1.0, 1.0))
    assert result.shape == (2, 3, 4, 4)
    assert result[0, :, 0, 0].tolist() == [1.0, 0.5, 1.0]


@pytest.mark.parametrize(("name", "data", "status"), corpus(), ids=lambda value: value if type(value) is str else "")
def test_bad_image_raises_matching_error(name: str, data: bytes, status: int) -> None:
    with pytest.raises(UnsupportedImage if status == NOT_AN_IMAGE else UnreadableImage) as caught:
        decode(data, 224)
    # Callers read the message: it tells nothing of this process.
    assert " at 0x" not in str(caught.value)


def test_crop_and_interpolation_are_those_of_the_network() -> None:
    image = Image.new("RGB", (100, 100), "white")
    image.paste("black", (10, 10, 90, 90))
    data = encode(image, "PNG")
    whole, part = (images.decode(data, Preprocessing(50, crop)) for crop in (1.0, 0.8))
    assert (int(whole[0, 0, 0]), int(part[0, 0, 0])) == (255, 0)
    smooth, sharp = (images.decode(data, Preprocessing(33, 1.0, how)).std() for how in ("bilinear", "bicubic"))
    assert smooth != sharp
