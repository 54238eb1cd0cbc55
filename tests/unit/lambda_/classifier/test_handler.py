"""The handler: every refusal is a problem document with the right status, every failure of the endpoint has its own.

AWS is an HTTP server on loopback: the calls are real ones, signed.
"""

import base64
import http.server
import importlib
import json
import re
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from classifier import aws_client
from helpers.function_calls import ENVIRONMENT, context, request

ANSWER = {"predictions": [{"label": "bee", "probability": 0.9}], "model": "m"}


@dataclass
class Aws:
    """SageMaker's runtime and S3: gives `status`, `headers` and `body`, `after_s`, and keeps what it was asked."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = json.dumps(ANSWER).encode()
    objects: dict[str, bytes] = field(default_factory=dict)
    after_s: float = 0.0
    closes: bool = False
    calls: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0

    def fails(self, status: int, code: str, **document: Any) -> None:
        """Answers as SageMaker's runtime does when it fails."""
        self.status, self.headers = status, {"x-amzn-errortype": f"{code}:http://internal.amazon.com/"}
        self.body = json.dumps({"Message": "secret", **document}).encode()


@pytest.fixture
def aws() -> Iterator[tuple[Aws, str]]:
    made = Aws()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            made.connections += 1
            super().setup()

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])), made.status, made.headers, made.body)

        def do_GET(self) -> None:
            found = made.objects.get(urllib.parse.unquote(self.path))
            self._answer(b"", 404 if found is None else 200, {}, found or b"")

        def _answer(self, data: bytes, status: int, headers: dict[str, str], body: bytes) -> None:
            made.calls.append((self.path, {name.lower(): value for name, value in self.headers.items()}, data))
            time.sleep(made.after_s)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            # As a server that ends an idle connection without a word.
            self.close_connection = made.closes

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield made, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def runtime(aws: tuple[Aws, str]) -> Aws:
    return aws[0]


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch, aws: tuple[Aws, str]) -> Iterator[ModuleType]:
    for name, value in (ENVIRONMENT | {"MAX_IMAGE_BYTES": "1000", "AWS_ENDPOINT_URL": aws[1]}).items():
        monkeypatch.setenv(name, value)
    # It reads its settings when it is imported.
    sys.modules.pop("classifier.handler", None)
    yield importlib.import_module("classifier.handler")
    aws_client._container_credentials.cache_clear()
    sys.modules.pop("classifier.handler", None)


def event(
    body: bytes | str = b"image",
    content_type: str = "image/jpeg",
    method: str = "POST",
    path: str = "/",
    **query: str,
) -> dict[str, Any]:
    data = body.encode() if isinstance(body, str) else body
    return request(data, method=method, path=path, headers={"content-type": content_type}, query=query)


def call(handler: ModuleType, made: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = handler.handle(made, context())
    kind = "application/json" if answer["statusCode"] == 200 else "application/problem+json"
    assert answer["headers"]["content-type"] == kind
    document = json.loads(answer["body"])
    assert document["request_id"] == "r-1"
    return answer["statusCode"], document


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "IMAGE/WebP; charset=x"])
def test_image_bytes_reach_endpoint(handler: ModuleType, runtime: Aws, content_type: str) -> None:
    assert call(handler, event(b"\xff\xd8", content_type, top_k="3")) == (200, {**ANSWER, "request_id": "r-1"})
    ((path, headers, body),) = runtime.calls
    assert (path, body) == ("/endpoints/dogs/invocations", b"\xff\xd8")
    top_k, budget = headers["x-amzn-sagemaker-custom-attributes"].split(",")
    assert top_k == "top_k=3"
    assert 19_000 < int(budget.removeprefix("budget_ms=")) <= 20_000
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")
    assert headers["x-amz-security-token"] == "token"


def test_base64_json_bytes_reach_endpoint(handler: ModuleType, runtime: Aws) -> None:
    body = json.dumps({"image": base64.b64encode(b"\xff\xd8").decode()})
    status, _ = call(handler, {**event(content_type="application/json"), "body": body, "isBase64Encoded": False})
    assert status == 200
    assert runtime.calls[0][2] == b"\xff\xd8"


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
        (event(method="PUT"), 405),
        (event(b"x" * 1001), 413),
        (event("{}", "text/plain"), 415),
        (event(b"x", ""), 415),
    ],
)
def test_bad_request_is_rejected_before_invoke(
    handler: ModuleType, runtime: Aws, request_: dict[str, Any], status: int
) -> None:
    assert call(handler, request_)[0] == status
    assert runtime.calls == []


