"""Dataset checks: every kind of fault is found, all of them at once, and a clean copy has none."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from helpers.images import encode
from kennel.datasets import clean_copy
from kennel.errors import KennelError
from training.data import checks, dataset, inspection
from training.data.inspection import CheckedImage


def drawn(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """An image like no other: coarse noise, smooth enough to survive compression, with edges that are sharp."""
    generator = np.random.default_rng(seed)
    coarse, fine = (generator.integers(0, 256, shape, np.uint8) for shape in ((6, 8, 3), (12, 16, 3)))
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(smooth, Image.fromarray(fine).resize((width, height), Image.Resampling.NEAREST), 0.25)


def write(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        drawn(seed).save(root / name)
    return root


def good(root: Path) -> Path:
    return write(
        root, *(f"{split}/{label}/{n}.jpg" for split in ("train", "valid") for label in "ab" for n in range(12))
    )


def found(root: Path) -> list[tuple[str, str, str]]:
    structure, images = dataset.read(root)
    findings = [
        *structure,
        *checks.of_images(images, checks.alike(images)),
        *checks.of_classes(images, split_already=True),
    ]
    return [(finding.severity, finding.kind, finding.where) for finding in findings]


def rotated(root: Path) -> None:
    image = drawn(900)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(root / "train/a/turned.jpg", exif=exif)


def truncated(root: Path) -> None:
    data = (root / "train/a/0.jpg").read_bytes()
    (root / "train/a/cut.jpg").write_bytes(data[: len(data) // 2])


def near(root: Path) -> None:
    with Image.open(root / "train/a/0.jpg") as image:
        image.resize((120, 90)).save(root / "valid/a/again.jpg", quality=60)


def exact(root: Path, target: str) -> None:
    (root / target).write_bytes((root / "train/a/0.jpg").read_bytes())


def blurred(root: Path) -> None:
    drawn(902).filter(ImageFilter.GaussianBlur(6)).save(root / "train/a/x.jpg")


def dark(root: Path) -> None:
    drawn(903).point(lambda level: level // 6).save(root / "train/a/x.jpg")


FAULTS: list[tuple[Callable[[Path], object], tuple[str, str, str]]] = [
    (truncated, ("warning", "unreadable", "train/a/cut.jpg")),
    (lambda root: (root / "train/a/x.jpg").write_text("text"), ("warning", "unreadable", "train/a/x.jpg")),
    (
        lambda root: (root / "train/a/x.jpg").write_bytes(encode(drawn(901), "PNG")),
        ("warning", "extension", "train/a/x.jpg"),
    ),
    (blurred, ("warning", "blurred", "train/a/x.jpg")),
    (dark, ("warning", "dark", "train/a/x.jpg")),
    (lambda root: drawn(904, 800, 200).save(root / "train/a/x.jpg"), ("warning", "shape", "train/a/x.jpg")),
    (rotated, ("note", "rotation", "train/a/turned.jpg")),
    (lambda root: exact(root, "valid/a/copy.jpg"), ("warning", "leak", "valid/a/copy.jpg")),
    (near, ("warning", "leak", "valid/a/again.jpg")),
    (lambda root: exact(root, "train/a/copy.jpg"), ("warning", "duplicate", "train/a/copy.jpg")),
    (lambda root: exact(root, "train/b/copy.jpg"), ("warning", "contradiction", "train/b/copy.jpg")),
    (lambda root: drawn(902, 40, 40).save(root / "train/a/small.jpg"), ("warning", "small", "train/a/small.jpg")),
    (
        lambda root: Image.new("RGB", (80, 80), "navy").save(root / "train/a/x.jpg"),
        ("warning", "blank", "train/a/x.jpg"),
    ),
    (lambda root: drawn(903).save(root / "train/a/x.bmp"), ("warning", "unreadable", "train/a/x.bmp")),
    (lambda root: (root / "train/a/notes.txt").write_text("x"), ("note", "left out", "train/a/notes.txt")),
    (lambda root: (root / "train/empty").mkdir(), ("error", "structure", "class 'empty'")),
    (lambda root: write(root, "valid/other/1.jpg"), ("error", "structure", "class 'other'")),
    (lambda root: write(root, "train/rare/1.jpg"), ("warning", "class", "class 'rare'")),
    (lambda root: write(root, "train/rare/1.jpg"), ("warning", "imbalance", "class 'a'")),
]


def test_clean_dataset_has_no_findings(tmp_path: Path) -> None:
    assert found(good(tmp_path)) == []


@pytest.mark.parametrize(
    ("spoil", "finding"), FAULTS, ids=[f"{item[1]}-{number}" for number, (_, item) in enumerate(FAULTS)]
)
def test_dataset_fault_is_found(tmp_path: Path, spoil: Callable[[Path], object], finding: tuple[str, str, str]) -> None:
    spoil(good(tmp_path))
    assert finding in found(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:10d7\nsize 207960\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html>\n<title>Not found</title>", "a web page"),
        (b"text", "not an image in one of the formats"),
    ],
)
def test_placeholder_of_an_image_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    root = good(tmp_path)
    (root / "train/c").mkdir()
    (root / "train/c/1.tif").write_bytes(content)
    with pytest.raises(dataset.DatasetError, match=f"class 'c': no readable .*; train/c/1.tif: {problem}"):
        dataset.load(root, seed=1)


def test_load_error_lists_every_fault(tmp_path: Path) -> None:
    good(tmp_path)
    truncated(tmp_path)
    (tmp_path / "train/empty").mkdir()
    (tmp_path / "train/text").mkdir()
    (tmp_path / "train/text/1.jpg").write_text("text")
    exact(tmp_path, "valid/a/copy.jpg")
    with pytest.raises(dataset.DatasetError) as caught:
        dataset.load(tmp_path, seed=1)
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("class 'empty': no images in train")
    assert lines[1].startswith("class 'text': no readable training image")
    for name in ("train/a/cut.jpg", "train/text/1.jpg", "valid/a/copy.jpg"):
        assert any(line.startswith(f"{name}: ") for line in lines)


def test_duplicates_stay_in_one_split(tmp_path: Path) -> None:
    write(tmp_path, *(f"{label}/{n}.jpg" for label in "ab" for n in range(10)))
    for n in range(10):
        with Image.open(tmp_path / f"a/{n}.jpg") as image:
            image.resize((120, 90)).save(tmp_path / f"a/{n}-again.jpg", quality=70)
    for seed in range(5):
        splits = dataset.load(tmp_path, seed=seed).splits
        train, valid = (
            {s.path.stem.removesuffix("-again") for s in splits[k] if s.label == 0} for k in ("train", "valid")
        )
        assert not train & valid
        assert valid


def test_frames_of_a_film_are_said_once(tmp_path: Path) -> None:
    root = good(tmp_path)
    for number in range(5):
        for seed in (0, 1):
            with Image.open(root / f"train/a/{seed}.jpg") as image:
                image.save(root / f"train/a/{seed}-{number}.jpg", quality=60 + number)
    assert found(root) == [("note", "near copies", "train/a/0-0.jpg")]
    images = dataset.read(root)[1]
    (finding,) = checks.of_images(images, checks.alike(images))
    assert finding.message.startswith("12 images show nearly the same")
    assert finding.message.endswith("the largest group has 6")


def test_look_of_most_images_is_no_fault_of_one(tmp_path: Path) -> None:
    root = good(tmp_path)
    for file in sorted(root.rglob("*.jpg"))[:30]:
        with Image.open(file) as image:
            image.filter(ImageFilter.GaussianBlur(6)).save(file)
    assert found(root) == [("note", "blurred", "")]


def test_colours_of_one_brightness_are_neither_blank_nor_dark(tmp_path: Path) -> None:
    root = good(tmp_path)
    image = Image.new("RGB", (160, 120), (0, 0, 255))
    image.paste((130, 0, 0), (0, 0, 80, 120))
    image.save(root / "train" / "a" / "x.png")
    assert found(root) == []


def test_fixed_copy_is_clean_and_original_unchanged(tmp_path: Path) -> None:
    root, copy = good(tmp_path / "data"), tmp_path / "copy"
    truncated(root)
    rotated(root)
    exact(root, "train/a/copy.jpg")
    near(root)
    (root / "train/a/x.jpg").write_bytes(encode(drawn(901), "PNG"))
    before = {file: file.read_bytes() for file in root.rglob("*.jpg")}
    _, images = dataset.read(root)
    cleaned = clean_copy.clean(root, images, copy, near=True)
    assert found(copy) == []
    assert {file: file.read_bytes() for file in root.rglob("*.jpg")} == before
    assert cleaned.done == {
        "left out: unreadable": 1,
        # The image itself, and its copy beside it: the near one in the measuring split is kept.
        "left out: in a measuring split too": 2,
        "renamed": 1,
        "turned": 1,
    }
    with Image.open(root / "train/a/turned.jpg") as old, Image.open(copy / "train/a/turned.jpg") as new:
        assert new.size == (old.height, old.width)
    with Image.open(copy / "train/a/x.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("where", ["there", "data/inside"])
def test_invalid_fix_target_is_rejected(tmp_path: Path, where: str) -> None:
    root = good(tmp_path / "data")
    (tmp_path / "there").mkdir()
    with pytest.raises(KennelError, match="choose a"):
        clean_copy.clean(root, dataset.read(root)[1], tmp_path / where)


def test_plain_images_are_not_duplicates(tmp_path: Path) -> None:
    for number, colour in enumerate(("red", "green", "blue")):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.new("RGB", (100, 100), colour).save(tmp_path / f"a/{number}.png")
    _, images = dataset.read(tmp_path)
    assert [len(group) for group in checks.alike(images)] == [1, 1, 1]


def test_near_copies_are_kept_unless_asked(tmp_path: Path) -> None:
    root = good(tmp_path / "data")
    near(root)
    images = dataset.read(root)[1]
    assert clean_copy.clean(root, images, tmp_path / "kept").done == {}
    assert clean_copy.clean(root, images, tmp_path / "less", near=True).done == {
        "left out: in a measuring split too": 1
    }


def test_what_most_images_have_is_one_finding(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(12):
            drawn(number + 100 * (label == "a"), 40, 40).save(tmp_path / label / f"{number}.png")
    findings = dataset.check(tmp_path, seed=1).findings
    assert [finding.message for finding in findings if finding.kind == checks.SMALL] == [
        "24 of 24 images are small (below 64 pixels): taken for how images of this dataset look"
    ]


def peak_bytes(root: Path) -> int:
    tracemalloc.start()
    try:
        dataset.check(root, seed=1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_of_an_image_is_small(tmp_path: Path) -> None:
    """A million images are checked in the memory of a laptop: of each, neither pixels nor grey levels stay there."""
    peaks = []
    for first, last in ((0, 600), (600, 2600)):
        for label in "ab":
            (tmp_path / label).mkdir(exist_ok=True)
            for number in range(first, last):
                drawn(number + 5000 * (label == "a"), 8, 8).save(tmp_path / label / f"{number:04d}.png")
        peaks.append(peak_bytes(tmp_path))
    assert (peaks[1] - peaks[0]) / 4000 < 1000


def grey(values: np.ndarray) -> checks.CheckedImage:
    small = values.astype(np.uint8)
    return CheckedImage(
        "", "", "train", "a", digest=str(values.tobytes()), grey=small.tobytes(), hash=inspection._hash(small)
    )


def test_copies_are_alike_by_pairs_and_not_by_chains() -> None:
    """Each step is near the one before; the last one is another image."""
    steps = np.random.default_rng(1).permutation(16 * 17)
    start = np.random.default_rng(2).integers(0, 256, (16, 17))
    chain = []
    for step in range(0, 120, 3):
        values = start.copy()
        values.flat[steps[:step]] = 255 - values.flat[steps[:step]]
        chain.append(grey(values))
    groups = checks.alike(chain)
    assert len(groups) > 3
    for group in groups:
        for image in group[1:]:
            assert image.hash is not None
            assert group[0].hash is not None
            assert (image.hash ^ group[0].hash).bit_count() < checks.NEAR_BITS


def test_equal_hashes_of_other_levels_are_not_alike() -> None:
    ramp = np.tile(np.arange(17) * 2, (16, 1))
    assert len(checks.alike([grey(ramp), grey(ramp + 3)])) == 1
    assert len(checks.alike([grey(ramp), grey(ramp * 5)])) == 2


def same(one: CheckedImage, other: CheckedImage) -> bool:
    assert one.hash is not None
    assert other.hash is not None
    return (one.hash ^ other.hash).bit_count() < checks.NEAR_BITS and checks._same_levels(one, other)


@pytest.mark.parametrize("block", [7, 512])
@pytest.mark.parametrize("large", [1, 128])
@pytest.mark.parametrize("side", [17, 6])
def test_alike_finds_what_comparing_all_pairs_finds(
    monkeypatch: pytest.MonkeyPatch, block: int, large: int, side: int
) -> None:
    """Hashes of random images with a few bits turned, by parts of the hash and one by one; of small images, too."""
    monkeypatch.setattr(checks, "BLOCK", block)
    monkeypatch.setattr(checks, "LARGE", large)
    generator = np.random.default_rng(3)
    pixels = np.arange(17) * side // 17
    made = []
    for _ in range(60):
        values = generator.integers(0, 256, (side, side))[pixels[:16, None], pixels]
        made.append(grey(values))
        for changed in (1, 3, 6):
            again = values.copy()
            again.flat[generator.choice(values.size, changed, replace=False)] = 128
            made.append(grey(again))
    found = {id(image): group[0] for group in checks.alike(made) for image in group}
    for place, image in enumerate(made):
        earlier = [other for other in made[:place] if found[id(other)] is other and same(other, image)]
        assert (found[id(image)] is image) == (not earlier)
