"""What one connection may send, and for how long, before it is closed."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from inference import http_limits, server
from inference.http_limits import MAX_HEADER_BYTES, Limits

SHORT_S = 0.5
MAX_CONNECTIONS = 4
Address = tuple[str, int]


class Answering:
    """A predictor without a model."""

    name = variant = "none"

    def predict(self, data: bytes, top_k: int = 5) -> list[dict[str, object]]:
        return []


@pytest.fixture(params=[HttpToolsProtocol, H11Protocol], ids=["httptools", "h11"])
def address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """The server with short times, by either of uvicorn's parsers."""
    monkeypatch.setattr(server, "Predictor", lambda package, threads: Answering())
    monkeypatch.setattr(server, "serving", server.Serving())
    monkeypatch.setattr(server, "DRAIN_S", 0)
    monkeypatch.setattr(http_limits, "HEADER_S", SHORT_S)
    monkeypatch.setattr(http_limits, "BODY_S", SHORT_S)
    protocol = type("Limited", (Limits, request.param), {})
    config = uvicorn.Config(
        server.app,
        http=protocol,
        limit_concurrency=MAX_CONNECTIONS,
        host="127.0.0.1",
        port=0,
        log_level="critical",
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield running.servers[0].sockets[0].getsockname()
    running.should_exit = True
    thread.join()


def answer(address: Address, *parts: bytes, pause_s: float = 0, most: int = 1) -> tuple[bytes, bool]:
    """What comes back until the server closes or is silent for 5 s, and whether it closed. `parts` repeat."""
    with socket.create_connection(address, timeout=5) as connection:
        with contextlib.suppress(ConnectionError):
            for _ in range(most):
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause_s)
        received = b""
        try:
            while data := connection.recv(65_536):
                received += data
        except ConnectionError:
            return received, True
        except TimeoutError:
            return received, False
        return received, True


def test_request_is_answered_and_its_connection_kept(address: Address) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
    with socket.create_connection(address, timeout=5) as connection:
        for _ in range(3):
            connection.sendall(head)
            connection.sendall(b"abc")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
            time.sleep(2 * SHORT_S)


def test_connections_above_the_limit_are_refused_and_no_others(address: Address) -> None:
    """uvicorn alone refuses every request while there are too many connections, those of all others included."""
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na"
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(MAX_CONNECTIONS + 2)]
        time.sleep(SHORT_S / 5)
        answers = []
        for connection in opened:
            connection.sendall(request)
            answers.append(connection.recv(65_536)[:12])
        assert answers == [b"HTTP/1.1 200"] * MAX_CONNECTIONS + [b"HTTP/1.1 503"] * 2
    time.sleep(SHORT_S / 5)
    assert answer(address, request)[0].startswith(b"HTTP/1.1 200")


def test_silent_connection_is_closed(address: Address) -> None:
    assert answer(address, b"") == (
        b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        True,
    )


def test_headers_that_never_end_time_out(address: Address) -> None:
    received, closed = answer(address, b"POST / HTTP/1.1\r\nHost: a\r\n", b"A: b\r\n", pause_s=SHORT_S)
    assert closed
    assert received.startswith(b"HTTP/1.1 408")


def test_second_request_is_timed_as_well(address: Address) -> None:
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na"
    received, closed = answer(address, request, b"POST / HT", pause_s=0.1)
    assert closed
    assert received.count(b"HTTP/1.1 ") == 1


def test_endless_headers_are_refused(address: Address) -> None:
    start = b"POST / HTTP/1.1\r\nHost: a\r\n"
    received, closed = answer(address, start + b"A: " + b"b" * 2 * MAX_HEADER_BYTES, b"b" * 65_536, most=20)
    assert closed
    assert received == b"" or received.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


def test_body_that_never_comes_times_out(address: Address) -> None:
    received, closed = answer(address, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert closed
    assert received.startswith(b"HTTP/1.1 408")


def test_endless_body_is_refused_and_closed(address: Address) -> None:
    begun = time.monotonic()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
    with socket.create_connection(address, timeout=5) as connection:
        sent = 0
        connection.sendall(head)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begun < 5:
                connection.sendall(chunk)
                sent += len(chunk)
    # What the kernel's buffers hold comes on top.
    assert sent < server.MAX_REFUSED_BYTES + 16_000_000


def test_body_just_too_large_gets_its_413(address: Address) -> None:
    body = bytes(server.MAX_BODY_BYTES + 1)
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    received, closed = answer(address, head, body)
    assert closed
    assert received.startswith(b"HTTP/1.1 413")
    assert b"more than 6,000,000 bytes" in received


def test_full_queue_refuses_without_reading_on(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.Pool, "full", True)
    received, closed = answer(address, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", pause_s=0.1)
    assert received.startswith(b"HTTP/1.1 503")
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    received, closed = answer(address, head + b"10000\r\n" + b"a" * 65_536 + b"\r\n", pause_s=0.1)
    assert closed


def test_caller_that_hangs_up_leaves_no_traceback(address: Address, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    time.sleep(0.3)
    assert "Traceback" not in caplog.text
