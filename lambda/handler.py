"""The function behind the URL: a picture in, labelled probabilities out. docs/architecture.md has the contract."""

import base64
import binascii
import json
import os
import time
from typing import Any

from endpoint import Endpoint
from pictures import picture
from problem import Problem

DEFAULT_TOP_K = 5
MAX_TOP_K = 1000
MAX_IMAGE_BYTES = int(os.environ["MAX_IMAGE_BYTES"])

# Made at init, which provisioned concurrency pays for, not at the first request.
_endpoint = Endpoint(os.environ["ENDPOINT_NAME"], float(os.environ["ENDPOINT_TIMEOUT_S"]))


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answers one request of the function URL (payload format 2.0); errors are problem documents, never exceptions."""
    started = time.perf_counter()
    request_id = event.get("requestContext", {}).get("requestId") or context.aws_request_id
    reason: str | None = None
    try:
        response = _classify(event, request_id)
    except Problem as problem:
        response = problem.response(request_id)
        reason = repr(problem.__cause__) if problem.__cause__ else problem.detail
    except Exception as error:
        response = Problem(500, "An error of ours: report the request_id").response(request_id)
        reason = repr(error)
    record = {
        "request_id": request_id,
        "status": response["statusCode"],
        "ms": round((time.perf_counter() - started) * 1000, 1),
    }
    print(json.dumps(record if reason is None else {**record, "reason": reason[:500]}))
    return response


def _classify(event: dict[str, Any], request_id: str) -> dict[str, Any]:
    http = event["requestContext"]["http"]
    if http["path"] != "/":
        raise Problem(404, "There is nothing here: POST a picture to /")
    if http["method"] != "POST":
        raise Problem(405, "POST a picture")
    top_k = _top_k(event.get("queryStringParameters") or {})
    content_type = (event.get("headers") or {}).get("content-type", "")
    data, media_type = picture(content_type, _body(event), MAX_IMAGE_BYTES)
    answer = _endpoint.invoke(data, media_type, top_k)
    document = {"predictions": answer["predictions"], "model": answer["model"], "request_id": request_id}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(document)}


def _top_k(query: dict[str, str]) -> int:
    text = query.get("top_k", str(DEFAULT_TOP_K))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_TOP_K):
        raise Problem(400, f"top_k must be a whole number from 1 to {MAX_TOP_K}")
    return int(text)


def _body(event: dict[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body.encode() if isinstance(body, str) else b""
    try:
        return base64.b64decode(body)
    except binascii.Error:
        raise Problem(400, "The body is not valid base64") from None