@pytest.mark.parametrize(
    ("given", "code", "document", "status"),
    [
        (424, "ModelError", {"OriginalStatusCode": 415, "OriginalMessage": '{"detail": "no image"}'}, 415),
        (424, "ModelError", {"OriginalStatusCode": 422, "OriginalMessage": "not json"}, 422),
        (424, "ModelError", {"OriginalStatusCode": 503}, 503),
        (424, "ModelError", {"OriginalStatusCode": 504}, 504),
        (424, "ModelError", {"OriginalStatusCode": 500}, 502),
        (424, "ModelError", {}, 502),
        (400, "ThrottlingException", {}, 429),
        (429, "TooManyRequestsException", {}, 429),
        (503, "ServiceUnavailable", {}, 503),
        (400, "ValidationError", {}, 502),
        (403, "AccessDeniedException", {}, 502),
        (500, "InternalFailure", {}, 502),
    ],
)
def test_endpoint_error_is_mapped_and_redacted(
    handler: ModuleType, runtime: Aws, given: int, code: str, document: dict[str, Any], status: int
) -> None:
    runtime.fails(given, code, **document)
    answered, problem = call(handler, event())
    assert answered == status
    assert "secret" not in json.dumps(problem)
    assert len(runtime.calls) == 1


def test_error_named_only_in_body_is_mapped(handler: ModuleType, runtime: Aws) -> None:
    runtime.status, runtime.body = 400, b'{"__type": "com.amazonaws.sagemaker#ThrottlingException"}'
    assert call(handler, event())[0] == 429


def test_overload_sets_retry_after(handler: ModuleType, runtime: Aws) -> None:
    runtime.fails(424, "ModelError", OriginalStatusCode=503)
    assert int(handler.handle(event(), context())["headers"]["retry-after"]) > 0


def test_timeout_returns_504_before_deadline(handler: ModuleType, runtime: Aws) -> None:
    runtime.after_s = 3.0
    started = time.monotonic()
    assert handler.handle(event(), context(remaining_ms=1500))["statusCode"] == 504
    assert time.monotonic() - started < 1.5


def test_unreachable_endpoint_returns_502(handler: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler._endpoint._service._connection, "port", 1)
    assert call(handler, event())[0] == 502


def test_connection_is_reused_until_closed(handler: ModuleType, runtime: Aws) -> None:
    for _ in range(3):
        assert call(handler, event())[0] == 200
    assert runtime.connections == 1
    runtime.closes = True
    for _ in range(3):
        assert call(handler, event())[0] == 200
    assert runtime.connections == 3


