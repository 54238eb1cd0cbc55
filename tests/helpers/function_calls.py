"""What Lambda gives the function: its environment, a request of its URL, and the context of a call."""

import base64
from types import SimpleNamespace
from typing import Any

# As the template sets it.
SETTINGS = {
    "ENDPOINT_NAME": "dogs",
    "ENDPOINT_TIMEOUT_S": "20",
    "MAX_IMAGE_BYTES": "5000",
    "INBOX": "s3://bucket/inbox/",
    "URL_SCHEMES": "https",
    "URL_HOSTS": "",
    "DNS_SUFFIX": "amazonaws.com",
    "PAGE": "on",
    "STAGE": "dev",
}
# With what Lambda adds.
ENVIRONMENT = SETTINGS | {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
}
REMAINING_MS = 29_000


def request(
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/",
    headers: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The event that a function URL makes of a request."""
    return {
        "requestContext": {"requestId": "r-1", "http": {"method": method, "path": path}},
        "headers": headers or {},
        "queryStringParameters": query or {},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def context(request_id: str = "fallback", remaining_ms: int = REMAINING_MS) -> SimpleNamespace:
    """The second argument of a handler."""
    return SimpleNamespace(aws_request_id=request_id, get_remaining_time_in_millis=lambda: remaining_ms)
