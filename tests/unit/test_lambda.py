"""The handler: every refusal is a problem document with the right status, every failure of the endpoint has its own."""

import base64
import importlib
import io
import json
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

ANSWER = {"predictions": [{"label": "bee", "probability": 0.9}], "model": "m"}


class Runtime:
    """Stands for the SageMaker runtime: gives `answer`, or raises it."""

    def __init__(self) -> None:
        self.answer: Any = json.dumps(ANSWER).encode()
        self.calls: list[dict[str, Any]] = []

    def invoke_endpoint(self, **arguments: Any) -> dict[str, Any]:
        self.calls.append(arguments)
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"Body": io.BytesIO(self.answer)}


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    return Runtime()


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> Iterator[ModuleType]:
    settings = {
        "ENDPOINT_NAME": "dogs",
        "ENDPOINT_TIMEOUT_S": "20",
        "MAX_IMAGE_BYTES": "1000",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    sys.modules.pop("handler", None)
    module = importlib.import_module("handler")
    module._endpoint._client = runtime
    yield module
    sys.modules.pop("handler", None)


def event(
    body: bytes | str = b"picture",
    content_type: str = "image/jpeg",
    method: str = "POST",
    path: str = "/",
    **query: str,
) -> dict[str, Any]:
    data = body.encode() if isinstance(body, str) else body
    return {
        "requestContext": {"requestId": "r-1", "http": {"method": method, "path": path}},
        "headers": {"content-type": content_type},
        "queryStringParameters": query,
        "body": base64.b64encode(data).decode(),
        "isBase64Encoded": True,
    }


def call(handler: ModuleType, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = handler.handle(request, SimpleNamespace(aws_request_id="fallback"))
    kind = "application/json" if answer["statusCode"] == 200 else "application/problem+json"
    assert answer["headers"]["content-type"] == kind
    document = json.loads(answer["body"])
    assert document["request_id"] == "r-1"
    return answer["statusCode"], document


def refusal(code: str, status: int, **fields: Any) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "secret"}, "ResponseMetadata": {"HTTPStatusCode": status}, **fields},  # type: ignore[typeddict-item]
        "InvokeEndpoint",
    )


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "IMAGE/WebP; charset=x"])
def test_given_picture_bytes_when_called_then_they_reach_the_endpoint(
    handler: ModuleType, runtime: Runtime, content_type: str
) -> None:
    assert call(handler, event(b"\xff\xd8", content_type, top_k="3")) == (200, {**ANSWER, "request_id": "r-1"})
    assert runtime.calls[0]["Body"] == b"\xff\xd8"
    assert runtime.calls[0]["EndpointName"] == "dogs"
    assert runtime.calls[0]["CustomAttributes"] == "top_k=3"


def test_given_base64_json_when_called_then_the_bytes_reach_the_endpoint(handler: ModuleType, runtime: Runtime) -> None:
    body = json.dumps({"image": base64.b64encode(b"\xff\xd8").decode()})
    status, _ = call(handler, {**event(content_type="application/json"), "body": body, "isBase64Encoded": False})
    assert status == 200
    assert runtime.calls[0]["Body"] == b"\xff\xd8"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (event(b""), 400),
        (event("{", "application/json"), 400),
        (event("[]", "application/json"), 400),
        (event("{}", "application/json"), 400),
        (event('{"image": 1}', "application/json"), 400),
        (event('{"image": "*"}', "application/json"), 400),
        (event('{"image": "", "url": ""}', "application/json"), 400),
        (event('{"path": "/etc/passwd"}', "application/json"), 400),
        (event(top_k="0"), 400),
        (event(top_k="-1"), 400),
        (event(top_k="٣"), 400),
        (event(top_k="1e9"), 400),
        (event(path="/admin"), 404),
        (event(method="GET"), 405),
        (event(b"x" * 1001), 413),
        (event("{}", "text/plain"), 415),
        (event(b"x", ""), 415),
    ],
)
def test_given_a_bad_request_when_called_then_it_is_refused_without_an_invocation(
    handler: ModuleType, runtime: Runtime, request_: dict[str, Any], status: int
) -> None:
    assert call(handler, request_)[0] == status
    assert runtime.calls == []


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (refusal("ModelError", 424, OriginalStatusCode=415, OriginalMessage='{"detail": "no picture"}'), 415),
        (refusal("ModelError", 424, OriginalStatusCode=422, OriginalMessage="not json"), 422),
        (refusal("ModelError", 424, OriginalStatusCode=503), 503),
        (refusal("ModelError", 424, OriginalStatusCode=500), 502),
        (refusal("ThrottlingException", 400), 429),
        (refusal("ServiceUnavailable", 503), 503),
        (refusal("ValidationError", 400), 502),
        (refusal("AccessDeniedException", 403), 502),
        (ReadTimeoutError(endpoint_url="https://secret"), 504),
        (EndpointConnectionError(endpoint_url="https://secret"), 502),
        (RuntimeError("secret"), 500),
    ],
)
def test_given_a_failure_of_the_endpoint_when_called_then_it_has_its_own_status_and_no_secret(
    handler: ModuleType, runtime: Runtime, failure: Exception, status: int
) -> None:
    runtime.answer = failure
    answered, document = call(handler, event())
    assert answered == status
    assert "secret" not in json.dumps(document)


def test_given_a_refusal_of_the_model_server_when_called_then_its_detail_is_passed_on(
    handler: ModuleType, runtime: Runtime
) -> None:
    runtime.answer = refusal("ModelError", 424, OriginalStatusCode=422, OriginalMessage='{"detail": "it is damaged"}')
    assert call(handler, event())[1]["detail"] == "it is damaged"


def test_given_nonsense_from_the_endpoint_when_called_then_it_is_a_bad_gateway(
    handler: ModuleType, runtime: Runtime
) -> None:
    runtime.answer = b"<html>"
    assert call(handler, event())[0] == 502


def test_given_a_request_when_answered_then_the_log_has_no_picture(
    handler: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    call(handler, event(b"PICTUREBYTES"))
    record = json.loads(capsys.readouterr().out)
    assert set(record) == {"request_id", "status", "ms"}
