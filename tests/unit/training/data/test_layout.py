"""Folders as people have them: every file is used, with the right class and split, or said to be left out."""

import os
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.data import layout
from training.data.findings import ERROR, NOTE, WARNING

JPEG = b"\xff\xd8\xff\xe0" + bytes(200)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)


def write(root: Path, *names: str, data: bytes = JPEG) -> Path:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return root


def classes(found: layout.Layout) -> dict[tuple[str, str], int]:
    return dict(Counter((image.split, image.label) for image in found.images))


def said(found: layout.Layout, severity: str) -> str:
    return "\n".join(str(finding) for finding in found.findings if finding.severity == severity)


SPLIT = {("train", "a"): 1, ("train", "b"): 1, ("test", "a"): 1, ("test", "b"): 1}
UNSPLIT = {("train", "a"): 1, ("train", "b"): 1}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("a/1.jpg b/1.jpg", UNSPLIT),
        ("train/a/1.jpg train/b/1.jpg", UNSPLIT),
        ("Training/a/1.jpg Training/b/1.jpg Testing/a/1.jpg Testing/b/1.jpg", SPLIT),
        ("TRAIN/a/1.jpg TRAIN/b/1.jpg tst/a/1.jpg tst/b/1.jpg", SPLIT),
        ("seg_train/a/1.jpg seg_train/b/1.jpg seg_test/a/1.jpg seg_test/b/1.jpg", SPLIT),
        ("Train_Data/a/1.jpg Train_Data/b/1.jpg Test_Data/a/1.jpg Test_Data/b/1.jpg", SPLIT),
        # A wrapper around all, around a split, and both.
        ("dogs/a/1.jpg dogs/b/1.jpg", UNSPLIT),
        ("x/y/train/images/a/1.jpg x/y/train/images/b/1.jpg x/y/test/a/1.jpg x/y/test/b/1.jpg", SPLIT),
        # Splits inside classes.
        ("a/train/1.jpg b/train/1.jpg a/test/1.jpg b/test/1.jpg", SPLIT),
        # Folders below a class belong to it.
        ("a/x/1.jpg b/y/z/1.jpg", UNSPLIT),
        # Classes with the names of splits.
        ("bus/1.jpg train/1.jpg", {("train", "bus"): 1, ("train", "train"): 1}),
        ("bullet-train/1.jpg steam-train/1.jpg", {("train", "bullet-train"): 1, ("train", "steam-train"): 1}),
        # Classes in the names of files; a test split without them is left out.
        (
            "train/cat.0.jpg train/cat.1.jpg train/dog.0.jpg train/dog.1.jpg test1/1.jpg test1/2.jpg",
            {("train", "cat"): 2, ("train", "dog"): 2},
        ),
        (
            "n02085620_1.JPEG n02085620_2.JPEG n02085782_1.JPEG n02085782_7.JPEG",
            {("train", "n02085620"): 2, ("train", "n02085782"): 2},
        ),
    ],
)
def test_layout_is_understood(tmp_path: Path, files: str, expected: dict[tuple[str, str], int]) -> None:
    found = layout.read(write(tmp_path, *files.split()))
    assert said(found, ERROR) == ""
    assert classes(found) == expected


def test_image_beside_the_splits_of_a_class_is_left_out(tmp_path: Path) -> None:
    found = layout.read(write(tmp_path, *["a/train/1.jpg", "a/test/1.jpg", "a/2.jpg", "b/train/1.jpg", "b/test/1.jpg"]))
    assert classes(found) == SPLIT
    assert "a/2.jpg: it is in no split" in said(found, WARNING)


def test_folders_of_folders_are_one_class_with_a_warning(tmp_path: Path) -> None:
    found = layout.read(write(tmp_path, *["animals/a/1.jpg", "animals/b/1.jpg", "plants/a/1.jpg", "plants/b/1.jpg"]))
    assert classes(found) == {("train", "animals"): 2, ("train", "plants"): 2}
    assert "animals/ has no images but folders, such as a/, b/: they are one class" in said(found, WARNING)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("", "no images below"),
        ("a/1.jpg", "only the class 'a'"),
        ("train/a/1.jpg train/b/1.jpg val/a/1.jpg valid/b/1.jpg", "val/, valid/ are all folders for valid"),
        ("test/a/1.jpg valid/a/1.jpg", "no folder for training"),
        ("train/a/1.jpg train/b/1.jpg extra/1.jpg", "train/ look like splits, and extra/ do not"),
        ("train/1.jpg test/1.jpg bus/1.jpg", "look like splits"),
        ("Train_Data/a/1.jpg Train_Data/b/1.jpg Outputs/1.jpg", "Train_Data/ look like splits, and Outputs/ do not"),
        ("a/train/1.jpg a/test/1.jpg b/1.jpg", "a/ hold splits, and b/ not"),
        # The dataset, and some images of it beside it.
        ("Data/a/1.jpg Data/b/1.jpg Examples/1.jpg", "Give Data/ alone if those in it are, or move the images up"),
        ("tench.jpg gull.jpg", "2 image(s), but not in class folders"),
        ("IMG_0001.jpg IMG_0002.jpg DSC_0001.jpg DSC_0002.jpg", "not in class folders"),
        ("IMG-20230101-WA0001.jpg IMG-20230101-WA0002.jpg 2023-01-02 1.jpg", "not in class folders"),
        ("train/a/1.jpg train/b/1.jpg test/c/1.jpg", "class 'c': in test and not in train"),
    ],
)
def test_layout_is_refused_with_the_reason(tmp_path: Path, files: str, message: str) -> None:
    assert message in said(layout.read(write(tmp_path, *files.split())), ERROR)


