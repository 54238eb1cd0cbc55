"""Model packages in the bucket: where they are, what they say of themselves."""

import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from kennel.deployment import PACKAGES_PREFIX, Deployment
from kennel.errors import KennelError

DESCRIPTION, METRICS, REPORT = "model.json", "metrics.json", "report.html"


def uri(deployment: Deployment, run: str) -> str:
    """The prefix of the package that the training job or EC2 run `run` leaves."""
    return f"s3://{deployment.output('Data', 'ModelBucket')}/{key(run)}"


def key(run: str) -> str:
    """The same, without the bucket."""
    return f"{PACKAGES_PREFIX}{run}/output/model/"


def archive(deployment: Deployment, run: str) -> str:
    """The address of the package as a gzipped tar archive, which is made beside it; serverless endpoints take no other.

    Raises KennelError if there is no such package.
    """
    client, bucket = deployment.client("s3"), deployment.output("Data", "ModelBucket")
    prefix = key(run)
    packed = f"{prefix.rstrip('/')}.tar.gz"
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    member = tarfile.TarInfo(item["Key"].removeprefix(prefix))
                    member.size = item["Size"]
                    tar.addfile(member, client.get_object(Bucket=bucket, Key=item["Key"])["Body"])
        file.seek(0)
        client.upload_fileobj(file, bucket, packed)
    return f"s3://{bucket}/{packed}"


def newest(deployment: Deployment) -> str:
    """The run whose package is the newest; raises KennelError if there is no package."""
    pages = (
        deployment.client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=deployment.output("Data", "ModelBucket"), Prefix=PACKAGES_PREFIX)
    )
    packages = [
        (item["LastModified"], item["Key"])
        for page in pages
        for item in page.get("Contents", [])
        if item["Key"].endswith(f"/{DESCRIPTION}")
    ]
    if not packages:
        raise KennelError("There is no model package yet: run `kennel train`.")
    return str(max(packages)[1]).removeprefix(PACKAGES_PREFIX).partition("/")[0]


def read(deployment: Deployment, run: str, file: str) -> bytes:
    """A file of the package of `run`; raises KennelError if it is not there."""
    bucket = deployment.output("Data", "ModelBucket")
    try:
        answer = deployment.client("s3").get_object(Bucket=bucket, Key=f"{key(run)}{file}")
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
            raise
        raise KennelError(
            f"No model package of {run!r} (s3://{bucket}/{key(run)}{file}): name a completed run."
        ) from None
    return bytes(answer["Body"].read())


def describe(deployment: Deployment, run: str) -> dict[str, Any]:
    """The package's model.json."""
    document: dict[str, Any] = json.loads(read(deployment, run, DESCRIPTION))
    return document


def save_report(deployment: Deployment, run: str, file: Path) -> Path:
    """Writes the package's report to `file`."""
    content = read(deployment, run, REPORT)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file
