"""The real server on a real package: bad images, overload, and an end under load."""

import asyncio
import collections
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from helpers.bad_images import corpus
from helpers.serving import model_server

PORT = 8082
URL = f"http://127.0.0.1:{PORT}"
# What a bad image may take above a server at rest.
MEMORY_BYTES = 512_000_000


@pytest.fixture(scope="module")
def image(package: Path) -> bytes:
    return next((package.parent / "images" / "test").rglob("*.jpg")).read_bytes()


@pytest.fixture
def server(package: Path) -> Iterator[psutil.Process]:
    with model_server(package, PORT) as process:
        yield psutil.Process(process.pid)


def test_bad_images_are_rejected_in_bounded_memory(server: psutil.Process, image: bytes) -> None:
    with httpx.Client(base_url=URL, timeout=30) as client:
        assert client.post("/", content=image).status_code == 200
        idle = server.memory_info().rss
        wrong = []
        for name, data, status in corpus():
            answer = client.post("/", content=data)
            if answer.status_code != status or answer.headers["content-type"] != "application/problem+json":
                wrong.append((name, answer.status_code, answer.text))
            assert client.post("/", content=image).status_code == 200, name
        assert wrong == []
    # VmHWM: the most that the process ever had.
    peak = int(Path(f"/proc/{server.pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    assert peak - idle < MEMORY_BYTES


def test_huge_body_returns_413_without_buffering(server: psutil.Process, image: bytes) -> None:
    with httpx.Client(base_url=URL, timeout=60) as client:
        assert client.post("/", content=image).status_code == 200
        idle = server.memory_info().rss
        connections = len(server.net_connections())
        assert client.post("/", content=image + bytes(200_000_000)).status_code == 413
        assert server.memory_info().rss - idle < 50_000_000
        assert client.post("/", content=image).status_code == 200
        assert len(server.net_connections()) == connections


async def post_many(image: bytes, count: int) -> "collections.Counter[int | str]":
    """What became of `count` requests at once."""

    async def one(client: httpx.AsyncClient) -> int | str:
        try:
            return (await client.post("/", content=image)).status_code
        except httpx.HTTPError as error:
            return type(error).__name__

    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(base_url=URL, timeout=60, limits=limits) as client:
        return collections.Counter(await asyncio.gather(*(one(client) for _ in range(count))))


def test_queue_overflow_returns_503(server: psutil.Process, image: bytes) -> None:
    outcome = asyncio.run(post_many(image, 300))
    assert set(outcome) == {200, 503}
    assert outcome[200] >= 64
    assert asyncio.run(post_many(image, 8)) == {200: 8}


def test_sigterm_loses_no_accepted_request(package: Path, image: bytes) -> None:
    outcomes: list[int | str] = []

    async def caller(client: httpx.AsyncClient) -> None:
        while True:
            try:
                outcomes.append((await client.post("/", content=image)).status_code)
            except httpx.ConnectError:
                return
            except httpx.HTTPError as error:
                outcomes.append(repr(error))
                return

    async def callers(pid: int) -> None:
        async with httpx.AsyncClient(base_url=URL, timeout=60) as client:
            tasks = [asyncio.create_task(caller(client)) for _ in range(16)]
            await asyncio.sleep(1.5)
            psutil.Process(pid).send_signal(signal.SIGTERM)
            await asyncio.gather(*tasks)

    with model_server(package, PORT) as process:
        asyncio.run(callers(process.pid))
        process.wait(60)
        # uvicorn ends as the signal asks, once it is done.
        assert process.returncode in (0, -signal.SIGTERM)
    assert len(outcomes) > 16
    assert set(outcomes) == {200}
