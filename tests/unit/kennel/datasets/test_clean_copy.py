from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.images import HEIC, gradient
from inference import image_file
from inference.images import opened
from kennel.datasets.clean_copy import clean
from training.data import checks, dataset, inspection, layout


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turned_copy_shows_the_same(tmp_path: Path, orientation: int) -> None:
    folder, copy = tmp_path / "from", tmp_path / "to"
    source = folder / "train" / "a" / "one.png"
    source.parent.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    gradient(90, 60).save(source, exif=exif)
    image = inspection.inspect(layout.Image(str(source), "train/a/one.png", "train", "a"))
    assert image.rotated
    cleaned = clean(folder, [image], copy)
    assert cleaned.done == {"turned": 1}
    before, after = (file.read_bytes() for file in (source, copy / "train" / "a" / "one.png"))
    assert image_file.read(after).orientation == 1
    assert np.array_equal(opened(after, 60), opened(before, 60))


def test_other_formats_are_converted(tmp_path: Path) -> None:
    folder, copy = tmp_path / "from", tmp_path / "to"
    image = gradient(64, 48)
    for number, name in enumerate(("a/0.png", "a/1.png", "b/0.png", "b/1.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        gradient(90 + number, 60).save(folder / name)
    for ending in ("bmp", "tif", "gif", "avif", "jp2"):
        image.save(folder / "a" / f"0.{ending}")
    (folder / "a" / "0.heic").write_bytes(HEIC)
    (folder / "b" / "cut.bmp").write_bytes((folder / "a" / "0.bmp").read_bytes()[:400])
    images = dataset.read(folder)[1]
    problems = {image.problem for image in images if image.format == "BMP"}
    assert problems == {"BMP is not read: --fix converts it"}
    cleaned = clean(folder, images, copy)
    assert cleaned.done == {"converted to PNG": 3, "converted to JPEG": 3, "left out: unreadable": 1}
    assert cleaned.copied == 4
    written = [file for file in (copy / "a").iterdir() if file.stem.startswith("0") and file.name != "0.png"]
    assert sorted(file.suffix for file in written) == [".jpg"] * 3 + [".png"] * 3
    for file in written:
        with Image.open(file) as converted:
            assert (converted.format, converted.size) == ("PNG" if file.suffix == ".png" else "JPEG", (64, 48))


def test_too_large_image_is_made_smaller(tmp_path: Path) -> None:
    folder, copy = tmp_path / "from", tmp_path / "to"
    for name in ("a/0.png", "b/0.jpg"):
        (folder / name).parent.mkdir(parents=True)
    gradient(6000, 4000).save(folder / "a" / "0.png")
    gradient(9000, 6000).save(folder / "b" / "0.jpg", quality=30)
    images = dataset.read(folder)[1]
    assert all(image.problem.endswith(": --fix makes a smaller copy") for image in images)
    findings = checks.of_classes(images, split_already=False)
    assert "no readable training image: --fix makes 1 of them so" in {finding.message for finding in findings}
    assert clean(folder, images, copy).done == {"made smaller": 2}
    fixed = dataset.read(copy)[1]
    assert [(image.problem, max(image.size)) for image in fixed] == [(None, 4000), (None, 4000)]
