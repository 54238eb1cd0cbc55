"""Model packages in the bucket: where they are, what they say of themselves."""

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.names import PACKAGES_PREFIX, PROMOTED_PREFIX
from kennel.errors import KennelError
from kennel.stage.deployed import DeployedStage, split_uri

DESCRIPTION, REPORT = "model.json", "report.html"
AT_ONCE = 16
CHUNK_BYTES = 1 << 20


def uri(deployment: DeployedStage, run: str) -> str:
    """The prefix of the package that the training job or EC2 run `run` leaves."""
    return f"s3://{deployment.output('Data', 'ModelBucket')}/{key(run)}"


def key(run: str) -> str:
    """The same, without the bucket."""
    return f"{PACKAGES_PREFIX}{run}/output/model/"


def promote(deployment: DeployedStage, run: str, *, archived: bool) -> str:
    """Copies the package of `run`, compared with its hashes, to where no job can write; returns the copy's address.

    The report stays where it is. The address is s3://BUCKET/promoted/SHA256/RUN/, with the SHA-256 of the package's
    model.json; if it is `archived`, RUN.tar.gz beside it.
    Raises KennelError, with everything that differs.
    """
    client, bucket = deployment.client("s3"), deployment.output("Data", "ModelBucket")
    versions = _compared(client, bucket, run, read(deployment, run, DESCRIPTION))
    digest = versions[DESCRIPTION].digest
    target = f"{PROMOTED_PREFIX}{digest}/{run}/"

    def copy(name: str) -> None:
        # The version that was compared, whatever a job writes in the meantime.
        source = {"Bucket": bucket, "Key": f"{key(run)}{name}", "VersionId": versions[name].version}
        client.copy_object(Bucket=bucket, Key=f"{target}{name}", CopySource=source)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(copy, versions))
    if not archived:
        return f"s3://{bucket}/{target}"
    _archive(client, bucket, target, versions)
    return f"s3://{bucket}/{target.rstrip('/')}.tar.gz"


@dataclass(frozen=True)
class _Version:
    digest: str
    version: str


def _compared(client: Any, bucket: str, run: str, description: bytes) -> dict[str, _Version]:
    """The files of a package by name, each in the version whose hash is that in `description`, its model.json."""
    prefix = key(run)
    hashes = _document(description, repr(run)).get("sha256")
    if not isinstance(hashes, dict):
        raise KennelError(f"The {DESCRIPTION} of {run!r} has no file hashes: promote another run, or train again.")
    hashes.pop(REPORT, None)  # of packages that earlier versions made
    wanted = {DESCRIPTION: hashlib.sha256(description).hexdigest(), **hashes}
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    names = [item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", [])]
    # Nothing serves it, and images can be erased from the one that is left.
    names = [name for name in names if name != REPORT]
    there = [name for name in names if name in wanted]

    def fetch(name: str) -> _Version:
        answer, digest = client.get_object(Bucket=bucket, Key=f"{prefix}{name}"), hashlib.sha256()
        for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
            digest.update(chunk)
        return _Version(digest.hexdigest(), answer["VersionId"])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(there, pool.map(fetch, there), strict=True))
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    wrong += [f"{name} was changed" for name in found if found[name].digest != wanted[name]]
    wrong += [f"{name} was added" for name in names if name not in wanted]
    if wrong:
        raise KennelError(
            f"The package of {run!r} differs from what its training wrote: {'; '.join(wrong)}. Promote another run, or "
            "train again; docs/security.md lists who can write packages."
        )
    return found


def _archive(client: Any, bucket: str, prefix: str, names: Iterable[str]) -> None:
    """Writes a gzipped tar archive of a promoted package beside it; serverless endpoints take no other."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for name in names:
                answer, member = client.get_object(Bucket=bucket, Key=f"{prefix}{name}"), tarfile.TarInfo(name)
                member.size = answer["ContentLength"]
                tar.addfile(member, answer["Body"])
        file.seek(0)
        client.upload_fileobj(file, bucket, f"{prefix.rstrip('/')}.tar.gz")


def newest(deployment: DeployedStage) -> str:
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
        raise KennelError("No model package exists yet: run `kennel train`.")
    return str(max(packages)[1]).removeprefix(PACKAGES_PREFIX).partition("/")[0]


def read(deployment: DeployedStage, run: str, file: str) -> bytes:
    """A file of the package of `run`; raises KennelError if it is not there."""
    return _read(deployment, deployment.output("Data", "ModelBucket"), f"{key(run)}{file}", repr(run))


def describe(deployment: DeployedStage, run: str) -> dict[str, Any]:
    """The package's model.json."""
    return _document(read(deployment, run, DESCRIPTION), repr(run))


def digest(deployment: DeployedStage, run: str) -> str:
    """The SHA-256 of the package's model.json, which has those of its other files."""
    return hashlib.sha256(read(deployment, run, DESCRIPTION)).hexdigest()


def description(deployment: DeployedStage, uri: str) -> dict[str, Any]:
    """The model.json of the promoted package at `uri`, its prefix or archive."""
    bucket, place = split_uri(uri)
    prefix = f"{place.removesuffix('.tar.gz').rstrip('/')}/"
    return _document(_read(deployment, bucket, f"{prefix}{DESCRIPTION}", uri), uri)


def _document(data: bytes, whose: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise KennelError(f"The {DESCRIPTION} of {whose} is not JSON ({error}): name another run.") from None
    if not isinstance(found, dict):
        raise KennelError(f"The {DESCRIPTION} of {whose} is not an object: name another run.")
    return found


def _read(deployment: DeployedStage, bucket: str, file: str, whose: str) -> bytes:
    try:
        answer = deployment.client("s3").get_object(Bucket=bucket, Key=file)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
            raise
        raise KennelError(f"No model package of {whose} (s3://{bucket}/{file}): name a completed run.") from None
    return bytes(answer["Body"].read())


def save_report(deployment: DeployedStage, run: str, file: Path) -> Path:
    """Writes the package's report to `file`."""
    content = read(deployment, run, REPORT)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file
