"""Datasets in the bucket: names that cannot meet, and nothing removed by mistake."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto import mock_aws
from PIL import Image
from typer.testing import CliRunner

from helpers.images import encode, gradient
from kennel.commands import data
from kennel.datasets import upload
from kennel.errors import KennelError
from kennel.jobs import training_jobs


class Stage:
    """A dataset bucket."""

    def __init__(self, s3: Any) -> None:
        self.s3 = s3

    def client(self, service: str) -> Any:
        return self.s3

    def output(self, stack: str, name: str) -> str:
        return "datasets"

    def keys(self) -> list[str]:
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket="datasets").get("Contents", [])]


@pytest.fixture
def stage() -> Iterator[Stage]:
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="datasets")
        yield Stage(s3)


def folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(gradient(40, 30), "PNG"))
    return root


def push(stage: Stage, root: Path, **options: bool) -> upload.UploadResult:
    return upload.push(stage, root, "pets", lambda done, of: None, **options)  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize("name", ["pets", "My-Dogs_2.0", "a" * 63])
def test_valid_folder_name_is_the_dataset_name(tmp_path: Path, name: str) -> None:
    assert upload.name_of(tmp_path / name) == name


def test_names_of_other_folders_are_valid_and_do_not_meet(tmp_path: Path) -> None:
    names = ["犬と猫", "花", "my dogs", "my-dogs ", "dogs!", "dogs?", "-dogs", "a" * 64, "a" * 65, "é", "._"]
    found = [upload.name_of(tmp_path / name) for name in names]
    assert len(set(found)) == len(names)
    assert all(upload.NAME.fullmatch(name) for name in found)


def test_upload_is_what_the_job_reads(stage: Stage, tmp_path: Path) -> None:
    root = folder(
        tmp_path / "in", "x/Training/a/1.png", "x/Training/b/1.jfif", "x/Testing/a/2.png", "x/Testing/b/2.png"
    )
    (tmp_path / "in" / "notes.txt").write_text("text")
    assert push(stage, root).uploaded == 4
    assert stage.keys() == [
        f"datasets/pets/{name}" for name in ("test/a/2.png", "test/b/2.png", "train/a/1.png", "train/b/1.jfif")
    ]


def test_another_dataset_is_not_emptied(stage: Stage, tmp_path: Path) -> None:
    push(stage, folder(tmp_path / "one", "a/1.png", "b/1.png", "b/2.png"))
    before = stage.keys()
    other = folder(tmp_path / "other", "rose/1.png", "tulip/1.png")
    with pytest.raises(KennelError, match="has 3 images, and 3 of them are not in"):
        push(stage, other)
    assert stage.keys() == before
    assert push(stage, other, replace=True).removed == 3


def test_folder_that_lost_an_image_removes_it(stage: Stage, tmp_path: Path) -> None:
    root = folder(tmp_path / "one", "a/1.png", "b/1.png", "b/2.png")
    push(stage, root)
    (root / "b" / "2.png").unlink()
    assert push(stage, root).removed == 1


def test_folder_that_is_not_understood_is_not_pushed(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(KennelError, match="only the class 'a'"):
        push(stage, folder(tmp_path / "one", "a/1.png"))
    assert stage.keys() == []


def test_check_finds_what_the_split_would_do(tmp_path: Path) -> None:
    """A class of frames is known only once a part of it is to be held out."""
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8))
    for number in range(12):
        frame = noise.resize((120, 90), Image.Resampling.BICUBIC)
        frame.putpixel((number, 0), (255, 255, 255))
        (tmp_path / "film").mkdir(exist_ok=True)
        frame.save(tmp_path / "film" / f"{number}.png")
    folder(tmp_path, *(f"b/{number}.png" for number in range(12)))
    result = CliRunner().invoke(data.app, ["check", str(tmp_path)])
    assert result.exit_code == 0
    assert "12 of its 12 images show nearly the same" in " ".join(result.output.replace("│", " ").split())


def test_job_volume_grows_with_the_dataset(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert training_jobs.volume_gib(stage, "pets") == training_jobs.VOLUME_GIB  # ty: ignore[invalid-argument-type]
    pages = [{"Contents": [{"Size": 40 * 2**30}, {"Size": 10 * 2**30}]}, {"Contents": [{"Size": 50 * 2**30}]}]
    monkeypatch.setattr(stage.s3, "get_paginator", lambda name: Paginator(pages))
    assert training_jobs.volume_gib(stage, "pets") == training_jobs.VOLUME_GIB + 120  # ty: ignore[invalid-argument-type]


class Paginator:
    """Pages of objects that need no disk."""

    def __init__(self, pages: list[Any]) -> None:
        self.pages = pages

    def paginate(self, **request: str) -> list[Any]:
        assert request["Prefix"] == "datasets/pets/"
        return self.pages
