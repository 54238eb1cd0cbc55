"""Many images to the Lambda URL: from files, folders, URLs, the inbox or standard input; none is given up early."""

import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from inference.formats import FORMATS, titles
from kennel.client.function_url import MAX_BODY_BYTES, Answer
from kennel.datasets import conversion
from kennel.errors import KennelError
from training.data import folder
from training.data.formats import CONVERTIBLE, format_of

# Transient statuses: too many callers, an endpoint that is overloaded or being replaced.
PASSING = (429, 503)
NOT_AN_IMAGE = Answer(415, {"detail": f"This is not a {titles()} image: it was not sent"})
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0
PATIENCE_S = 120.0
# Images that the URL does not take are sent as such a JPEG, as lambda/classifier/web_page.html does.
LONGEST_PX = 1600
JPEG_QUALITY = 90


class Calls(Protocol):
    """The URL, or what stands for it."""

    def call(self, body: bytes, content_type: str, *, top_k: int) -> Answer:
        """One signed call."""


@dataclass(frozen=True)
class Source:
    """One image: what the operator called it, and its bytes, or the JSON that says where it is."""

    name: str
    read: Callable[[], bytes]
    is_json: bool = False


def sources(given: Iterable[str], progress: Callable[[str], None]) -> list[Source]:
    """The images that are meant; `progress` gets what folders leave out. Raises KennelError with all that is none."""
    found, wrong = [], []
    for name in given:
        path, scheme = Path(name), name.partition("://")[0].lower()
        if name == "-":
            # Nothing may be connected to it.
            found.append(Source("standard input", sys.stdin.buffer.read if sys.stdin else bytes))
        elif scheme in ("https", "http", "s3") and "://" in name:
            form = "s3" if scheme == "s3" else "url"
            found.append(Source(name, partial(_json, form, f"{scheme}{name[len(scheme) :]}"), is_json=True))
        elif not name:
            # Path("") would be this folder.
            wrong.append("An empty argument names no image: is a variable not set?")
        elif path.is_dir():
            files, left_out = folder.images(path)
            if not files:
                wrong.append(f"{name} has no images, and {len(left_out)} other file(s)")
            for reason, count in Counter(item.reason for item in left_out).items():
                progress(f"{name}: {count} left out: {reason}")
            found += [Source(str(file.path), file.path.read_bytes) for file in files]
        elif path.is_file():
            found.append(Source(name, path.read_bytes))
        elif path.exists():
            wrong.append(f"{name} is neither a regular file nor a folder")
        else:
            wrong.append(f"{name} is not a file, a folder, or an https:// or s3:// address")
    if wrong:
        raise KennelError("\n".join(wrong))
    return found


def _json(form: str, value: str) -> bytes:
    return json.dumps({form: value}).encode()


def sendable(body: bytes) -> bytes:
    """The same image, or a JPEG of it if the URL does not take its format or its size, as the page sends it."""
    if len(body) <= MAX_BODY_BYTES and format_of(body) not in CONVERTIBLE:
        return body
    try:
        return conversion.convert(body, LONGEST_PX, JPEG_QUALITY)[0]
    except conversion.ConversionError:
        return body  # the URL says what is wrong with it


def content_type(body: bytes) -> str | None:
    """The content type of an image by its first bytes; None for what the URL does not take."""
    known = FORMATS.get(format_of(body) or "")
    return known.media_type if known else None


def predict(
    url: Calls,
    images: list[Source],
    top_k: int,
    at_once: int,
    progress: Callable[[int, int], None],
    *,
    original: bool = False,
) -> Iterator[tuple[Source, Answer]]:
    """The answers in the order of the images, `at_once` calls at the same time; `progress` gets (answered, all).

    Images in other formats, or too large, are sent as smaller JPEGs, unless `original` is set.
    """
    done = itertools.count(1)

    def answered(image: Source) -> Answer:
        answer = _patiently(url, image, top_k, original)
        progress(next(done), len(images))
        return answer

    executor = ThreadPoolExecutor(at_once)
    try:
        yield from zip(images, executor.map(answered, images), strict=True)
    finally:
        # On Ctrl-C, what has not begun does not begin.
        executor.shutdown(wait=False, cancel_futures=True)


def _patiently(url: Calls, image: Source, top_k: int, original: bool) -> Answer:
    """The answer; what passes is tried again, later and later, and not by all callers at the same moment."""
    body, ends, wait_s = image.read(), time.monotonic() + PATIENCE_S, FIRST_WAIT_S
    if not (image.is_json or original):
        body = sendable(body)
    kind = "application/json" if image.is_json else content_type(body)
    if kind is None:
        return NOT_AN_IMAGE
    while True:
        answer = url.call(body, kind, top_k=top_k)
        if answer.status not in PASSING or time.monotonic() > ends:
            return answer
        time.sleep(random.uniform(wait_s / 2, wait_s))
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def document(image: Source, answer: Answer) -> dict[str, Any]:
    """The object that --json prints for one image."""
    return {"source": image.name, "status": answer.status, **answer.document}
