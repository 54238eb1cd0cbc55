"""Fetching a dataset: interrupted downloads go on, archives that cannot be trusted are refused as a whole."""

import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helpers.images import encode, gradient
from kennel.datasets import download
from kennel.errors import KennelError

CONTENT = bytes(range(256)) * 20_000


@dataclass
class Server:
    """A web server that breaks off after each of `breaks` bytes, in turn; `ranges` are those that it was asked for."""

    content: bytes = CONTENT
    tag: str = '"one"'
    breaks: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.ranges.append(asked)
            if server.statuses:
                self.send_error(server.statuses.pop(0))
                return
            start = 0
            if asked and self.headers.get("If-Range") == server.tag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else 200)
            self.send_header("ETag", server.tag)
            self.send_header("Content-Length", str(len(server.content) - start))
            self.end_headers()
            end = start + server.breaks.pop(0) if server.breaks else len(server.content)
            self.wfile.write(server.content[start:end])

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/images.zip"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BACKOFF_S", 0.01)


def fetch(server: Server, folder: Path) -> list[tuple[int, int]]:
    said: list[tuple[int, int]] = []
    download.download(server.url, folder / "images.zip", lambda done, of: said.append((done, of)))
    return said


def test_broken_connection_resumes_download(tmp_path: Path) -> None:
    with serving(Server(breaks=[1_500_000, 2_000_000])) as server:
        said = fetch(server, tmp_path)
    assert (tmp_path / "images.zip").read_bytes() == CONTENT
    first, *others = server.ranges
    assert first is None
    assert len(others) == 2
    assert all(item and int(item[6:-1]) > 1_000_000 for item in others)
    assert said[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in tmp_path.iterdir()] == ["images.zip"]


def test_failed_download_keeps_partial_file(tmp_path: Path) -> None:
    broken = Server(breaks=[1_500_000] + [0] * download.ATTEMPTS)
    with serving(broken), pytest.raises(KennelError, match="Try again: the download resumes"):
        fetch(broken, tmp_path)
    assert (tmp_path / "images.zip.part").stat().st_size == 1_500_000
    with serving(Server()) as server:
        fetch(server, tmp_path)
    assert server.ranges == ["bytes=1500000-"]
    assert (tmp_path / "images.zip").read_bytes() == CONTENT


def test_changed_file_is_downloaded_again(tmp_path: Path) -> None:
    with serving(Server(breaks=[1_500_000] + [0] * download.ATTEMPTS)) as server:
        with pytest.raises(KennelError):
            fetch(server, tmp_path)
        server.content, server.tag, server.breaks = CONTENT[::-1], '"two"', []
        fetch(server, tmp_path)
    assert (tmp_path / "images.zip").read_bytes() == CONTENT[::-1]


def test_busy_server_is_retried(tmp_path: Path) -> None:
    with serving(Server(statuses=[503, 429])) as server:
        fetch(server, tmp_path)
    assert len(server.ranges) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_client_error_is_not_retried(tmp_path: Path, status: int) -> None:
    with serving(Server(statuses=[status])) as server, pytest.raises(KennelError, match=f"answers {status}"):
        fetch(server, tmp_path)
    assert len(server.ranges) == 1


def test_plain_http_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(KennelError, match="is not an https URL"):
        download.download("http://example.com/x.zip", tmp_path / "x.zip", lambda *_: None)


def archive(folder: Path, *names: str, content: bytes = encode(gradient(), "JPEG")) -> Path:
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as files:
        for name in names:
            files.writestr(name, content)
    return folder / "x.zip"


def unpack(file: Path, folder: Path) -> int:
    return download.unpack(file, "dogImages", folder, lambda *_: None)


def test_unpack_keeps_only_images(tmp_path: Path) -> None:
    names = ("dogImages/train/a/1.jpg", "dogImages/train/a/._1.jpg", "__MACOSX/dogImages/1.jpg", "dogImages/readme.txt")
    assert unpack(archive(tmp_path, *names), tmp_path / "dogs") == 1
    assert [file.relative_to(tmp_path / "dogs").as_posix() for file in (tmp_path / "dogs").rglob("*.*")] == [
        "train/a/1.jpg"
    ]
