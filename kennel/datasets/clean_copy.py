"""A clean copy of a dataset: what the check finds is left out, renamed or turned; the original stays as it is."""

import io
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from inference import image_file
from inference.processors import usable
from kennel.datasets import conversion
from kennel.errors import KennelError
from training.data.formats import EXTENSIONS

JPEG_QUALITY = 95
# The longest side of a converted or reduced image: the decoder accepts a square of it in every format.
LONGEST_PX = 4000
# The transposition that makes an image upright, by its EXIF orientation (EXIF 2.32, tag 0x0112).
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Among identical images, the one in the split that measures is kept, or the measure would shrink.
KEPT_FIRST = ("test", "valid", "train")
_naming = threading.Lock()


@dataclass
class CleanResult:
    """The result of a clean copy: the number of unchanged images, and of the others by what was done."""

    copied: int = 0
    done: Counter[str] = field(default_factory=Counter)


def clean(folder: Path, images: list[Any], copy: Path, *, near: bool = False) -> CleanResult:
    """Writes the clean copy of `folder`, whose `images` were read by the check, to the new folder `copy`.

    One of several identical files in a class is kept. Identical files in different classes are all removed, because
    only a person can decide which class is right. With `near`, near-duplicates in several classes or splits are treated
    in the same way; those within one class and split are kept.
    """
    if copy.exists():
        raise KennelError(f"{copy} already exists: choose a new folder.")
    if copy.resolve().is_relative_to(folder.resolve()):
        raise KennelError(f"{copy} is inside {folder}: choose a folder outside it.")
    left_out = dict(_left_out(images, near))
    cleaned = CleanResult()
    for image in images:
        if reason := left_out.get(image.name):
            if not image.fixable:
                cleaned.done[reason] += 1
            continue
        target = _target_path(copy / image.name, _extension(image), image.digest)
        if target.suffix != Path(image.name).suffix:
            cleaned.done["renamed"] += 1
        if image.rotated:
            _turn(image.path, target, image.format)
            cleaned.done["turned"] += 1
        else:
            shutil.copyfile(image.path, target)
            cleaned.copied += 1
    with ThreadPoolExecutor(usable()) as pool:
        cleaned.done.update(pool.map(lambda image: _converted(image, copy), (p for p in images if p.fixable)))
    return cleaned


def _left_out(images: list[Any], near: bool) -> Iterable[tuple[str, str]]:
    for image in images:
        if image.problem:
            yield image.name, "left out: unreadable"
    from training.data.checks import alike

    for group in alike(images) if near else _exact_duplicates(images):
        if len({image.label for image in group}) > 1:
            for image in group:
                yield image.name, "left out: the same image in two classes"
            continue
        splits = {image.split for image in group}
        kept = next(split for split in KEPT_FIRST if split in splits)
        seen: set[str] = set()
        for image in group:
            if image.split != kept:
                yield image.name, "left out: in a measuring split too"
            elif image.digest in seen:
                yield image.name, "left out: a second copy"
            seen.add(image.digest)


def _exact_duplicates(images: list[Any]) -> Iterable[list[Any]]:
    by_digest: dict[str, list[Any]] = defaultdict(list)
    for image in images:
        if not image.problem:
            by_digest[image.digest].append(image)
    return by_digest.values()


def _extension(image: Any) -> str:
    """The file name extension of an image, or the one of its format if the file's own is wrong."""
    extensions: tuple[str, ...] = EXTENSIONS[image.format]
    own = Path(image.name).suffix
    return own if own.lower() in extensions else extensions[0]


def _target_path(target: Path, extension: str, digest: str) -> Path:
    """A path that no file has yet, in an existing folder; the digest makes the name unique where it is taken."""
    target = target.with_suffix(extension)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_stem(f"{target.stem}-{digest[:8]}") if target.exists() else target


def _converted(image: Any, copy: Path) -> str:
    """Writes an image that can be read to the clean copy. Returns the outcome, as `Cleaned.done` counts it."""
    from inference.decoder import MAX_FILE_BYTES

    try:
        data, kind = conversion.convert(image.path.read_bytes(), LONGEST_PX, JPEG_QUALITY, png_bytes=MAX_FILE_BYTES)
    except (conversion.ConversionError, OSError):
        return "left out: unreadable"
    # Another image may have the same name but for the extension.
    with _naming:
        target = _target_path(copy / image.name, EXTENSIONS[kind][0], image.digest)
        target.write_bytes(data)
    return f"converted to {kind}" if image.format != kind else "made smaller"


def _turn(source: Path, target: Path, kind: str) -> None:
    file = image_file.read(source.read_bytes())
    options = {"quality": JPEG_QUALITY} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    Image.open(io.BytesIO(file.data)).transpose(TURNS[file.orientation]).save(target, kind, **options)
