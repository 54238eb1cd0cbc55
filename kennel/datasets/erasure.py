"""Erasing one image from a stage: datasets and inbox with all their versions, feature caches, captures, reports.

An image is known by the SHA-256 of its file; copies that were scaled or compressed again are other images.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.names import CAPTURES_PREFIX, CHECKPOINTS_PREFIX, DATASETS_PREFIX, INBOX_PREFIX, PACKAGES_PREFIX
from kennel.errors import KennelError
from kennel.models.packages import AT_ONCE, REPORT
from kennel.stage.deployed import DeployedStage

MANIFEST = "/manifest.json"
DIGEST = re.compile(r"[0-9a-f]{64}")
# A thumbnail in training/export/report.html.jinja, with its image's digest.
FIGURE = r'<figure data-image="{digest}">.*?</figure>'
WITHOUT_DIGESTS = re.compile(r"<figure><img ")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Image:
    """The image to erase; `size` in bytes, if its file is at hand, spares reading files of other sizes."""

    digest: str
    size: int | None = None


@dataclass(frozen=True)
class Found:
    """One thing that holds the image, and how it is erased: by deleting versions, or by writing it without."""

    what: str
    bucket: str
    # Key and version.
    versions: list[tuple[str, str]]
    # The content without the image, for a key; only where the newest version had it.
    rewritten: tuple[str, bytes] | None = None


@dataclass
class Erasure:
    """Places that hold the image, and what erasing it leaves, in words."""

    found: list[Found] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)


def image_of(given: str) -> Image:
    """From the path of a file, or a SHA-256 in hexadecimal digits. Raises KennelError for anything else."""
    path = Path(given)
    if path.is_file():
        data = path.read_bytes()
        return Image(hashlib.sha256(data).hexdigest(), len(data))
    if DIGEST.fullmatch(given.lower()):
        return Image(given.lower())
    raise KennelError(f"{given!r} is neither a file nor a SHA-256 of 64 hexadecimal digits: give the image's file.")


def search(deployment: DeployedStage, image: Image, progress: Progress) -> Erasure:
    """Looks for the image; `progress` gets (objects read, of how many). Reads only."""
    s3, erasure = deployment.client("s3"), Erasure()
    datasets, models = (deployment.output("Data", f"{name}Bucket") for name in ("Dataset", "Model"))
    images = [
        version
        for prefix in (DATASETS_PREFIX, INBOX_PREFIX)
        for version in _versions(s3, datasets, prefix)
        if image.size in (None, version["Size"])
    ]
    others = [
        version
        for prefix, ending in ((CHECKPOINTS_PREFIX, MANIFEST), (CAPTURES_PREFIX, ".jsonl"), (PACKAGES_PREFIX, REPORT))
        for version in _versions(s3, models, prefix)
        if version["Key"].endswith(ending)
    ]
    done = 0

    def read(bucket: str, versions: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], bytes]]:
        nonlocal done

        def body(version: dict[str, Any]) -> bytes:
            answer = s3.get_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
            return bytes(answer["Body"].read())

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, len(versions), AT_ONCE):
                batch = versions[start : start + AT_ONCE]
                for version, data in zip(batch, pool.map(body, batch), strict=True):
                    done += 1
                    progress(done, len(images) + len(others))
                    yield version, data

    same = [version for version, data in read(datasets, images) if hashlib.sha256(data).hexdigest() == image.digest]
    for key in dict.fromkeys(version["Key"] for version in same):
        versions = [(key, version["VersionId"]) for version in same if version["Key"] == key]
        erasure.found.append(Found(f"s3://{datasets}/{key}", datasets, versions))
    for version, data in read(models, others):
        _in_models(erasure, models, version, data, image, lambda prefix: _versions(s3, models, prefix))
    erasure.remains += [
        "models that were trained with it: train again without it, and promote",
        f"the names of its objects, in access logs for log_retention_days and a day, {_days(deployment)} in all",
    ]
    return erasure


def erase(deployment: DeployedStage, erasure: Erasure) -> None:
    """Erases what `search` found, and the delete markers of keys that nothing is left of: they keep the names."""
    s3 = deployment.client("s3")
    for found in erasure.found:
        if found.rewritten:
            s3.put_object(Bucket=found.bucket, Key=found.rewritten[0], Body=found.rewritten[1])
        for key, version in found.versions:
            s3.delete_object(Bucket=found.bucket, Key=key, VersionId=version)
        for key in {key for key, _ in found.versions}:
            page = s3.list_object_versions(Bucket=found.bucket, Prefix=key)
            if any(item["Key"] == key for item in page.get("Versions", [])):
                continue
            for marker in page.get("DeleteMarkers", []):
                if marker["Key"] == key:
                    s3.delete_object(Bucket=found.bucket, Key=key, VersionId=marker["VersionId"])


def _in_models(
    erasure: Erasure,
    bucket: str,
    version: dict[str, Any],
    data: bytes,
    image: Image,
    below: Callable[[str], list[dict[str, Any]]],
) -> None:
    key, here = version["Key"], (version["Key"], version["VersionId"])
    where = f"s3://{bucket}/{key}"
    if key.endswith(MANIFEST):
        if image.digest.encode() in data:
            # The rows of other images are computed again by the next training.
            folder = key.removesuffix(MANIFEST.lstrip("/"))
            versions = [(item["Key"], item["VersionId"]) for item in below(folder)]
            if not any(found.versions == versions for found in erasure.found):
                erasure.found.append(Found(f"s3://{bucket}/{folder} (features)", bucket, versions))
        return
    text = data.decode(errors="replace")
    without = _capture_without(text, image) if key.endswith(".jsonl") else _report_without(text, image)
    if without != text:
        new = (key, without.encode()) if version["IsLatest"] else None
        erasure.found.append(Found(where, bucket, [here], new))
    elif key.endswith(REPORT) and WITHOUT_DIGESTS.search(text):
        erasure.remains.append(f"{where}, if its thumbnails show it: an earlier Kennel did not say whose they are")


def _report_without(text: str, image: Image) -> str:
    return re.sub(FIGURE.format(digest=image.digest), "", text, flags=re.DOTALL)


def _capture_without(text: str, image: Image) -> str:
    return "\n".join(line for line in text.split("\n") if not _captures(line, image))


def _captures(line: str, image: Image) -> bool:
    try:
        given = json.loads(line)["captureData"]["endpointInput"]
        return hashlib.sha256(base64.b64decode(given["data"])).hexdigest() == image.digest
    except (ValueError, KeyError, TypeError):
        return False


def _versions(s3: Any, bucket: str, prefix: str) -> list[dict[str, Any]]:
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
    return [version for page in pages for version in page.get("Versions", [])]


def _days(deployment: DeployedStage) -> str:
    return f"{deployment.settings.log_retention_days + 2} days"
