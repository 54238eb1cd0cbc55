"""What openapi.json promises, held to by any request that it allows, and by any that it does not."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from classifier import url_fetcher
from classifier.budget import Budget
from classifier.problem import Problem
from helpers.function_calls import ENVIRONMENT, context, request

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
)
CONTRACT = Path(url_fetcher.__file__).with_name("openapi.json")
SCHEMAS = json.loads(CONTRACT.read_text())["components"]["schemas"]
STATUSES = {200, 400, 404, 405, 413, 415, 422, 424}
Handle = Callable[[dict[str, Any]], dict[str, Any]]
# The function that the application stands before.
HANDLE: list[Handle] = []
Start = Callable[[str, list[tuple[str, str]]], Any]


def answered(image: bytes, content_type: str, top_k: int, budget: Budget) -> dict[str, Any]:
    """An endpoint that has an answer to whatever begins as a JPEG."""
    if not image.startswith(b"\xff"):
        raise Problem(415, "no image")
    return {"predictions": [{"label": str(index), "probability": 0.1} for index in range(top_k)], "model": "m"}


def unknown(host: str, port: int) -> list[str]:
    """A resolver that knows nobody."""
    raise OSError(host)


@pytest.fixture(scope="module")
def handle() -> Iterator[Handle]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ENVIRONMENT | {"URL_SCHEMES": "https http"}).items():
            patch.setenv(name, value)
        patch.setattr(url_fetcher, "resolve", unknown)
        sys.modules.pop("classifier.handler", None)
        handler = importlib.import_module("classifier.handler")
        patch.setattr(handler._endpoint, "invoke", answered)
        # The inbox of these tests is empty.
        patch.setattr("classifier.s3_inbox.SignedClient.call", lambda *_: SimpleNamespace(status=404))
        HANDLE[:] = [lambda event: handler.handle(event, context())]
        yield HANDLE[0]
        sys.modules.pop("classifier.handler", None)


def app(environ: dict[str, Any], start: Start) -> list[bytes]:
    """The function as a WSGI application."""
    headers = {name[5:].replace("_", "-").lower(): str(v) for name, v in environ.items() if name[:5] == "HTTP_"}
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    length = int(environ.get("CONTENT_LENGTH") or 0)
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    body = environ["wsgi.input"].read(length) if length else b""
    method, path = environ["REQUEST_METHOD"], unquote(environ["PATH_INFO"])
    answer = HANDLE[0](request(body, method=method, path=path, headers=headers, query=query))
    start(f"{answer['statusCode']} x", list(answer["headers"].items()))
    return [answer["body"].encode()]


# AWS checks the signature before the function is called.
schema = schemathesis.openapi.from_dict({**json.loads(CONTRACT.read_text()), "security": []})
schema.app = app


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_conform_to_contract(case: schemathesis.Case, handle: Handle) -> None:
    case.call_and_validate(checks=CHECKS)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", ""]),
    path=st.one_of(st.sampled_from(["/", "/health", "/openapi.json"]), st.text()),
    query=st.dictionaries(st.one_of(st.just("top_k"), st.text()), st.text()),
    content_type=st.one_of(
        st.sampled_from(["image/jpeg", "image/png", "application/json", "application/json; charset=utf-8"]), st.text()
    ),
    body=st.one_of(
        st.binary().map(lambda data: b"\xff" + data),
        st.binary(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.one_of(st.sampled_from(["image", "url", "s3"]), st.text()), inner)
            ),
        ).map(lambda document: json.dumps(document).encode()),
        st.one_of(
            st.text(),
            st.text().map(lambda text: f"https://{text}"),
            st.from_regex(r"https?://[a-z0-9.\[\]:@%/-]{1,40}", fullmatch=True),
            st.text().map(lambda text: f"s3://bucket/inbox/{text}"),
        ).flatmap(lambda text: st.sampled_from(["image", "url", "s3"]).map(lambda f: json.dumps({f: text}).encode())),
    ),
)
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
def test_arbitrary_request_never_breaks_contract(
    handle: Handle,
    method: str,
    path: str,
    query: dict[str, str],
    content_type: str,
    body: bytes,
) -> None:
    answer = handle(request(body, method=method, path=path, headers={"content-type": content_type}, query=query))
    assert answer["statusCode"] in STATUSES
    assert "Traceback" not in answer["body"]
    if method == "HEAD":
        assert answer["body"] == ""
    elif answer["statusCode"] == 200 and method == "POST":
        jsonschema.validate(json.loads(answer["body"]), SCHEMAS["Answer"])
    elif answer["statusCode"] != 200:
        jsonschema.validate(json.loads(answer["body"]), SCHEMAS["Problem"])


@pytest.mark.parametrize("broken", [{}, {"requestContext": {}}, {"body": 1}, {"headers": None}])
def test_malformed_event_returns_problem(handle: Handle, broken: dict[str, Any]) -> None:
    assert json.loads(handle(broken)["body"])["request_id"] == "fallback"
