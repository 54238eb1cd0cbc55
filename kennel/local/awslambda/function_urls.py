"""Checks of Lambda on a request, before it calls the function behind a URL."""

import base64
import json
from typing import Any

from ministack.services import lambda_svc

# "Request must be smaller than 6291556 bytes for the InvokeFunction operation": the event's JSON, in which a body that
# is no text is in base64 (Lambda's developer guide, "Lambda quotas": payload of 6 MB).
MAX_EVENT_BYTES = 6_291_556
UNSIGNED = "UNSIGNED-PAYLOAD"
TEXT = ("text/", "application/json", "application/xml", "application/javascript")


def install() -> None:
    """Puts the checks before ministack's handler of function URLs."""
    upstream = lambda_svc.handle_function_url_request

    async def handle(
        url_id: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any, **more: Any
    ) -> Any:
        if refused := refusal(headers, body):
            status, message = refused
            return status, {"Content-Type": "application/json"}, json.dumps({"Message": message}).encode()
        return await upstream(url_id, method, path, headers, body, *rest, **more)

    lambda_svc.handle_function_url_request = handle


def refusal(headers: dict[str, str], body: bytes) -> tuple[int, str] | None:
    """Status and message of a refusal; None for what reaches the function."""
    if body and headers.get("x-amz-content-sha256") == UNSIGNED and "authorization" in headers:
        # Reported by callers of AWS's (repost.aws, QUPuq7VvHJRwWxVA3XJIgNKQ): the body has to be signed.
        return 403, "The request signature we calculated does not match the signature you provided."
    text = headers.get("content-type", "").startswith(TEXT)
    carried = len(json.dumps(body.decode(errors="replace"))) if text else len(base64.b64encode(body))
    size = carried + len(json.dumps(headers))
    if size > MAX_EVENT_BYTES:
        return 413, f"Request must be smaller than {MAX_EVENT_BYTES} bytes for the InvokeFunction operation"
    return None
