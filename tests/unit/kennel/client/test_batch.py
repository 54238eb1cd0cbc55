"""Many images to the URL: every form is sent as the contract has it, and what passes by itself is waited for."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from helpers import REPOSITORY
from helpers.images import HEIC, encode, gradient
from kennel.client import batch, function_url
from kennel.client.function_url import Answer
from kennel.errors import KennelError

GOOD = Answer(200, {"predictions": [{"label": "bee", "probability": 0.9}], "model": "m", "request_id": "r"})
JPEG, PNG, WEBP = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"
BUSY = Answer(429, {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Message": "Rate Exceeded."})


class Url:
    """Answers the first `busy` calls with 429, or all with `answer`."""

    def __init__(self, busy: int = 0, answer: Answer = GOOD) -> None:
        self.busy, self.answer = busy, answer
        self.calls: list[tuple[bytes, str]] = []

    def call(self, body: bytes, content_type: str, *, top_k: int) -> Answer:
        self.calls.append((body, content_type))
        if self.busy:
            self.busy -= 1
            return BUSY
        return self.answer


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been waited, in seconds."""
    waited: list[float] = []
    monkeypatch.setattr(batch.time, "sleep", waited.append)
    return waited


def ask(url: Url, *given: str) -> list[tuple[str, int]]:
    seen: list[tuple[int, int]] = []
    found = batch.sources(given, print)
    answers = list(batch.predict(url, found, 3, 4, lambda done, of: seen.append((done, of))))
    assert sorted(seen) == [(number + 1, len(found)) for number in range(len(found))]
    return [(image.name, answer.status) for image, answer in answers]


def test_files_and_folders_are_sent_in_order(
    tmp_path: Path,
) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / ".hidden").mkdir()
    for name, data in (
        ("b.png", JPEG),
        ("a.jpg", PNG),
        ("notes.txt", b"text"),
        ("scan.bin", JPEG),
        ("below/c.WEBP", WEBP),
        (".hidden/d.jpg", JPEG),
    ):
        (tmp_path / "folder" / name).write_bytes(data)
    (tmp_path / "odd.bin").write_bytes(JPEG + b"odd")
    url = Url()
    names = [name for name, _ in ask(url, str(tmp_path / "odd.bin"), str(tmp_path / "folder"))]
    assert [Path(name).name for name in names] == ["odd.bin", "a.jpg", "b.png", "c.WEBP", "scan.bin"]
    assert set(url.calls) == {
        (JPEG + b"odd", "image/jpeg"),
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (WEBP, "image/webp"),
    }


def test_urls_and_stdin_follow_the_contract(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(JPEG)))
    url = Url()
    ask(url, "HTTPS://images.example/a.jpg", "s3://bucket/inbox/a.jpg", "-")
    assert sorted(url.calls) == sorted(
        [
            (json.dumps({"url": "https://images.example/a.jpg"}).encode(), "application/json"),
            (json.dumps({"s3": "s3://bucket/inbox/a.jpg"}).encode(), "application/json"),
            (JPEG, "image/jpeg"),
        ]
    )


def test_throttled_call_is_retried_with_backoff(tmp_path: Path, waits: list[float]) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    assert ask(Url(busy=8), str(tmp_path / "a.jpg"))[0][1] == 200
    assert len(waits) == 8
    assert waits[0] <= 0.2 < waits[3] < waits[5] <= batch.LONGEST_WAIT_S


def test_persistent_throttling_returns_429(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "PATIENCE_S", 0.0)
    (tmp_path / "a.jpg").write_bytes(JPEG)
    assert ask(Url(answer=BUSY), str(tmp_path / "a.jpg"))[0][1] == 429


@pytest.mark.parametrize("status", [400, 403, 413, 415, 422, 424, 500, 502, 504])
def test_permanent_error_is_not_retried(tmp_path: Path, status: int) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    url = Url(answer=Answer(status, {"detail": "no"}))
    assert ask(url, str(tmp_path / "a.jpg"))[0][1] == status
    assert len(url.calls) == 1


@pytest.mark.parametrize("body", [b"", b"text", b"GIF89a", b"RIFF\0\0\0\0WAVE"])
def test_non_image_is_rejected_unsent(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(body)
    url = Url()
    assert ask(url, str(tmp_path / "a.jpg")) == [(str(tmp_path / "a.jpg"), 415)]
    assert url.calls == []


def test_empty_or_missing_input_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(KennelError, match="variable"):
        batch.sources([""], print)
    monkeypatch.setattr(sys, "stdin", None)
    assert ask(Url(), "-") == [("standard input", 415)]


def test_all_invalid_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(KennelError) as caught:
        batch.sources([str(tmp_path), "missing.jpg", "ftp://x"], print)
    message = str(caught.value)
    assert "has no images" in message
    assert "missing.jpg is not a file" in message
    assert "ftp://x is not a file" in message


def test_large_image_is_sent_smaller_and_upright(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1500, 2400, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save(tmp_path / "large.jpg", quality=98, exif=exif)
    data = (tmp_path / "large.jpg").read_bytes()
    assert len(data) > function_url.MAX_BODY_BYTES
    url = Url()
    assert ask(url, str(tmp_path / "large.jpg")) == [(str(tmp_path / "large.jpg"), 200)]
    ((body, kind),) = url.calls
    assert kind == "image/jpeg"
    with Image.open(io.BytesIO(body)) as sent:
        assert sent.size == (1000, 1600)
    found = batch.sources([str(tmp_path / "large.jpg")], print)
    list(batch.predict(url, found, 3, 4, lambda done, of: None, original=True))
    assert url.calls[1][0] == data


def test_large_file_that_cannot_be_read_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(JPEG + bytes(function_url.MAX_BODY_BYTES))
    url = Url()
    ask(url, str(tmp_path / "bad.jpg"))
    assert len(url.calls[0][0]) > function_url.MAX_BODY_BYTES


@pytest.mark.parametrize("data", [HEIC, encode(gradient(64, 48), "BMP")], ids=["HEIC", "BMP"])
def test_other_format_is_sent_as_jpeg(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    url = Url()
    assert ask(url, str(tmp_path / "a.jpg")) == [(str(tmp_path / "a.jpg"), 200)]
    ((body, kind),) = url.calls
    assert kind == "image/jpeg"
    with Image.open(io.BytesIO(body)) as sent:
        assert (sent.format, sent.size) == ("JPEG", (64, 48))


def test_limits_are_those_of_the_page() -> None:
    page = (REPOSITORY / "lambda/classifier/web_page.html").read_text()
    assert f"const LONGEST_PX = {batch.LONGEST_PX};" in page
    assert f'"image/jpeg", {batch.JPEG_QUALITY / 100:g})' in page
