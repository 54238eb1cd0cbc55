"""The forms in which a request may carry its image, each a function from the request to the image's bytes."""

import base64
import binascii
import json
from typing import TYPE_CHECKING

from classifier.budget import Budget
from classifier.problem import Problem
from inference.formats import MEDIA_TYPES

if TYPE_CHECKING:
    from classifier.s3_inbox import S3Inbox
    from classifier.url_fetcher import UrlFetcher

FORMS = ("image", "s3", "url")
FETCH_S = 10.0


class ImageSource:
    """Takes an image as bytes, as base64, from the inbox, or from a URL; each is at most `max_bytes` long."""

    def __init__(self, max_bytes: int, inbox: str, *, hosts: list[str], schemes: list[str]) -> None:
        """`inbox` is an s3:// prefix. URLs may have one of the `schemes` and name one of the `hosts`, any if empty."""
        self._max_bytes, self._place, self._hosts, self._schemes = max_bytes, inbox, hosts, schemes
        # Most requests need neither of them.
        self._inbox: S3Inbox | None = None
        self._internet: UrlFetcher | None = None

    def image(self, content_type: str, body: bytes, budget: Budget) -> tuple[bytes, str]:
        """The image and its content type; raises Problem 400, 413, 415 or 424."""
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type in MEDIA_TYPES:
            return self._bounded(body), media_type
        if media_type == "application/json":
            form, value = _form(body)
            # The endpoint finds the format in the bytes.
            return self._bounded(self._from(form, value, budget)), "application/octet-stream"
        raise Problem(
            415, f"Send the image as {', '.join(MEDIA_TYPES)}, or JSON; got {media_type[:100] or 'no content type'}"
        )

    def _from(self, form: str, value: str, budget: Budget) -> bytes:
        if form == "image":
            return _base64(value)
        allowed = Budget(budget.left_s(FETCH_S))
        if form == "s3":
            if self._inbox is None:
                from classifier.s3_inbox import S3Inbox

                self._inbox = S3Inbox(self._place)
            return self._inbox.fetch(value, self._max_bytes, allowed)
        if not self._schemes:
            raise Problem(400, "This service does not fetch URLs: send the image itself")
        if self._internet is None:
            from classifier.url_fetcher import UrlFetcher

            self._internet = UrlFetcher(self._hosts, self._schemes)
        return self._internet.fetch(value, self._max_bytes, allowed)

    def _bounded(self, data: bytes) -> bytes:
        if not data:
            raise Problem(400, "The image is empty: send one with bytes")
        if len(data) > self._max_bytes:
            raise Problem(413, f"The image has more than {self._max_bytes:,} bytes: send a smaller one")
        return data


def _form(body: bytes) -> tuple[str, str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not valid JSON") from None
    if not isinstance(document, dict) or len(document) != 1 or next(iter(document)) not in FORMS:
        raise Problem(400, f"The JSON must be an object with exactly one of: {', '.join(FORMS)}")
    ((form, value),) = document.items()
    if not isinstance(value, str):
        raise Problem(400, f"{form!r} must be a string")
    return form, value


def _base64(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Problem(400, "'image' must be base64 and nothing else: no line breaks, no data: before it") from None
