"""Decoding in another process: limits that hold whatever our parser believes of a file."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.bad_images import many_scans, png
from helpers.images import encode, gradient
from inference import decoder, decoder_pool
from inference.decoder import MAX_FILE_BYTES, SHARED_BYTES
from inference.image_file import UnreadableImage

GOOD = encode(gradient(90, 70), "PNG")
# What a parser that misreads files would let through.
NO_LIMITS = """
decoder._check = lambda file: None
image_file.MAX_SCANS = image_file.MAX_PARTS = 10**9
"""

Breaks = Callable[[str], None]


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Breaks]:
    """Runs decoder.py changed by some lines."""

    def change(lines: str) -> None:
        program = tmp_path / "changed.py"
        program.write_text(
            f"import os, sys, time\nfrom inference import decoder, image_file\n{lines}\ndecoder.main()\n"
        )
        decoder_pool.close()
        monkeypatch.setattr(decoder_pool, "PROGRAM", "changed")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    yield change
    decoder_pool.close()


def pids() -> list[int]:
    return [process._process.pid for process in decoder_pool._idle]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_same_pixels_as_in_this_process(kind: str) -> None:
    data = encode(gradient(700, 500), kind)
    here, there = decoder.decode(data, 100), decoder_pool.decode(data, 100)
    assert np.array_equal(here.pixels, there.pixels)
    assert (there.format, there.width, there.height, there.orientation) == (kind, 700, 500, 1)


def test_pixels_beyond_the_shared_memory_arrive() -> None:
    data = encode(gradient(4000, 3600), "JPEG")
    found = decoder_pool.decode(data, 3600).pixels
    assert found.nbytes > SHARED_BYTES
    assert np.array_equal(found, decoder.decode(data, 3600).pixels)


@pytest.mark.parametrize("size", [(700, 500), (501, 700), (1, 1)])
def test_middle_is_cut_where_it_is_decoded(size: tuple[int, int]) -> None:
    data = encode(gradient(*size), "PNG")
    whole = decoder_pool.decode(data, 2000).pixels
    with decoder_pool.lent(data, 2000, 0.875) as found:
        assert np.array_equal(found.pixels, decoder.middle(whole, 0.875))
        assert found.pixels.shape[0] == found.pixels.shape[1]


def test_threads_get_their_own_image() -> None:
    images = [encode(Image.new("RGB", (64, 64), (shade, 0, 0)), "PNG") for shade in range(0, 250, 5)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda data: int(decoder_pool.decode(data, 64).pixels[0, 0, 0]), images * 4))
    assert found == list(range(0, 250, 5)) * 4
    assert len(pids()) <= 8


def test_process_is_kept_for_the_next_image() -> None:
    decoder_pool.decode(GOOD, 64)
    before = pids()
    decoder_pool.decode(GOOD, 64)
    assert pids() == before


def test_slow_image_is_stopped(broken: Breaks) -> None:
    broken(NO_LIMITS)
    with pytest.raises(UnreadableImage, match="1 s of processor time"):
        decoder_pool.decode(many_scans(7000, 7000, 5000), 64)
    assert decoder_pool.decode(GOOD, 64).width == 90


def test_image_that_takes_much_memory_is_stopped(broken: Breaks) -> None:
    broken(NO_LIMITS)
    with pytest.raises(UnreadableImage, match="takes more than"):
        decoder_pool.decode(png(30_000, 30_000), 64)
    assert decoder_pool.decode(GOOD, 64).width == 90


def test_image_that_never_ends_is_stopped(broken: Breaks, monkeypatch: pytest.MonkeyPatch) -> None:
    broken("decoder._check = lambda file: time.sleep(60) if file.width == 8 else None")
    monkeypatch.setattr(decoder_pool, "MAX_WALL_S", 1.0)
    with pytest.raises(UnreadableImage, match="more than 1 s: send"):
        decoder_pool.decode(encode(gradient(8, 8), "PNG"), 64)
    assert pids() == []


def test_crash_is_the_image_s_alone(broken: Breaks, caplog: pytest.LogCaptureFixture) -> None:
    broken("decoder._check = lambda file: os.abort() if file.width == 8 else None")
    with pytest.raises(UnreadableImage, match="SIGABRT"):
        decoder_pool.decode(encode(gradient(8, 8), "PNG"), 64)
    assert "SIGABRT" in caplog.text
    assert decoder_pool.decode(GOOD, 64).width == 90


def test_decoder_that_cannot_start_is_no_fault_of_the_image(broken: Breaks) -> None:
    broken("sys.exit(3)")
    with pytest.raises(RuntimeError, match="status 3"):
        decoder_pool.decode(GOOD, 64)


def test_idle_process_that_was_killed_costs_no_image() -> None:
    decoder_pool.decode(GOOD, 64)
    for pid in pids():
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert decoder_pool.decode(GOOD, 64).width == 90


def test_forked_process_has_decoders_of_its_own() -> None:
    decoder_pool.decode(GOOD, 64)
    if (child := os.fork()) == 0:
        os._exit(0 if not pids() and decoder_pool.decode(GOOD, 64).width == 90 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert decoder_pool.decode(GOOD, 64).width == 90


def test_file_beyond_the_limit_is_unreadable() -> None:
    with pytest.raises(UnreadableImage, match="the file has more than"):
        decoder_pool.decode(GOOD + bytes(MAX_FILE_BYTES), 64)
