"""Folders of pictures to the dataset bucket."""

import importlib
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.deployment import DATASETS_PREFIX, REPOSITORY, Deployment
from kennel.errors import KennelError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
UPLOADS_AT_ONCE = 16
DELETE_BATCH = 1000


@dataclass(frozen=True)
class Pushed:
    """What a push did: the dataset's name and prefix, pictures uploaded, files left out, objects removed."""

    name: str
    uri: str
    uploaded: int
    left_out: list[Path]
    removed: int


def training_code(module: str) -> Any:
    """A module of training/, which is no package: the job's own code, so that both find the same."""
    for code in ("training", "inference"):
        if str(REPOSITORY / code) not in sys.path:
            sys.path.append(str(REPOSITORY / code))
    return importlib.import_module(module)


def check(folder: Path, seed: int, progress: Callable[[int, int], None] | None = None) -> Any:
    """The folder as the training job will read it: splits, labels, and what it will skip (training/dataset.py).

    `progress` gets (read, all). Raises KennelError, with every reason, for a folder that cannot be trained on.
    """
    dataset = training_code("dataset")
    try:
        return dataset.load(folder.resolve(), seed, progress=progress)
    except dataset.DatasetError as error:
        raise KennelError(f"{folder} cannot be trained on: {error}") from None


def name_of(folder: Path) -> str:
    """The dataset name that a folder gets unless it is given one."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "dataset"


def push(deployment: Deployment, folder: Path, name: str, progress: Callable[[int, int], None]) -> Pushed:
    """Makes the dataset `name` in the bucket the same as `folder`; `progress` gets (uploaded, total)."""
    if not NAME.fullmatch(name):
        raise KennelError(f"{name!r} is no name for a dataset: use letters, digits, '.', '_' and '-', 63 at most.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    left_out = sorted({path for path in folder.rglob("*") if path.is_file()} - set(found))
    bucket = deployment.output("Data", "DatasetBucket")
    prefix = f"{DATASETS_PREFIX}{name}/"
    s3 = deployment.client("s3")

    def upload(path: Path) -> str:
        key = f"{prefix}{path.relative_to(folder).as_posix()}"
        s3.upload_file(str(path), bucket, key)
        return key

    keys = set()
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        for count, key in enumerate(pool.map(upload, found), start=1):
            keys.add(key)
            progress(count, len(found))

    stale = sorted(
        item["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for item in page.get("Contents", [])
        if item["Key"] not in keys
    )
    for start in range(0, len(stale), DELETE_BATCH):
        batch = [{"Key": key} for key in stale[start : start + DELETE_BATCH]]
        s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
    return Pushed(name, f"s3://{bucket}/{prefix}", len(keys), left_out, len(stale))


def names(deployment: Deployment) -> list[str]:
    """The datasets in the bucket."""
    bucket = deployment.output("Data", "DatasetBucket")
    pages = deployment.client("s3").get_paginator("list_objects_v2")
    return sorted(
        item["Prefix"].removeprefix(DATASETS_PREFIX).rstrip("/")
        for page in pages.paginate(Bucket=bucket, Prefix=DATASETS_PREFIX, Delimiter="/")
        for item in page.get("CommonPrefixes", [])
    )
