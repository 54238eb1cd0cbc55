"""Folders of images to the dataset bucket."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.names import DATASETS_PREFIX
from kennel.errors import KennelError
from kennel.stage.deployed import DeployedStage
from training.data import layout

if TYPE_CHECKING:
    from training.data.dataset import Dataset

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
UPLOADS_AT_ONCE = 16
DELETE_BATCH = 1000


@dataclass(frozen=True)
class UploadResult:
    """The result of a push: the dataset's name and prefix, the number of images uploaded and of objects removed."""

    name: str
    uri: str
    uploaded: int
    removed: int


def check(folder: Path, seed: int, progress: Callable[[int, int], None] | None = None) -> "Dataset":
    """The folder as the training job will read it: splits, labels, and what it will skip (training/data/dataset.py).

    `progress` gets (read, all). Raises KennelError, with every reason, for a folder that cannot be trained on.
    """
    # numpy and the decoder are installed with what trains only.
    from training.data import dataset

    try:
        return dataset.load(folder.resolve(), seed, progress=progress)
    except dataset.DatasetError as error:
        raise KennelError(f"{folder} cannot be trained on: {error}") from None


def name_of(folder: Path) -> str:
    """The dataset name that a folder gets unless it is given one; what it cannot say of the folder's, a hash does."""
    own = unicodedata.normalize("NFC", folder.resolve().name)
    if NAME.fullmatch(own):
        return own
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", own).strip("-._")[:40] or "dataset"
    return f"{plain}-{hashlib.sha256(own.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def push(
    deployment: DeployedStage, folder: Path, name: str, progress: Callable[[int, int], None], *, replace: bool = False
) -> UploadResult:
    """Makes the dataset `name` in the bucket the same as `folder`; `progress` gets (uploaded, total).

    Raises KennelError, before anything is changed, if most of the dataset would be removed and `replace` is not set.
    """
    if not NAME.fullmatch(name):
        raise KennelError(f"{name!r} is not a valid dataset name: use at most 63 letters, digits, '.', '_' and '-'.")
    listed = layout.read(folder.resolve())
    if listed.errors:
        raise KennelError(f"{folder} cannot be trained on: {'; '.join(map(str, listed.findings))}")
    bucket = deployment.output("Data", "DatasetBucket")
    prefix = f"{DATASETS_PREFIX}{name}/"
    s3 = deployment.client("s3")
    keys = {f"{prefix}{image.name}": image.path for image in listed.images}
    there = {item["Key"] for item in objects(deployment, name)}
    stale = sorted(there - keys.keys())
    if len(stale) * 2 > len(there) and not replace:
        raise KennelError(
            f"The dataset {name} has {len(there)} images, and {len(stale)} of them are not in {folder}: is it another "
            f"dataset? Push the folder with another --name, or replace that one: kennel data push {folder} --replace"
        )

    def upload(key: str) -> None:
        s3.upload_file(str(keys[key]), bucket, key)

    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        for count, _ in enumerate(pool.map(upload, keys), start=1):
            progress(count, len(keys))
    for start in range(0, len(stale), DELETE_BATCH):
        batch = [{"Key": key} for key in stale[start : start + DELETE_BATCH]]
        s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
    return UploadResult(name, f"s3://{bucket}/{prefix}", len(keys), len(stale))


def objects(deployment: DeployedStage, name: str) -> Iterator[dict[str, Any]]:
    """The objects of a dataset, as ListObjectsV2 returns them."""
    pages = deployment.client("s3").get_paginator("list_objects_v2")
    bucket = deployment.output("Data", "DatasetBucket")
    for page in pages.paginate(Bucket=bucket, Prefix=f"{DATASETS_PREFIX}{name}/"):
        yield from page.get("Contents", [])


def names(deployment: DeployedStage) -> list[str]:
    """The datasets in the bucket."""
    bucket = deployment.output("Data", "DatasetBucket")
    pages = deployment.client("s3").get_paginator("list_objects_v2")
    return sorted(
        item["Prefix"].removeprefix(DATASETS_PREFIX).rstrip("/")
        for page in pages.paginate(Bucket=bucket, Prefix=DATASETS_PREFIX, Delimiter="/")
        for item in page.get("CommonPrefixes", [])
    )
