from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.images import gradient
from kennel.cleaning import clean
from kennel.data import training_code


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turned_copy_shows_the_same(tmp_path: Path, orientation: int) -> None:
    folder, copy = tmp_path / "from", tmp_path / "to"
    source = folder / "train" / "a" / "one.png"
    source.parent.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    gradient(90, 60).save(source, exif=exif)
    picture = training_code("checks").inspect(training_code("layout").Image(source, "train/a/one.png", "train", "a"))
    assert picture.rotated
    cleaned = clean(folder, [picture], copy)
    assert cleaned.done == {"turned": 1}
    before, after = (file.read_bytes() for file in (source, copy / "train" / "a" / "one.png"))
    assert training_code("image_file").read(after).orientation == 1
    opened = training_code("images").opened
    assert np.array_equal(opened(after, 60), opened(before, 60))
