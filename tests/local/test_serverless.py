"""A serverless endpoint in place of instances: its model is an archive, and the URL answers as before."""

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from PIL import Image

from environment import Environment

pytestmark = pytest.mark.slow

MOST = 1


@pytest.fixture(scope="module")
def serverless(deployed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stage without instances; afterwards with them again."""
    project = deployed.project_copy(tmp_path_factory.mktemp("serverless") / "project")
    settings = json.loads((project / "cdk.json").read_text())
    settings["context"]["stages"]["dev"]["endpoint"] = {
        "serverless": {"max_concurrency": MOST},
        "scaling_registered_for": "none",
        "capture_percent": 0,
    }
    (project / "cdk.json").write_text(json.dumps(settings))
    # The project's own kennel: it reads the stage in its cdk.json.
    run = deployed.facts["package"].partition("packages/")[2].partition("/")[0]
    deployed.run(sys.executable, "-m", "kennel", "promote", run, cwd=project)
    deployed.deploy("Serving", "Api", cwd=project)
    yield project
    deployed.run("kennel", "promote", run)
    deployed.deploy("Serving", "Api")


def test_given_a_serverless_stage_when_deployed_then_the_url_answers_from_the_archive_without_an_instance(
    deployed: Environment, serverless: Path, tmp_path: Path
) -> None:
    assert deployed.url().call(deployed.picture(), "image/jpeg").status == 200
    sagemaker = deployed.client("sagemaker")
    config = sagemaker.describe_endpoint(EndpointName="kennel-dev-serverless")["EndpointConfigName"]
    (variant,) = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    assert variant["ServerlessConfig"]["MaxConcurrency"] == MOST
    assert [item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]] == ["kennel-dev-serverless"]

    uri = sagemaker.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]["ModelDataUrl"]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    deployed.client("s3").download_file(bucket, key, str(tmp_path / "model.tar.gz"))
    with tarfile.open(tmp_path / "model.tar.gz") as tar:
        assert {"model.json", "labels.json", "server.py"} <= set(tar.getnames())

    status = deployed.run(sys.executable, "-m", "kennel", "status", cwd=serverless).stdout
    assert "endpoint kennel-dev-serverless" in status
    assert "→" not in status


def large() -> bytes:
    """A picture that takes a while to read."""
    picture = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (75, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((4000, 3000)).save(picture, "JPEG")
    return picture.getvalue()


def test_given_more_requests_than_it_takes_when_they_come_at_once_then_the_others_are_throttled(
    deployed: Environment, serverless: Path
) -> None:
    once = Config(retries={"total_max_attempts": 1})
    runtime, picture = deployed.client("sagemaker-runtime", once), large()

    def ask(number: int) -> str:
        try:
            runtime.invoke_endpoint(EndpointName="kennel-dev-serverless", ContentType="image/jpeg", Body=picture)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "answered"

    with ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(ask, range(40)))
    assert set(outcomes) == {"answered", "ThrottlingException"}