def test_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "dogs.zip").write_bytes(b"PK")
    assert "no images below" in said(layout.read(tmp_path), ERROR)
    assert "unpack dogs.zip first" in said(layout.read(tmp_path), ERROR)
    assert "is not a folder: unpack it" in said(layout.read(tmp_path / "dogs.zip"), ERROR)


@pytest.mark.parametrize(
    ("files", "folders", "message"),
    [
        ("cat/1.jpg dog/1.jpg test/1.jpg", "", "test: taken for a class"),
        ("Cat/1.jpg cat/2.jpg dog/1.jpg", "", "'Cat', 'cat': classes whose names differ in case only"),
        (
            "train/a/1.jpg train/b/1.jpg test/a/1.jpg test/b/1.jpg loose.jpg",
            "",
            "loose.jpg: it is in no split and no class",
        ),
        ("a/1.jpg b/1.jpg loose.jpg", "", "loose.jpg: it is in no class folder"),
        ("train/a/1.jpg train/b/1.jpg", "valid", "valid: no images in it: it is not used"),
    ],
)
def test_layout_that_is_doubtful_is_said(tmp_path: Path, files: str, folders: str, message: str) -> None:
    root = write(tmp_path, *files.split())
    for name in folders.split():
        (root / name).mkdir()
    found = layout.read(root)
    assert said(found, ERROR) == ""
    assert message in said(found, WARNING) + said(found, NOTE)


def table(root: Path, text: str, name: str = "labels.csv") -> Path:
    (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    "text",
    [
        "id,breed\n1,a\n2,b\n",
        "filename;label;width\n1.jpg;a;10\n2.jpg;b;20\n",
        "\ufeffimage,label\nimages/1.jpg,a\nimages\\2.jpg,b\n",
    ],
)
def test_table_gives_the_classes(tmp_path: Path, text: str) -> None:
    found = layout.read(table(write(tmp_path, "images/1.jpg", "images/2.jpg"), text))
    assert classes(found) == UNSPLIT
    assert "the classes of 2 images are in this table" in said(found, NOTE)


def test_table_goes_before_folders_that_are_no_classes(tmp_path: Path) -> None:
    found = layout.read(table(write(tmp_path, "part_1/1.jpg", "part_2/2.jpg", "part_2/3.jpg"), "id,dx\n1,a\n2,b\n"))
    assert classes(found) == UNSPLIT
    assert "part_2/3.jpg: the table does not name it" in said(found, WARNING)


def test_table_of_one_split_is_not_read_for_another(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        *(f"{split}/x/{part}/{n}.jpg" for split in ("train", "test") for part in "pq" for n in (part, "n" + part)),
    )
    table(root / "train" / "x", "file,label\np,a\nnp,b\nq,a\nnq,b\n")
    found = layout.read(root)
    assert {image.label for image in found.images if image.split == "train"} == {"a", "b"}
    assert "class 'p': in test and not in train" in said(found, ERROR)


def test_table_about_something_else_is_left_out(tmp_path: Path) -> None:
    found = layout.read(table(write(tmp_path, "a/1.jpg", "b/2.jpg"), "epoch,loss\n1,0.5\n2,0.4\n3,0.3\n4,0.2\n5,0.1\n"))
    assert classes(found) == UNSPLIT
    assert "labels.csv: not an image (.csv)" in said(found, NOTE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na/1.jpg,b\nb/2.jpg,a\n", "the table and the folders disagree"),
        ("file,one,two\n1.jpg,x,y\n2.jpg,x,y\n", "no column of classes"),
        ("file,label\n1.jpg,x\n1.jpg,y\n2.jpg,x\n", "'1.jpg' has two classes"),
    ],
)
def test_table_that_is_unclear_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in said(layout.read(table(write(tmp_path, "a/1.jpg", "b/2.jpg"), text)), ERROR)


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "c/1.jpg", "c/2.jpg")
    root = write(tmp_path / "data", "a/1.jpg", "b/1.jpg")
    (root / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (root / "b" / "2.jpg").symlink_to(root / "a" / "1.jpg")
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "gone.jpg").symlink_to(root / "nowhere")
    found = layout.read(root)
    assert classes(found) == {("train", "a"): 1, ("train", "b"): 2, ("train", "c"): 2}
    assert "a/loop: a link to a folder that holds it" in said(found, WARNING)
    assert "a/gone.jpg: a link that leads nowhere" in said(found, WARNING)


