"""`make attack` notices what gets through: each kind, against a target without its guard."""

import base64
import json
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from helpers import attacks
from helpers.attacks import FORBIDDEN, Attempt
from helpers.bad_images import corpus


def through(kind: str, cases: Any) -> dict[str, Attempt]:
    return {attempt.name: attempt for attempt in attacks.tried(kind, cases) if attempt.through}


@contextmanager
def open_to_all() -> Iterator[tuple[tuple[str, int], list[str]]]:
    """A server that answers everything with 200, and the names of topics that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode(errors="replace"))
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield ("127.0.0.1", listening.server_port), asked
        listening.shutdown()


def test_accepted_image_is_noticed() -> None:
    found = through("image", attacks.images(lambda data: 200))
    assert set(found) == {name for name, _, _ in corpus()}
    # A server that is gone, or fails, is no refusal.
    assert len(through("image", attacks.images(lambda data: 502))) > len(found)


def test_address_that_is_reached_is_noticed() -> None:
    with open_to_all() as ((_, port), asked):

        def ask(document: dict[str, Any]) -> int:
            try:
                with urllib.request.urlopen(document["url"], timeout=1) as answer:
                    return int(answer.status)
            except Exception:
                return 424

        found = through("address", attacks.addresses(ask, port, lambda: len(asked)))
    assert {"http://127.0.0.1", "http://localhost", "http://127.1", "http://2130706433"} <= set(found)


@pytest.mark.parametrize(
    "answer",
    [
        {"errorType": "TypeError"},
        {"statusCode": 500, "headers": {}, "body": ""},
        {"statusCode": 400, "headers": {}, "body": "Traceback (most recent call last)"},
        {"statusCode": 200, "headers": {"x": "a\r\nb: c"}, "body": ""},
        None,
    ],
)
def test_event_without_a_proper_answer_is_noticed(answer: Any) -> None:
    assert len(through("event", attacks.events(lambda event: answer))) >= 60


def test_promoted_package_is_noticed() -> None:
    model = json.dumps({"name": "m", "sha256": {"images.py": "0", "labels.json": "1"}}).encode()
    found = through("package", attacks.packages(lambda changes: None, model))
    assert len(found) >= 20

    def crash(changes: dict[str, bytes | None]) -> None:
        raise TypeError

    assert len(through("package", attacks.packages(crash, model))) == len(found)


def test_archive_that_writes_elsewhere_is_noticed(tmp_path: Path) -> None:
    def naive(file: Path, folder: Path) -> None:
        with zipfile.ZipFile(file) as archive:
            for item in archive.infolist():
                target = folder / item.filename.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(item))

    (tmp_path / "archives").mkdir()
    found = through("archive", attacks.archives(naive, tmp_path / "archives"))
    assert {"..", ".. inside", "growth"} <= set(found)


def test_connection_without_limits_is_noticed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    address = server.servers[0].sockets[0].getsockname()
    found = through("HTTP", attacks.http(address, lambda: True, longest_s=1))
    server.should_exit = server.force_exit = True
    thread.join()
    expected = {
        "headers that never end",
        "a body that never comes",
        "endless headers",
        "endless chunks",
        "nothing at all",
    }
    assert expected <= set(found)


def test_allowed_request_is_noticed() -> None:
    found = through("IAM", attacks.iam(["JobRole"], lambda pairs: [words == FORBIDDEN[0] for _, words in pairs]))
    assert set(found) == {f"JobRole: {FORBIDDEN[0]}"}


def test_page_that_gets_something_done_is_noticed() -> None:
    with open_to_all() as (address, asked):
        found = through("web page", attacks.web(address, "key" * 9, lambda: set(asked)))
    assert len(found) == 21


def test_events_cover_what_the_review_found() -> None:
    events = dict(
        attacks.events(lambda event: {"statusCode": 400, "headers": {}, "body": base64.b64encode(b"x").decode()})
    )
    assert {"requestContext is null", "http is a list", "deep object", "content type with a line end"} <= set(events)
