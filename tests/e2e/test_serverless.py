"""A serverless endpoint in place of instances: its model is an archive, and the URL answers as before."""

import io
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from PIL import Image

from helpers.kept import assembly
from helpers.stage import RUN, Environment, project_copy

pytestmark = pytest.mark.own_stage


MOST = 1


SETTINGS = {
    **dict.fromkeys(("instance_type", "fixed", "min_instances", "max_instances")),
    "serverless": {"max_concurrency": MOST},
    "scaling_target_instance_type": "none",
    "capture_percent": 0,
}


# A serverless endpoint takes 4 MB.
SMALLER = {"max_image_bytes": 4_000_000}


@pytest.fixture(scope="module")
def serverless(deployed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stage without instances: a project of its own, whose kennel reads the stage in its cdk.json."""
    project = project_copy(tmp_path_factory.mktemp("serverless") / "project", endpoint=SETTINGS, function=SMALLER)
    deployed.run(sys.executable, "-m", "kennel", "promote", RUN, cwd=project)
    deployed.deploy("Serving", "Api", app=assembly(endpoint=SETTINGS, function=SMALLER))
    return project


def test_serverless_endpoint_serves_archive(deployed: Environment, serverless: Path, tmp_path: Path) -> None:
    assert deployed.url().call(deployed.image(), "image/jpeg").status == 200
    sagemaker = deployed.client("sagemaker")
    config = sagemaker.describe_endpoint(EndpointName="kennel-dev-serverless")["EndpointConfigName"]
    (variant,) = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    assert variant["ServerlessConfig"]["MaxConcurrency"] == MOST
    assert [item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]] == ["kennel-dev-serverless"]

    uri = sagemaker.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]["ModelDataUrl"]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    deployed.client("s3").download_file(bucket, key, str(tmp_path / "model.tar.gz"))
    with tarfile.open(tmp_path / "model.tar.gz") as tar:
        assert {"model.json", "labels.json", "inference/server.py"} <= set(tar.getnames())

    status = deployed.run(sys.executable, "-m", "kennel", "status", cwd=serverless).stdout
    assert "endpoint kennel-dev-serverless" in status
    assert "→" not in status


def large() -> bytes:
    """An image that takes a while to read."""
    image = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (75, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((4000, 3000)).save(image, "JPEG")
    return image.getvalue()


def test_serverless_throttles_excess_requests(deployed: Environment, serverless: Path) -> None:
    once = Config(retries={"total_max_attempts": 1})
    runtime, image = deployed.client("sagemaker-runtime", once), large()

    def ask(number: int) -> str:
        try:
            runtime.invoke_endpoint(EndpointName="kennel-dev-serverless", ContentType="image/jpeg", Body=image)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "answered"

    with ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(ask, range(40)))
    assert set(outcomes) == {"answered", "ThrottlingException"}