def test_what_is_no_image_is_said(tmp_path: Path) -> None:
    root = write(tmp_path, "a/1.jpg", "b/1.jpg", "a/.ipynb_checkpoints/1.jpg", "__MACOSX/a/._1.jpg", "a/Thumbs.db")
    write(root, "a/notes.txt", "classes.json", data=b"text")
    write(root, "a/page.html.jpg", "a/empty.png", data=b"<html>")
    write(root, "b/wrong-name.txt", data=PNG)
    os.mkfifo(root / "a" / "pipe.jpg")
    found = layout.read(root)
    assert classes(found) == {("train", "a"): 3, ("train", "b"): 2}
    assert "a/pipe.jpg: neither a file nor a folder" in said(found, WARNING)
    notes = said(found, NOTE)
    assert "not an image (.txt)" in notes
    assert "not an image (.json)" in notes
    assert "hidden, or of the operating system; and 2 more" in notes


def test_other_formats_belong_to_their_class(tmp_path: Path) -> None:
    root = write(tmp_path, "a/1.jpg", "b/1.jpg")
    for name, start in {
        "x.bmp": b"BM\xff\xff\0\0\0\0\0\0", "x.tif": b"II*\0", "x.gif": b"GIF89a", "x.heic": b"\0\0\0\x18ftypheic",
        "x.avif": b"\0\0\0\x18ftypavif", "x.jp2": b"\0\0\0\x0cjP  \r\n\x87\n", "x.dcm": bytes(128) + b"DICM",
    }.items():  # fmt: skip
        write(root, f"a/{name}", data=start + bytes(200))
    formats = {image.name: image.format for image in layout.read(root).images if image.format != "JPEG"}
    assert formats == {
        "a/x.bmp": "BMP", "a/x.tif": "TIFF", "a/x.gif": "GIF", "a/x.heic": "HEIC", "a/x.avif": "AVIF",
        "a/x.jp2": "JPEG 2000", "a/x.dcm": "DICOM",
    }  # fmt: skip


def test_names_are_portable(tmp_path: Path) -> None:
    root = write(tmp_path, "b/1.jpg", "b/2.jpg")
    decomposed = unicodedata.normalize("NFD", "é")
    write(root, f"{decomposed}/1.jpg")
    for name in (b"caf\xe9.jpg", b"caf\xe8.jpg"):
        with open(os.path.join(os.fsencode(root), b"b", name), "wb") as file:
            file.write(JPEG)
    found = layout.read(root)
    assert "b/caf\\udce8.jpg: 2 name(s) are not UTF-8" in said(found, NOTE)
    names = [image.name for image in found.images]
    assert all(name == unicodedata.normalize("NFC", name) and name.encode() for name in names)
    assert len(set(names)) == 5
    assert sum(name.startswith("b/caf_-") for name in names) == 2


def test_names_that_meet_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path, "a/é.jpg", f"a/{unicodedata.normalize('NFD', 'é')}.jpg", "b/1.jpg")
    assert "has the same name as" in said(layout.read(root), ERROR)


def test_folder_without_images_is_no_class(tmp_path: Path) -> None:
    root = write(tmp_path, "a/1.jpg", "b/1.jpg")
    write(root, "annotations/1.xml", data=b"<a/>")
    found = layout.read(root)
    assert classes(found) == UNSPLIT
    assert "annotations: no images in it: it is not taken for a class" in said(found, NOTE)


PARTS = st.sampled_from(
    ["a", "b", "cat", "Dog 2", "train", "Test", "valid", "é", "犬", ".git", "__MACOSX", "x&y", "images"]
)
NAMES = st.sampled_from(
    ["1.jpg", "2.JPG", "cat.1.jpg", "cat.2.jpg", "a.png", "notes.txt", ".hidden.jpg", "ü 1.jfif", "3"]
)
BASES = st.sampled_from(["", "a/1.jpg b/1.jpg", "train/a/1.jpg train/b/1.jpg test/a/1.jpg", "x/a/1.jpg x/b/2.jpg"])
FILES = st.lists(st.tuples(st.lists(PARTS, max_size=4), NAMES, st.booleans()), max_size=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=BASES, files=FILES)
def test_every_file_is_accounted_for_and_a_copy_is_the_same(
    tmp_path: Path, base: str, files: list[tuple[list[str], str, bool]]
) -> None:
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    root = tmp_path / "data"
    root.mkdir()
    write(root, *base.split())
    for parts, name, is_image in files:
        file = root.joinpath(*parts, name)
        if not any(parent.is_file() for parent in file.parents) and not file.is_dir():
            write(root, str(file.relative_to(root)), data=JPEG if is_image else b"text")
    found = layout.read(root)
    if found.errors:
        return
    used = {image.path for image in found.images}
    left = {item.path for item in found.left_out}
    for file in root.rglob("*"):
        if file.is_file():
            assert (file in used) != bool(left & {file, *file.parents}), file
    # What is uploaded is read by the job as the same dataset.
    copy = tmp_path / "copy"
    for image in found.images:
        write(copy, image.name, data=image.path.read_bytes())
    again = layout.read(copy)
    assert [(i.name, i.split, i.label) for i in again.images] == [(i.name, i.split, i.label) for i in found.images]
    assert not again.errors