def test_snap_start_uses_container_credentials(
    handler: ModuleType, runtime: Aws, aws: tuple[Aws, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{aws[1]}/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a-token")
    given = {"AccessKeyId": "AKIASNAP", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
    runtime.objects["/credentials"] = json.dumps(given).encode()
    for _ in range(2):
        assert call(handler, event())[0] == 200
    (_, asked, _), (_, first, _), (_, second, _) = runtime.calls
    assert asked["authorization"] == "a-token"
    assert "AKIASNAP" in first["authorization"]
    assert "AKIASNAP" in second["authorization"]


def test_trace_id_is_forwarded_and_logged(
    handler: ModuleType, runtime: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-a")
    call(handler, event())
    assert runtime.calls[0][1]["x-amzn-trace-id"] == "Root=1-a"
    assert json.loads(capsys.readouterr().out)["trace"] == "Root=1-a"


def test_name_of_a_missing_file_is_told_and_not_logged(
    handler: ModuleType, runtime: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps({"s3": "s3://bucket/inbox/jane doe.jpg"})
    status, answer = call(handler, event(body, "application/json"))[:2]
    assert (status, "jane doe" in answer["detail"]) == (424, True)
    logged = capsys.readouterr().out
    assert json.loads(logged)["reason"] == "There is no such object in the inbox"
    assert "jane" not in logged


def test_inbox_image_reaches_endpoint(handler: ModuleType, runtime: Aws) -> None:
    runtime.objects["/bucket/inbox/my bee+1.jpg"] = b"\xff\xd8"
    body = json.dumps({"s3": "s3://bucket/inbox/my bee+1.jpg"})
    assert call(handler, event(body, "application/json"))[0] == 200
    (path, headers, _), (_, _, sent) = runtime.calls
    assert path == "/bucket/inbox/my%20bee%2B1.jpg"
    assert "/s3/aws4_request" in headers["authorization"]
    assert sent == b"\xff\xd8"


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("s3://bucket/inbox/missing.jpg", 424),
        ("s3://bucket/inbox/large.jpg", 413),
        ("s3://bucket/inbox/", 400),
        ("s3://bucket/datasets/a.jpg", 400),
        ("s3://other/inbox/a.jpg", 400),
        ("s3://bucket", 400),
        ("https://bucket/inbox/a.jpg", 400),
        ("s3://bucket/inbox/" + "a" * 2000, 400),
        ("s3://bucket/inbox/../datasets/a.jpg", 400),
        ("s3://bucket/inbox/a/./../../b.jpg", 400),
        ("", 400),
    ],
)
def test_rejected_s3_uri_returns_matching_status(handler: ModuleType, runtime: Aws, uri: str, status: int) -> None:
    runtime.objects["/bucket/inbox/large.jpg"] = bytes(1001)
    assert call(handler, event(json.dumps({"s3": uri}), "application/json"))[0] == status
    assert all(path.startswith("/bucket/inbox/") for path, _, _ in runtime.calls)


@pytest.mark.parametrize("url", ["https://127.0.0.1/a.jpg", "http://images.example/a.jpg", "https://10.0.0.1/"])
def test_forbidden_url_is_rejected(handler: ModuleType, runtime: Aws, url: str) -> None:
    assert call(handler, event(json.dumps({"url": url}), "application/json"))[0] in (400, 424)
    assert runtime.calls == []


def test_model_server_detail_is_forwarded(handler: ModuleType, runtime: Aws) -> None:
    runtime.fails(424, "ModelError", OriginalStatusCode=422, OriginalMessage='{"detail": "it is damaged"}')
    assert call(handler, event())[1]["detail"] == "it is damaged"


def test_invalid_endpoint_answer_returns_502(handler: ModuleType, runtime: Aws) -> None:
    for runtime.body in (b"<html>", b"[]", b"{}", b"null"):
        assert call(handler, event())[0] == 502


def test_log_has_metrics_and_no_image_or_secret(
    handler: ModuleType, runtime: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    call(handler, event(b"IMAGEBYTES"))
    runtime.fails(403, "AccessDeniedException")
    call(handler, event(b"IMAGEBYTES"))
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert set(first) == {
        *("request_id", "trace", "status", "bytes", "Stage", "Requests", "Status2xx", "Latency", "EndpointLatency"),
        *("ColdStarts", "_aws"),
    }
    named = {metric["Name"] for metric in first["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert named == {"Requests", "Status2xx", "Latency", "EndpointLatency", "ColdStarts"}
    assert "AccessDeniedException" in second["reason"]
    assert "ColdStarts" not in second
    text = json.dumps([first, second])
    assert "IMAGE" not in text
    assert base64.b64encode(b"IMAGE").decode()[:8] not in text
    assert "secret" not in text


def test_health_and_openapi_are_served(handler: ModuleType) -> None:
    assert call(handler, event(method="GET", path="/health")) == (200, {"status": "ok", "request_id": "r-1"})
    answer = handler.handle(event(method="GET", path="/openapi.json"), context())
    assert json.loads(answer["body"])["openapi"] == "3.1.0"


def test_page_csp_allows_only_same_origin(handler: ModuleType) -> None:
    answer = handler.handle(event(method="GET"), context())
    assert answer["headers"]["content-type"].startswith("text/html")
    policy = dict(part.split(" ", 1) for part in answer["headers"]["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    assert policy["script-src"].startswith("'sha256-")
    assert "unsafe" not in json.dumps(policy)
    assert not re.findall(r"(?:src|href)=\"(?!data:)", answer["body"])
    assert 'Number("1000")' in answer["body"]


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/health", 200), ("/admin", 404)])
def test_head_returns_no_body(handler: ModuleType, path: str, status: int) -> None:
    got, head = (handler.handle(event(method=method, path=path), context()) for method in ("GET", "HEAD"))
    assert head == {**got, "body": "", "isBase64Encoded": False}
    assert head["statusCode"] == status


def test_disabled_page_returns_405(handler: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGE", "off")
    sys.modules.pop("classifier.handler")
    assert call(importlib.import_module("classifier.handler"), event(method="GET"))[0] == 405
