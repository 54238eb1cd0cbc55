"""The forms in which a request may carry its picture, each a function from the request to the picture's bytes."""

import base64
import binascii
import json
from collections.abc import Callable

from problem import Problem

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")


def picture(content_type: str, body: bytes, max_bytes: int) -> tuple[bytes, str]:
    """The picture and its content type; raises Problem 400, 413 or 415."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in IMAGE_TYPES:
        return _bounded(body, max_bytes), media_type
    if media_type == "application/json":
        # The endpoint finds the format in the bytes.
        return _bounded(_from_json(body), max_bytes), "application/octet-stream"
    raise Problem(415, f"Send the picture as {', '.join(IMAGE_TYPES)}, or JSON; got {media_type or 'no content type'}")


def _from_json(body: bytes) -> bytes:
    try:
        document = json.loads(body)
    except ValueError:
        raise Problem(400, "The body is not valid JSON") from None
    if not isinstance(document, dict) or len(document) != 1 or next(iter(document)) not in FORMS:
        raise Problem(400, f"The JSON must be an object with exactly one of: {', '.join(FORMS)}")
    ((form, value),) = document.items()
    if not isinstance(value, str):
        raise Problem(400, f"{form!r} must be a string")
    return FORMS[form](value)


def _base64(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise Problem(400, "'image' is not valid base64") from None


def _bounded(data: bytes, max_bytes: int) -> bytes:
    if not data:
        raise Problem(400, "The request carries no picture: send its bytes as the body")
    if len(data) > max_bytes:
        raise Problem(413, f"The picture has {len(data):,} bytes, the limit is {max_bytes:,}: send a smaller one")
    return data


# A further form, of a URL or an S3 object, is one more row here.
FORMS: dict[str, Callable[[str], bytes]] = {"image": _base64}
