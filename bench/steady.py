"""A stack under overload: refusals, bad images, and minutes at saturation."""

import http.client
import statistics
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from load import load, until_idle
from stacks import Stack, post

from helpers import bad_images

# As many connections as the adapter opens at most, which ask again at once when they are refused.
OVERLOAD = 100


def overloaded(server: Stack, images: Path) -> dict[str, float]:
    """The time of a refusal and of an answer, while more connections post than the queue holds."""
    image = next(images.glob("*.jpg")).read_bytes()
    seen: list[tuple[int, float]] = []
    ends = threading.Event()

    def probe() -> None:
        # On one connection, as the adapter keeps its own.
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
        while not ends.wait(0.02):
            started = time.perf_counter()
            connection.request("POST", "/", image, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            answer.read()
            seen.append((answer.status, 1000 * (time.perf_counter() - started)))

    threads = [threading.Thread(target=probe) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        measured = load(server, images, OVERLOAD, 15, settle=False)
    finally:
        ends.set()
        for thread in threads:
            thread.join()
    until_idle(server)
    refused = sorted(ms for status, ms in seen if status == 503)
    answered = sorted(ms for status, ms in seen if status == 200)
    return {
        "connections": OVERLOAD,
        "per_s": measured["per_s"],
        "probed": len(seen),
        "other_statuses": len(seen) - len(refused) - len(answered),
        "refused": len(refused),
        "refused_p50_ms": round(statistics.median(refused), 1) if refused else 0,
        "refused_p99_ms": round(refused[int(0.99 * len(refused))], 1) if refused else 0,
        "answered_max_ms": round(answered[-1], 1) if answered else 0,
    }


def refusals(server: Stack) -> dict[str, Any]:
    """Each bad image alone: whether its status is right, how long it took, and what memory it took at most."""
    idle = server.resident_mib()
    slowest, wrong = (0.0, ""), []
    corpus = bad_images.corpus()
    for name, data, status in corpus:
        given, ms = post(server.url, data)
        slowest = max(slowest, (round(ms, 1), name))
        if given != status:
            wrong.append(f"{name}: {given}")
    return {
        "images": len(corpus),
        "wrong": wrong,
        "slowest_ms": slowest[0],
        "slowest": slowest[1],
        "peak_above_idle_mib": round(server.peak_mib() - idle),
    }


def saturated(adapter: Stack, images: Path, minutes: float) -> dict[str, Any]:
    """Sixty-four connections for minutes: errors, and memory by time (s)."""
    memory: list[tuple[float, float]] = []
    ends = threading.Event()
    started = time.monotonic()

    def watch() -> None:
        while not ends.wait(5):
            memory.append((round(time.monotonic() - started), round(adapter.resident_mib(), 1)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    measured = load(adapter, images, 64, max(10.0, 60 * minutes))
    ends.set()
    watcher.join()
    warm = [mib for at, mib in memory if at > min(60.0, 12 * minutes)] or [mib for _, mib in memory]
    return {**measured, "minutes": minutes, "memory_mib": memory, "growth": round(warm[-1] / warm[0] - 1, 4)}
