"""What Lambda refuses before a function is called."""

import pytest

from helpers import REPOSITORY
from kennel.client.function_url import MAX_BODY_BYTES
from kennel.local.awslambda.function_urls import MAX_EVENT_BYTES, refusal

SIGNED = {"authorization": "AWS4-HMAC-SHA256 …", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}


def test_page_and_command_line_have_one_limit() -> None:
    page = (REPOSITORY / "lambda/classifier/web_page.py").read_text()
    assert f"MAX_BODY_BYTES = {MAX_BODY_BYTES:_}" in page


def test_image_that_kennel_sends_fits_into_event() -> None:
    assert refusal({"content-type": "image/jpeg"}, bytes(MAX_BODY_BYTES)) is None


@pytest.mark.parametrize(
    ("kind", "size"), [("image/jpeg", 4_800_000), ("application/json", MAX_EVENT_BYTES), ("", 4_800_000)]
)
def test_larger_event_is_refused(kind: str, size: int) -> None:
    refused = refusal({"content-type": kind}, b"x" * size)
    assert refused is not None
    assert refused[0] == 413


def test_unsigned_body_is_refused() -> None:
    refused = refusal({"content-type": "image/jpeg", **SIGNED}, b"x")
    assert refused is not None
    assert refused[0] == 403
    assert refusal(SIGNED, b"") is None
