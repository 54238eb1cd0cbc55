"""SageMaker's transfers between S3 and the folders of a container, with the credentials of the role."""

import shutil
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3

from kennel.local.sagemaker.s3_uri import split_uri

# Objects that are downloaded at the same time.
AT_ONCE = 8
COPIED_BYTES = 2**20


def download(session: boto3.Session, endpoint: str, uri: str, folder: Path) -> int:
    """Copies every object whose key starts with that of `uri` into `folder`, and counts them."""
    client: Any = session.client("s3", endpoint_url=endpoint)
    bucket, prefix = split_uri(uri)
    targets: dict[str, Path] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            # The prefix up to its last slash is not part of the path, as in SageMaker.
            relative = item["Key"][prefix.rfind("/") + 1 :]
            if prefix and not prefix.endswith("/") and relative.startswith(f"{prefix.rpartition('/')[2]}/"):
                relative = relative.partition("/")[2]
            if relative and not relative.endswith("/"):
                targets[item["Key"]] = folder / relative

    def fetch(key: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not download_file, which asks for the size of each object first.
        with target.open("wb") as file:
            shutil.copyfileobj(client.get_object(Bucket=bucket, Key=key)["Body"], file, COPIED_BYTES)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return len(list(pool.map(fetch, targets.keys(), targets.values())))


def download_archive(session: boto3.Session, endpoint: str, uri: str, folder: Path) -> int:
    """Unpacks the gzipped tar archive `uri` into `folder`, and counts what was in it."""
    packed = folder.with_suffix(".packed")
    if not download(session, endpoint, uri, packed):
        return 0
    with tarfile.open(next(packed.iterdir())) as tar:
        tar.extractall(folder, filter="data")
        count = len(tar.getmembers())
    shutil.rmtree(packed)
    return count


def upload(
    session: boto3.Session, endpoint: str, folder: Path, uri: str, wanted: Callable[[Path], bool] = lambda file: True
) -> None:
    """Copies every wanted file of `folder` to the prefix `uri`; `wanted` is called just before each file's turn.

    One that is replaced or deleted in the meantime is passed over.
    """
    client: Any = session.client("s3", endpoint_url=endpoint)
    bucket, prefix = split_uri(uri)
    for file in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):
            if file.is_file() and wanted(file):
                client.upload_file(str(file), bucket, f"{prefix.rstrip('/')}/{file.relative_to(folder).as_posix()}")


def upload_archive(session: boto3.Session, endpoint: str, folder: Path, uri: str) -> None:
    """Copies `folder` to the object `uri` as a gzipped tar archive."""
    archive = folder.with_suffix(".tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=".")
    bucket, key = split_uri(uri)
    session.client("s3", endpoint_url=endpoint).upload_file(str(archive), bucket, key)
