"""The model server's answers, with a predictor that needs no model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import server
from drawing import encode, gradient
from starlette.testclient import TestClient

from images import decode
from predictor import damaged_files


class Decoding:
    """A predictor that only decodes."""

    name = "none"

    def __init__(self, package: Path) -> None:
        pass

    def predict(self, data: bytes, top_k: int = 5) -> list[dict[str, Any]]:
        decode(data, 32)
        return [{"label": str(index), "probability": 0.1} for index in range(top_k)]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(server, "Predictor", Decoding)
    monkeypatch.setattr(server, "model", server.Model())
    with TestClient(server.app) as started:
        yield started


@pytest.mark.parametrize("path", ["/", "/invocations"])
def test_given_a_picture_when_posted_then_predictions_come_back(client: TestClient, jpeg: bytes, path: str) -> None:
    answer = client.post(path, content=jpeg)
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 5
    assert answer.json()["model"] == "none"


def test_given_a_number_when_posted_then_so_many_predictions_come_back(client: TestClient, jpeg: bytes) -> None:
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
def test_given_a_bad_request_when_posted_then_a_problem_document_says_why(
    client: TestClient, body: bytes, attributes: str, status: int
) -> None:
    answer = client.post("/", content=body, headers={"X-Amzn-SageMaker-Custom-Attributes": attributes})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


@pytest.mark.parametrize("path", ["/ping", "/-/healthz"])
def test_given_a_loaded_model_when_pinged_then_it_is_ready_and_not_before(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
    server.model.predictor = None
    assert client.get(path).status_code == 503


def test_given_a_full_queue_when_posted_then_the_excess_is_refused_at_once(client: TestClient, jpeg: bytes) -> None:
    server.model.waiting = server.MAX_WAITING
    answer = client.post("/", content=jpeg)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_given_a_damaged_package_when_checked_then_every_fault_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"sha256": {"a": "00", "b": "00"}}')
    (tmp_path / "a").write_text("changed")
    assert damaged_files(tmp_path) == ["a was changed", "b is missing"]
    (tmp_path / "model.json").unlink()
    assert "model.json cannot be read" in damaged_files(tmp_path)[0]
