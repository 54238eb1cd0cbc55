"""The URL's answers to everything that is not a good image, and to a model server that dies."""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers import REPOSITORY
from helpers.stage import Environment, encoded

RECOVERY_S = 90
CONTRACT = REPOSITORY / "lambda/classifier/openapi.json"


def test_base64_json_matches_raw_bytes(deployed: Environment) -> None:
    url, image = deployed.url(), deployed.image()
    plain, wrapped = url.call(image, "image/jpeg"), url.call(encoded(image), "application/json")
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
def test_bad_body_returns_4xx_with_reason(deployed: Environment, body: bytes, content_type: str, status: int) -> None:
    answer = deployed.url().call(body, content_type)
    assert answer.status == status
    assert answer.document["detail"] or answer.document["Message"]


def test_damaged_image_returns_422(deployed: Environment) -> None:
    image = deployed.image()
    answer = deployed.url().call(image[: len(image) // 2], "image/jpeg")
    assert answer.status == 422
    assert "damaged" in answer.document["detail"]


def test_top_k_limits_predictions(deployed: Environment) -> None:
    assert len(deployed.url().call(deployed.image(), "image/jpeg", top_k=1).document["predictions"]) == 1


def test_inbox_image_matches_raw_bytes(
    deployed: Environment,
) -> None:
    bucket, image = deployed.output("Data", "DatasetBucket"), deployed.image()
    deployed.client("s3").put_object(Bucket=bucket, Key="inbox/my bee.jpg", Body=image)
    url = deployed.url()
    taken = url.call(json.dumps({"s3": f"s3://{bucket}/inbox/my bee.jpg"}).encode(), "application/json")
    assert taken.document.get("predictions") == url.call(image, "image/jpeg").document["predictions"], taken
    for place, status in ((f"{bucket}/inbox/none.jpg", 424), (f"{bucket}/datasets/a.jpg", 400), ("else/inbox/a", 400)):
        assert url.call(json.dumps({"s3": f"s3://{place}"}).encode(), "application/json").status == status, place


@pytest.mark.parametrize("address", ["https://localhost/", "https://127.0.0.1/", "https://169.254.169.254/latest/"])
def test_private_url_returns_424(deployed: Environment, address: str) -> None:
    answer = deployed.url().call(json.dumps({"url": address}).encode(), "application/json")
    assert (answer.status, answer.document["title"]) == (424, "Failed Dependency")
    assert "public address" in answer.document["detail"]


def test_openapi_json_is_served(deployed: Environment) -> None:
    assert deployed.url().send("GET", "/openapi.json", b"", {}).json() == json.loads(CONTRACT.read_text())


def test_readme_curl_example_works(deployed: Environment, tmp_path: Path) -> None:
    (example,) = re.findall(r"```bash\n(curl .*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    (tmp_path / "image.jpg").write_bytes(deployed.image())
    # The names of URLs do not resolve on this machine, and the embedded AWS has no certificate for them.
    (tmp_path / ".curlrc").write_text(f'connect-to = "::localhost:{deployed.server.port}"\n')
    given = {
        "URL": deployed.url().url.replace("https:", "http:"),
        "IMAGE": str(tmp_path / "image.jpg"),
        "CURL_HOME": str(tmp_path),
    }
    answer = subprocess.run(
        ["bash", "-c", example], env={**deployed.variables, **given}, capture_output=True, text=True, check=True
    )
    expected = deployed.url().call(deployed.image(), "image/jpeg", top_k=3).document["predictions"]
    assert json.loads(answer.stdout)["predictions"] == expected


def test_throttled_calls_are_retried_by_predict(deployed: Environment, tmp_path: Path) -> None:
    functions, name = deployed.client("lambda"), deployed.output("Api", "FunctionName")
    reserved = functions.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"]
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    try:
        url, image = deployed.url(), deployed.image()
        with ThreadPoolExecutor(10) as callers:
            statuses = Counter(callers.map(lambda _: url.call(image, "image/jpeg").status, range(10)))
        assert set(statuses) == {200, 429}
        assert statuses[200] >= 2
        for number in range(10):
            (tmp_path / f"{number}.jpg").write_bytes(image)
        asked = deployed.run("kennel", "predict", str(tmp_path), "--at-once", "10", "--json").stdout
        answers = [json.loads(line) for line in asked.splitlines()]
        assert [answer["status"] for answer in answers] == [200] * 10
    finally:
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=reserved)


def test_killed_model_server_returns_503_then_recovers(deployed: Environment) -> None:
    url, servers = deployed.url(), deployed.servers()
    assert servers
    for group in {os.getpgid(server.pid) for server in servers}:
        os.killpg(group, signal.SIGKILL)
    answer = url.call(deployed.image(), "image/jpeg")
    assert answer.status == 503
    assert answer.document["title"] == "Service Unavailable"
    assert answer.document["request_id"]

    deadline = time.monotonic() + RECOVERY_S
    while url.call(deployed.image(), "image/jpeg").status != 200:
        assert time.monotonic() < deadline, "the server was not started again"
        time.sleep(0.5)
