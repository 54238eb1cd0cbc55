"""Many pictures to the Lambda URL: from files, folders, URLs, the inbox or standard input; none is given up early."""

import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from kennel.calling import CONTENT_TYPES, Answer
from kennel.data import EXTENSIONS
from kennel.errors import KennelError

# What passes by itself: too many callers, an endpoint that is overloaded or being replaced.
PASSING = (429, 503)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0
PATIENCE_S = 120.0


class Calls(Protocol):
    """The URL, or what stands for it."""

    def call(self, body: bytes, content_type: str, *, top_k: int) -> Answer:
        """One signed call."""


@dataclass(frozen=True)
class Source:
    """One picture: what the operator called it, and how it is sent."""

    name: str
    read: Callable[[], bytes]
    content_type: str


def sources(given: Iterable[str]) -> list[Source]:
    """The pictures that are meant; raises KennelError with everything that is none."""
    found, wrong = [], []
    for name in given:
        path = Path(name)
        if name == "-":
            found.append(Source("standard input", sys.stdin.buffer.read, "application/octet-stream"))
        elif name.startswith(("https://", "http://", "s3://")):
            form = "s3" if name.startswith("s3://") else "url"
            found.append(Source(name, partial(_json, form, name), "application/json"))
        elif path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
            if not files:
                wrong.append(f"{name} has no pictures ({', '.join(sorted(EXTENSIONS))})")
            found += [_of_file(file) for file in files]
        elif path.is_file():
            found.append(_of_file(path))
        else:
            wrong.append(f"{name} is no file, folder, https:// or s3:// address")
    if wrong:
        raise KennelError("\n".join(wrong))
    return found


def _json(form: str, value: str) -> bytes:
    return json.dumps({form: value}).encode()


def _of_file(path: Path) -> Source:
    return Source(str(path), path.read_bytes, CONTENT_TYPES.get(path.suffix.lower(), "application/octet-stream"))


def predict(
    url: Calls, pictures: list[Source], top_k: int, at_once: int, progress: Callable[[int, int], None]
) -> Iterator[tuple[Source, Answer]]:
    """The answers in the order of the pictures, `at_once` calls at the same time; `progress` gets (answered, all)."""
    done = itertools.count(1)

    def answered(picture: Source) -> Answer:
        answer = _patiently(url, picture, top_k)
        progress(next(done), len(pictures))
        return answer

    executor = ThreadPoolExecutor(at_once)
    try:
        yield from zip(pictures, executor.map(answered, pictures), strict=True)
    finally:
        # On Ctrl-C, what has not begun does not begin.
        executor.shutdown(wait=False, cancel_futures=True)


def _patiently(url: Calls, picture: Source, top_k: int) -> Answer:
    """The answer; what passes is tried again, later and later, and not by all callers at the same moment."""
    body, ends, wait_s = picture.read(), time.monotonic() + PATIENCE_S, FIRST_WAIT_S
    while True:
        answer = url.call(body, picture.content_type, top_k=top_k)
        if answer.status not in PASSING or time.monotonic() > ends:
            return answer
        time.sleep(random.uniform(wait_s / 2, wait_s))
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def document(picture: Source, answer: Answer) -> dict[str, Any]:
    """What --json prints of one picture."""
    return {"source": picture.name, "status": answer.status, **answer.document}
