"""The function behind the URL: an image in, labelled probabilities out. openapi.json beside it is its contract."""

import base64
import binascii
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from classifier.budget import Budget
from classifier.endpoint import Endpoint
from classifier.image_source import ImageSource
from classifier.problem import Problem

DEFAULT_TOP_K = 5
MAX_TOP_K = 1000
# What is left of the function's time for its last line of the log and its answer.
RESERVE_S = 1.0
METRICS = {"Namespace": "Kennel/Api", "Dimensions": [["Stage"]]}

# Made at init, which provisioned concurrency pays for, not at the first request.
_endpoint = Endpoint(os.environ["ENDPOINT_NAME"], float(os.environ["ENDPOINT_TIMEOUT_S"]))
_max_image_bytes = int(os.environ["MAX_IMAGE_BYTES"])
_images = ImageSource(
    _max_image_bytes,
    os.environ["INBOX"],
    hosts=os.environ["URL_HOSTS"].split(),
    schemes=os.environ["URL_SCHEMES"].split(),
)
_stage = os.environ["STAGE"]
_cold = True


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answers one request of the function URL (payload format 2.0); errors are problem documents, never exceptions."""
    started = time.perf_counter()
    event = _well_formed(event)
    request_id = event["requestContext"].get("requestId") or context.aws_request_id
    # Lambda itself traces the call, under this name; a tracing library would take ten times as long to start as we do.
    log_fields: dict[str, Any] = {"request_id": request_id, "trace": os.environ.get("_X_AMZN_TRACE_ID")}
    budget = Budget(context.get_remaining_time_in_millis() / 1000 - RESERVE_S)
    try:
        response = _route(event)(event, request_id, budget, log_fields)
    except Problem as problem:
        response = problem.response(request_id)
        log_fields["reason"] = repr(problem.__cause__) if problem.__cause__ else problem.logged
    except Exception as error:
        response = Problem(500, "An error of ours: report the request_id").response(request_id)
        log_fields["reason"] = repr(error)
    _log(log_fields, response["statusCode"], time.perf_counter() - started)
    if event["requestContext"]["http"].get("method") == "HEAD":
        response |= {"body": "", "isBase64Encoded": False}
    return response


Answers = Callable[[dict[str, Any], str, Budget, dict[str, Any]], dict[str, Any]]


def _well_formed(event: Any) -> dict[str, Any]:
    """The parts of an event that have the types of payload format 2.0.

    Only the URL may call this function (its policy), and the URL makes such events; another caller gets an answer, too.
    """
    event = event if isinstance(event, dict) else {}
    request = event.get("requestContext")
    http = request.get("http") if isinstance(request, dict) else None
    return {
        "requestContext": {**_texts(request), "http": _texts(http)},
        "headers": _texts(event.get("headers")),
        "queryStringParameters": _texts(event.get("queryStringParameters")),
        "body": event.get("body"),
        "isBase64Encoded": event.get("isBase64Encoded") is True,
    }


def _texts(values: Any) -> dict[str, str]:
    return {name: value for name, value in values.items() if isinstance(value, str)} if isinstance(values, dict) else {}


def _route(event: dict[str, Any]) -> Answers:
    http = event["requestContext"]["http"]
    if not {"path", "method"} <= http.keys():
        raise Problem(400, "Not a function URL request (payload format 2.0)")
    methods = _ROUTES.get(http["path"])
    if methods is None:
        raise Problem(404, "Not found: POST an image to /")
    # Uptime checkers often send HEAD.
    method = "GET" if http["method"] == "HEAD" else http["method"]
    if method not in methods:
        raise Problem(405, f"Method not allowed: use {', '.join(methods)}", headers={"allow": ", ".join(methods)})
    return methods[method]


def _classify(event: dict[str, Any], request_id: str, budget: Budget, log_fields: dict[str, Any]) -> dict[str, Any]:
    top_k = _top_k(event["queryStringParameters"])
    content_type = event["headers"].get("content-type", "")
    data, media_type = _images.image(content_type, _body(event), budget)
    log_fields["bytes"] = len(data)
    asked = time.perf_counter()
    try:
        answer = _endpoint.invoke(data, media_type, top_k, budget)
    finally:
        log_fields["endpoint_ms"] = round((time.perf_counter() - asked) * 1000, 1)
    return _json({**answer, "request_id": request_id})


def _health(event: dict[str, Any], request_id: str, budget: Budget, log_fields: dict[str, Any]) -> dict[str, Any]:
    return _json({"status": "ok", "request_id": request_id})


def _page(event: dict[str, Any], request_id: str, budget: Budget, log_fields: dict[str, Any]) -> dict[str, Any]:
    from classifier import web_page

    return web_page.response(_max_image_bytes)


def _openapi(event: dict[str, Any], request_id: str, budget: Budget, log_fields: dict[str, Any]) -> dict[str, Any]:
    return _json(json.loads(Path(__file__).with_name("openapi.json").read_text()))


_ROUTES: dict[str, dict[str, Answers]] = {
    "/": {"POST": _classify},
    "/health": {"GET": _health},
    "/openapi.json": {"GET": _openapi},
}
if os.environ["PAGE"] == "on":
    _ROUTES["/"]["GET"] = _page


def _json(document: dict[str, Any]) -> dict[str, Any]:
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(document)}


def _top_k(query: dict[str, str]) -> int:
    text = query.get("top_k", str(DEFAULT_TOP_K))
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_TOP_K)) and 1 <= int(text) <= MAX_TOP_K):
        raise Problem(400, f"top_k must be a whole number from 1 to {MAX_TOP_K}")
    return int(text)


def _body(event: dict[str, Any]) -> bytes:
    body = event["body"] or ""
    if not isinstance(body, str):
        raise Problem(400, "The body is not text")
    if not event["isBase64Encoded"]:
        return body.encode(errors="replace")
    try:
        return base64.b64decode(body)
    except (binascii.Error, ValueError):
        raise Problem(400, "The body is not valid base64") from None


def _log(log_fields: dict[str, Any], status: int, seconds: float) -> None:
    """One line for each request, of which CloudWatch makes metrics, too (embedded metric format). Never an image."""
    global _cold
    values = {"Requests": 1, f"Status{status // 100}xx": 1, "Latency": round(seconds * 1000, 1)}
    if "endpoint_ms" in log_fields:
        values["EndpointLatency"] = log_fields.pop("endpoint_ms")
    if _cold:
        values["ColdStarts"], _cold = 1, False
    if "reason" in log_fields:
        log_fields["reason"] = log_fields["reason"][:500]
    names = [{"Name": name, "Unit": "Milliseconds" if name.endswith("Latency") else "Count"} for name in values]
    metrics = {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": [{**METRICS, "Metrics": names}]}
    print(json.dumps({**log_fields, "status": status, "Stage": _stage, **values, "_aws": metrics}))
