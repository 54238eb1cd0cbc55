"""Folders of images as people have them; what cannot be trained on says why."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.images import encode, gradient
from training.data import dataset


def write(root: Path, *files: str) -> Path:
    for number, file in enumerate(files):
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(gradient(40 + number, 40), "JPEG"))
    return root


def counts(loaded: dataset.Dataset) -> dict[str, int]:
    return {split: len(samples) for split, samples in loaded.splits.items()}


@pytest.mark.parametrize(("valid", "expected"), [("valid", "valid"), ("val", "valid")])
def test_valid_and_val_name_the_same_split(tmp_path: Path, valid: str, expected: str) -> None:
    write(tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{valid}/a/2.jpg", f"{valid}/b/2.jpg", "test/a/3.jpg")
    loaded = dataset.load(tmp_path, seed=1)
    assert loaded.labels == ["a", "b"]
    assert counts(loaded) == {"train": 2, expected: 2, "test": 1}


def test_test_images_are_not_held_out_for_validation(tmp_path: Path) -> None:
    files = [f"{split}/{label}/{index}.jpg" for split in ("train", "test") for label in "ab" for index in range(10)]
    loaded = dataset.load(write(tmp_path, *files), seed=1)
    assert counts(loaded) == {"train": 16, "valid": 4, "test": 20}
    for split, folder in (("train", "train"), ("valid", "train"), ("test", "test")):
        assert {sample.path.parts[-3] for sample in loaded.splits[split]} == {folder}


def test_flat_folder_holds_out_each_class(tmp_path: Path) -> None:
    write(tmp_path, *(f"{label}/{index}.jpg" for label in "ab" for index in range(10)))
    loaded = dataset.load(tmp_path, seed=1)
    assert counts(loaded) == {"train": 16, "valid": 4}
    assert {sample.label for sample in loaded.splits["valid"]} == {0, 1}
    assert not {s.path for s in loaded.splits["train"]} & {s.path for s in loaded.splits["valid"]}
    assert dataset.load(tmp_path, seed=1) == loaded
    assert dataset.load(tmp_path, seed=2).splits != loaded.splits


def test_unreadable_image_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, *(f"{label}/{index}.jpg" for label in "ab" for index in range(3)))
    (tmp_path / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    (tmp_path / "b" / "text.png").write_text("text")
    loaded = dataset.load(tmp_path, seed=1)
    assert [reason.partition(":")[0] for reason in loaded.skipped] == ["a/broken.jpg", "b/text.png"]


def test_changed_image_changes_fingerprint(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    before = dataset.load(tmp_path, seed=1).fingerprint
    (tmp_path / "a" / "1.jpg").write_bytes(encode(gradient(99, 99), "JPEG"))
    assert dataset.load(tmp_path, seed=1).fingerprint != before


def test_class_without_images_is_named(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "valid/a/1.jpg")
    (tmp_path / "train" / "empty").mkdir()
    (tmp_path / "valid" / "other").mkdir()
    with pytest.raises(dataset.DatasetError) as caught:
        dataset.load(tmp_path, seed=1)
    assert "class 'empty': no images in train" in str(caught.value)
    assert "class 'other': in valid and not in train" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "no images"),
        (("a/1.jpg", "a/2.jpg"), "only the class 'a'"),
        (("a/1.jpg", "a/2.jpg", "b/1.jpg"), "a single image"),
    ],
)
def test_too_small_dataset_suggests_fix(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(dataset.DatasetError, match=message):
        dataset.load(write(tmp_path, *files), seed=1)


def test_class_of_unreadable_images_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg", "a/2.jpg")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.jpg").write_text("text")
    with pytest.raises(dataset.DatasetError, match=r"class 'b': no readable training image"):
        dataset.load(tmp_path, seed=1)


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(dataset.DatasetError, match="is not a folder"):
        dataset.load(tmp_path / "nowhere", seed=1)


def frames(root: Path, label: str, count: int) -> None:
    """One scene with one pixel changed in each."""
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8))
    for number in range(count):
        image = noise.resize((120, 90), Image.Resampling.BICUBIC)
        image.putpixel((number, 0), (255, 255, 255))
        (root / label).mkdir(parents=True, exist_ok=True)
        image.save(root / label / f"{number:03}.png")


def test_class_of_frames_is_in_both_splits_and_said(tmp_path: Path) -> None:
    frames(tmp_path, "film", 20)
    write(tmp_path, *(f"b/{number}.jpg" for number in range(10)))
    loaded = dataset.load(tmp_path, seed=1)
    film = loaded.labels.index("film")
    held = [sum(sample.label == film for sample in loaded.splits[split]) for split in ("train", "valid")]
    assert held == [16, 4]
    (finding,) = (item for item in loaded.findings if item.kind == "alike")
    assert finding.where == "class 'film'"
    assert "20 of its 20 images show nearly the same" in finding.message


def test_class_missing_in_valid_is_said(tmp_path: Path) -> None:
    write(tmp_path, *(f"train/{label}/{n}.jpg" for label in "abc" for n in range(2)), "valid/a/1.jpg", "valid/b/1.jpg")
    found = [str(item) for item in dataset.load(tmp_path, seed=1).findings]
    assert "class 'c': no readable image in valid: nothing there says how well the class is told" in found
