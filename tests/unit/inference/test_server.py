"""The model server's answers, with a predictor that needs no model."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from helpers.images import encode, gradient
from inference import capacity, server
from inference.images import Preprocessing, decode
from inference.metrics import Metrics
from inference.predictor import example


class Decoding:
    """A predictor that only decodes, and can be told to hang or to fail."""

    name = variant = "none"

    def __init__(self, package: Path, threads: int) -> None:
        self.hangs = threading.Event()
        self.hangs.set()
        self.fails = False

    def predict(self, data: bytes, top_k: int = 5) -> list[dict[str, Any]]:
        self.hangs.wait(10)
        if self.fails:
            raise RuntimeError("the model is broken")
        decode(data, Preprocessing(32))
        return [{"label": str(index), "probability": 0.1} for index in range(top_k)]


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> Decoding:
    made = Decoding(Path(), 1)
    monkeypatch.setattr(server, "Predictor", lambda package, threads: made)
    monkeypatch.setattr(server, "serving", server.Serving())
    monkeypatch.setattr(capacity, "MEASURED_S", 0.05)
    return made


@pytest.fixture
def client(predictor: Decoding) -> Iterator[TestClient]:
    with TestClient(server.app) as started:
        yield started
        predictor.hangs.set()


@pytest.mark.parametrize("path", ["/", "/invocations"])
def test_image_returns_predictions(client: TestClient, jpeg: bytes, path: str) -> None:
    answer = client.post(path, content=jpeg)
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 5
    assert answer.json()["model"] == "none"


def test_top_k_limits_predictions(client: TestClient, jpeg: bytes) -> None:
    answer = client.post("/", content=jpeg, headers={"X-Amzn-SageMaker-Custom-Attributes": "top_k=2"})
    assert len(answer.json()["predictions"]) == 2


@pytest.mark.parametrize(
    ("body", "attributes", "status"),
    [
        (b"text", "", 415),
        (encode(gradient(), "JPEG")[:2000], "", 422),
        (b"x" * (server.MAX_BODY_BYTES + 1), "", 413),
        (b"text", "top_k=0", 400),
        (b"text", "top_k=-1", 400),
    ],
)
def test_bad_request_returns_problem_document(client: TestClient, body: bytes, attributes: str, status: int) -> None:
    answer = client.post("/", content=body, headers={"X-Amzn-SageMaker-Custom-Attributes": attributes})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


@pytest.mark.parametrize("path", ["/ping", "/-/healthz"])
def test_ping_returns_503_without_model(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
    server.serving.pool = None
    answer = client.get(path)
    assert (answer.status_code, answer.json()["title"]) == (503, "Not ready")


def test_ping_fails_until_model_answers_again(
    client: TestClient, predictor: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENCE_S", 0.0)
    monkeypatch.setattr(server, "HEALTH_TIMEOUT_S", 0.2)
    predictor.fails = True
    assert client.get("/ping").json()["title"] == "Failing"
    predictor.fails = False
    assert client.get("/ping").status_code == 200
    predictor.hangs.clear()
    assert client.get("/ping").json()["title"] == "Silent"
    monkeypatch.setattr(server, "HUNG_S", 0.1)
    assert client.get("/ping").json()["title"] == "Hung"
    predictor.hangs.set()
    deadline = time.monotonic() + 5
    while client.get("/ping").status_code != 200:
        assert time.monotonic() < deadline


def test_draining_server_answers_and_closes(client: TestClient, jpeg: bytes) -> None:
    server.serving.draining = True
    assert client.get("/ping").json()["title"] == "Draining"
    answer = client.post("/", content=jpeg)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_full_queue_returns_503(client: TestClient, jpeg: bytes) -> None:
    assert server.serving.pool
    server.serving.pool.capacity = 0
    answer = client.post("/", content=jpeg)
    assert (answer.status_code, answer.json()["title"]) == (503, "Overloaded")
    assert answer.headers["retry-after"] == "1"


def test_exceeded_budget_returns_504(client: TestClient, predictor: Decoding, jpeg: bytes) -> None:
    predictor.hangs.clear()
    answer = client.post("/", content=jpeg, headers={"X-Amzn-SageMaker-Custom-Attributes": "top_k=2,budget_ms=100"})
    assert (answer.status_code, answer.json()["title"]) == (504, "Too late")
    assert "0.1 s" in answer.json()["detail"]


def test_log_and_metrics_have_durations(client: TestClient, jpeg: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "kennel")
    answer = client.post("/", content=jpeg, headers={"X-Amzn-SageMaker-Inference-Id": "mine"})
    client.post("/", content=b"text")
    first, second = (json.loads(record.message) for record in caplog.records)
    assert (first["request"], first["status"], first["bytes"]) == ("mine", 200, len(jpeg))
    assert 0 < first["model_ms"] <= first["total_ms"] + 0.1
    assert answer.headers["x-amzn-sagemaker-custom-attributes"].startswith("queue_ms=")
    assert second["request"]
    assert second["status"] == 415
    line = json.loads(server.serving.metrics.line() or "")
    assert (line["Status200"], line["Status415"], line["Model"]) == (1, 1, "none")
    assert len(line["TotalTime"]) == 2
    named = {metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert named == {"Status200", "Status415", "TotalTime", "QueueTime", "ModelTime"}
    assert server.serving.metrics.line() is None


def test_capacity_is_measured_at_start_and_published(
    predictor: Decoding, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "STAGE", "dev")
    monkeypatch.setattr(server, "INSTANCE_TYPE", "ml.m5.large")
    monkeypatch.setattr(predictor, "predict", lambda data, top_k: time.sleep(0.01) or [])
    caplog.set_level("INFO", "kennel")
    with TestClient(server.app):
        ready, line = (json.loads(record.message) for record in caplog.records)
    assert 0.3 * server.THREADS / 0.01 < ready["requests_per_s"] <= server.THREADS / 0.01
    assert line["ModelCapacity"] == pytest.approx(ready["requests_per_s"], abs=0.1)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["Stage", "InstanceType"]]
    assert (line["Stage"], line["InstanceType"]) == ("dev", "ml.m5.large")
    assert directive["Metrics"] == [{"Name": "ModelCapacity", "Unit": "Count/Second"}]


def test_model_that_fails_for_a_photograph_is_still_served(
    predictor: Decoding, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    small = example()
    monkeypatch.setattr(predictor, "predict", lambda data, top_k: [] if data == small else 1 / 0)
    caplog.set_level("INFO", "kennel")
    with TestClient(server.app) as client:
        (ready,) = (json.loads(record.message) for record in caplog.records)
        assert client.get("/ping").status_code == 200
    assert ready["not_measured"] == "ZeroDivisionError('division by zero')"


@pytest.mark.parametrize(
    ("answers", "utilization", "requests_per_s"), [(0, 0.0, None), (50, 0.5, None), (98, 0.98, 9.8)]
)
def test_saturated_period_shows_the_capacity(
    monkeypatch: pytest.MonkeyPatch, answers: int, utilization: float, requests_per_s: float | None
) -> None:
    clock = iter((0.0, 10.0, 10.0, 20.0, 20.0))
    monkeypatch.setattr(capacity.time, "monotonic", lambda: next(clock))
    load = capacity.Load(threads=2)
    for _ in range(answers):
        load.add(model_ms=200)
    assert load.period() == (pytest.approx(utilization), requests_per_s and pytest.approx(requests_per_s))
    assert load.period() == (0.0, None)


def test_durations_are_sampled_to_emf_limit() -> None:
    metrics = Metrics("none", "dev", "ml.m5.large")
    for number in range(1000):
        metrics.count("Status200")
        metrics.time("TotalTime", number)
    line = json.loads(metrics.line() or "")
    assert line["Status200"] == 1000
    assert len(line["TotalTime"]) == 100
    assert max(line["TotalTime"]) > 500
