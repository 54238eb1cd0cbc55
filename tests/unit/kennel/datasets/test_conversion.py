import io
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers import conversions
from helpers.images import HEIC, encode, gradient
from kennel.datasets import conversion


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_heic_becomes_jpeg() -> None:
    data, kind = conversion.convert(HEIC, 1000, 90)
    assert kind == "JPEG"
    image = opened(data)
    assert image.size == (64, 48)
    left, right = image.getpixel((8, 24)), image.getpixel((56, 24))
    assert left[0] > left[2] + 100
    assert right[2] > right[0] + 100


def test_lossless_source_stays_lossless_where_it_fits() -> None:
    bmp = encode(gradient(64, 48), "BMP")
    data, kind = conversion.convert(bmp, 1000, 90, png_bytes=1_000_000)
    assert kind == "PNG"
    assert np.array_equal(opened(data), gradient(64, 48))
    assert conversion.convert(bmp, 1000, 90, png_bytes=100)[1] == "JPEG"
    assert conversion.convert(bmp, 1000, 90)[1] == "JPEG"


def test_large_image_is_made_smaller_and_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data, _ = conversion.convert(encode(gradient(3000, 2000), "JPEG", exif=exif), 600, 90)
    assert opened(data).size == (400, 600)


def test_grey_of_16_bits_is_scaled_by_its_range() -> None:
    grey = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) % 1000
    data, _ = conversion.convert(encode(Image.fromarray(grey), "TIFF"), 1000, 90, png_bytes=1_000_000)
    assert (np.asarray(opened(data)).min(), np.asarray(opened(data)).max()) == (0, 255)


def test_quality_is_what_was_asked_for() -> None:
    bmp = encode(Image.effect_noise((200, 200), 80).convert("RGB"), "BMP")
    assert len(conversion.convert(bmp, 1000, 95)[0]) > 1.2 * len(conversion.convert(bmp, 1000, 80)[0])


@pytest.mark.parametrize("data", [b"", b"no image", HEIC[:300], encode(gradient(64, 48), "TIFF")[:100]])
def test_damaged_file_is_an_error(data: bytes) -> None:
    with pytest.raises(conversion.ConversionError):
        conversion.convert(data, 1000, 90)


def test_more_pixels_than_any_camera_are_refused() -> None:
    header = b"IHDR" + (60_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0"
    png = b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4) + b"\0\0\0\0IDAT"
    with pytest.raises(conversion.ConversionError, match="60000 × 60000 pixels are more than 300,000,000"):
        conversion.convert(png, 1000, 90)


def test_image_that_ends_its_process_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGPROF ends the process of an image that computes for too long; the next image has another process."""
    monkeypatch.setattr(conversion, "_convert", conversions.endless)
    with pytest.raises(conversion.ConversionError, match="or ends its decoder"):
        conversion.convert(HEIC, 1000, 90)
    monkeypatch.undo()
    assert conversion.convert(HEIC, 1000, 90)[1] == "JPEG"


def test_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_convert", conversions.greedy)
    with pytest.raises(conversion.ConversionError, match="out of memory"):
        conversion.convert(HEIC, 1000, 90)
