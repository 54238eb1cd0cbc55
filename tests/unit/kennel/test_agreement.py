"""The check, the upload, the job and `kennel predict` agree on the images of any folder, and on their labels."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws
from PIL import Image

from helpers.images import HEIC, encode
from kennel.client import batch
from kennel.datasets import upload
from training.data import dataset

IMAGE = Image.effect_mandelbrot((80, 70), (-2, -1, 1, 1), 30).convert("RGB")
JPEG, PNG = encode(IMAGE, "JPEG"), encode(IMAGE, "PNG")
CONTENTS = {
    "JPEG": JPEG, "PNG": PNG, "WebP": encode(IMAGE, "WEBP"), "BMP": encode(IMAGE, "BMP"), "GIF": encode(IMAGE, "GIF"),
    "TIFF": encode(IMAGE, "TIFF"), "HEIC": HEIC, "cut": JPEG[: len(JPEG) // 2],
    "damaged": PNG[:60] + b"xxxx" + PNG[64:], "empty": b"", "text": b"text", "web page": b"<html></html>",
}  # fmt: skip
LAYOUTS = {
    "classes": "a/{} b/{}",
    "splits": "train/a/{} train/b/{} valid/a/{} valid/b/{}",
    "other names": "Training/a/{} Training/b/{} Testing/a/{} Testing/b/{}",
    "wrapped": "x/a/{} x/b/{}",
    "splits in classes": "a/train/{} b/train/{} a/test/{} b/test/{}",
    "names of files": "cat.{} dog.{}",
}
NAMES = st.sampled_from(
    ["5.jpg", "6.JPG", "7.jfif", "8", "9.png", "ü.webp", "n.txt", ".h.jpg", "x&y #.jpeg", b"\xe9.jpg"]
)
FOLDERS = st.sampled_from(
    ["", "a", "b", "train/a", "Training/b", "x/a", "a/deep/er", ".git", "__MACOSX/a", "extra", "犬"]
)
FILES = st.lists(st.tuples(FOLDERS, NAMES, st.sampled_from(sorted(CONTENTS))), max_size=6)
# A link beside what it leads to: a file, a folder, one that holds it, nothing.
LINKS = st.lists(st.sampled_from(["file", "folder", "loop", "nowhere"]), max_size=2, unique=True)


class Stage:
    """A dataset bucket."""

    def __init__(self) -> None:
        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.s3.create_bucket(Bucket="datasets")

    def client(self, service: str) -> Any:
        return self.s3

    def output(self, stack: str, name: str) -> str:
        return "datasets"

    def empty(self) -> None:
        for item in self.s3.list_objects_v2(Bucket="datasets").get("Contents", []):
            self.s3.delete_object(Bucket="datasets", Key=item["Key"])

    def download(self, folder: Path) -> None:
        """As SageMaker puts the dataset into the job's container."""
        for item in self.s3.list_objects_v2(Bucket="datasets").get("Contents", []):
            target = folder / item["Key"].removeprefix("datasets/pets/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self.s3.download_file("datasets", item["Key"], str(target))


@pytest.fixture
def stage() -> Iterator[Stage]:
    with mock_aws():
        yield Stage()


def write(root: Path, form: str, files: list[tuple[str, str | bytes, str]], links: list[str], elsewhere: Path) -> None:
    for place in LAYOUTS[form].split():
        for number in range(3):
            name = f"{number}.png"
            file = root / place.format(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            # No two files are the same, or there would be findings and nothing else.
            file.write_bytes(encode(IMAGE.rotate(len(os.fsencode(file)) + 40 * number), "PNG"))
    for folder, name, content in files:
        target = os.path.join(os.fsencode(root / folder), os.fsencode(name))
        if not any(parent.is_file() for parent in (root / folder, *(root / folder).parents)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            with open(target, "wb") as opened:
                opened.write(CONTENTS[content])
    beside = next(path.parent for path in sorted(root.rglob("*0.png")))
    (elsewhere / "more").mkdir(parents=True)
    (elsewhere / "more" / "far.png").write_bytes(PNG)
    targets = {
        "file": elsewhere / "more" / "far.png", "folder": elsewhere / "more", "loop": root, "nowhere": root / "none"
    }  # fmt: skip
    for kind in links:
        (beside / f"link-{kind}").symlink_to(targets[kind])


def outcome(read: Callable[[], dataset.Dataset]) -> tuple[list[str], dict[str, list[tuple[str, str]]]] | None:
    """Labels, and (digest, label) by split; None if it cannot be trained on."""
    try:
        loaded = read()
    except dataset.DatasetError:
        return None
    splits = {
        split: sorted((sample.digest, loaded.labels[sample.label]) for sample in samples)
        for split, samples in loaded.splits.items()
    }
    return loaded.labels, splits


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=st.sampled_from(sorted(LAYOUTS)), files=FILES, links=LINKS)
def test_all_readers_agree(
    stage: Stage, tmp_path: Path, form: str, files: list[tuple[str, str | bytes, str]], links: list[str]
) -> None:
    for child in tmp_path.iterdir():
        shutil.rmtree(child)
    root, copy = tmp_path / "data", tmp_path / "copy"
    write(root, form, files, links, tmp_path / "elsewhere")

    checked = dataset.check(root, seed=1)
    trained = outcome(lambda: dataset.load(root, seed=1))
    assert (trained is None) == bool(checked.errors)
    # Every image that the check lists is asked about by predict, and no other, but for those in no class.
    asked = {source.name for source in batch.sources([str(root)], lambda line: None)}
    listed = {str(image.path) for image in checked.images}
    assert listed <= asked
    if trained is None:
        return
    # Each image is in one split: an image of a split is in that one, or held out from the training images.
    placed = [(image.file, split) for split, images in checked.splits.items() for image in images]
    assert len({file for file, _ in placed}) == len(placed)
    given_splits = {image.file: image.split for image in checked.images}
    assert all(given_splits[file] in {split, "train"} for file, split in placed if split != "test")
    readable = {(image.digest, image.label) for image in checked.images if not image.problem}
    assert readable == {pair for pairs in trained[1].values() for pair in pairs}
    said = "\n".join(map(str, checked.findings))
    for name in asked - listed:
        assert Path(name).name in said or "more" in said

    stage.empty()
    upload.push(stage, root, "pets", lambda done, of: None)  # ty: ignore[invalid-argument-type]
    stage.download(copy)
    assert outcome(lambda: dataset.load(copy, seed=1)) == trained
