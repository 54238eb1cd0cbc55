"""Inspection in batches: what each file shows, whatever the others of its batch do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.bad_images import corpus
from helpers.images import encode, gradient
from training.data import inspection, inspector_pool
from training.data.formats import START_BYTES, format_of
from training.data.layout import Image

Breaks = Callable[[str], None]


@pytest.fixture
def files(tmp_path: Path) -> list[Image]:
    bodies = {f"{number}.png": encode(gradient(80 + number, 60), "PNG") for number in range(40)}
    bodies |= {"odd \udcff name.jpg": encode(gradient(90, 60), "JPEG"), "text.jpg": b"text", "empty.png": b""}
    bodies |= {f"bad-{number}.jpg": data for number, (_, data, _) in enumerate(corpus()[::8])}
    made = []
    for name, body in bodies.items():
        (tmp_path / name).write_bytes(body)
        made.append(Image(str(tmp_path / name), f"a/{name}", "train", "a", format_of(body[:START_BYTES])))
    return [*made, Image(str(tmp_path / "gone.png"), "a/gone.png", "train", "a", "PNG")]


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Breaks:
    """Runs inspection.py changed by some lines."""

    def change(lines: str) -> None:
        text = f"import os, time\nfrom training.data import inspection\n{lines}\ninspection.main()\n"
        (tmp_path / "changed.py").write_text(text)
        monkeypatch.setattr(inspector_pool, "PROGRAM", "changed")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return change


def inspected(files: list[Image]) -> list[inspection.CheckedImage]:
    """What the pool says of the files, with their grey levels as bytes."""
    return [replace(image, grey=bytes(image.grey)) for image in inspector_pool.inspect_all(files)]


def test_batches_show_the_same_as_single_files(files: list[Image]) -> None:
    assert inspected(files) == [inspection.inspect(file) for file in files]


def test_grey_levels_are_kept_in_a_file(files: list[Image]) -> None:
    levels = inspector_pool._Levels()
    first, second = levels.add(b"a" * inspection.GREY_BYTES), levels.add(b"b" * inspection.GREY_BYTES)
    assert not isinstance(first, bytes)
    assert (bytes(first), bytes(second)) == (b"a" * inspection.GREY_BYTES, b"b" * inspection.GREY_BYTES)
    assert bytes(levels.add(b"")) == b""
    assert not any(isinstance(image.grey, bytes) and image.grey for image in inspector_pool.inspect_all(files))


def test_short_reads_are_completed(files: list[Image], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, read = inspection.inspect(files[0]), inspection.os.read
    monkeypatch.setattr(inspection.os, "read", lambda descriptor, length: read(descriptor, min(length, 100)))
    assert inspection._read(files[0].file)[1] == whole.digest
    assert len(inspection._read(files[0].file)[0]) == Path(files[0].file).stat().st_size > 100


@pytest.mark.parametrize(
    "fault",
    ["os.abort()", "exec('while True: pass')", "raise MemoryError", "os.write(1, b'{\\n') and os.abort()"],
)
def test_crash_costs_no_other_file(files: list[Image], broken: Breaks, fault: str) -> None:
    broken(
        f"""
look = inspection._looks
def looks(pixels, grey):
    if pixels.shape[1] == 85:
        {fault}
    return look(pixels, grey)
inspection._looks = looks
"""
    )
    assert inspected(files) == [inspection.inspect(file) for file in files]


def test_error_of_the_program_is_not_hidden(files: list[Image], broken: Breaks) -> None:
    broken("inspection.inspect = None")
    with pytest.raises(RuntimeError, match="ended with status 1"):
        list(inspector_pool.inspect_all(files))


def test_no_process_is_left(files: list[Image]) -> None:
    started = []
    start = inspector_pool._start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspector_pool, "_start", lambda: started.append(start()) or started[-1])
        found = inspector_pool.inspect_all(files * 3)
        next(found)
        found.close()
    assert started
    assert all(process.poll() is not None for process in started)
