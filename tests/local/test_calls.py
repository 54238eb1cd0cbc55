"""The URL's answers to everything that is not a good picture, and to a model server that dies."""

import os
import signal
import time

import pytest

from environment import Environment, encoded

pytestmark = pytest.mark.slow

RECOVERY_S = 90


def test_given_base64_json_when_posted_then_it_is_answered_as_the_bytes_are(deployed: Environment) -> None:
    url, picture = deployed.url(), deployed.picture()
    plain, wrapped = url.call(picture, "image/jpeg"), url.call(encoded(picture), "application/json")
    assert (plain.status, wrapped.status) == (200, 200)
    assert plain.document["predictions"] == wrapped.document["predictions"]
    assert set(plain.document) == {"predictions", "model", "request_id"}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"a text", "text/plain", 415),
        (b"a text", "image/jpeg", 415),
        (b"\xff" * 7_000_000, "image/jpeg", 413),
    ],
)
def test_given_a_bad_body_when_posted_then_a_problem_document_says_why(
    deployed: Environment, body: bytes, content_type: str, status: int
) -> None:
    answer = deployed.url().call(body, content_type)
    assert answer.status == status
    assert answer.document["detail"] or answer.document["Message"]


def test_given_a_damaged_picture_when_posted_then_it_is_unprocessable(deployed: Environment) -> None:
    picture = deployed.picture()
    answer = deployed.url().call(picture[: len(picture) // 2], "image/jpeg")
    assert answer.status == 422
    assert "damaged" in answer.document["detail"]


def test_given_a_number_of_classes_when_asked_for_then_so_many_come_back(deployed: Environment) -> None:
    assert len(deployed.url().call(deployed.picture(), "image/jpeg", top_k=1).document["predictions"]) == 1


def test_given_a_killed_model_server_when_called_then_503_comes_back_and_then_the_server(deployed: Environment) -> None:
    url, servers = deployed.url(), deployed.servers()
    assert servers
    for group in {os.getpgid(server.pid) for server in servers}:
        os.killpg(group, signal.SIGKILL)
    answer = url.call(deployed.picture(), "image/jpeg")
    assert answer.status == 503
    assert answer.document["title"] == "Service Unavailable"
    assert answer.document["request_id"]

    deadline = time.monotonic() + RECOVERY_S
    while url.call(deployed.picture(), "image/jpeg").status != 200:
        assert time.monotonic() < deadline, "the server was not started again"
        time.sleep(0.5)
