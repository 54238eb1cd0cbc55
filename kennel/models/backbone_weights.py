"""Pretrained weights of backbones in the stage's dataset bucket, for jobs, which have no network.

One object for each file that was ever stored: weights/BACKBONE/SHA256.pt. Jobs get the newest of their backbone.
"""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.names import WEIGHTS_PREFIX
from kennel.errors import KennelError
from kennel.stage.deployed import DeployedStage
from training.settings import DEFAULT_BACKBONE, VENDORED

if TYPE_CHECKING:
    from torch import nn


def uri_for(deployment: DeployedStage, settings: dict[str, str]) -> str | None:
    """The weights for a training with these settings: an S3 URI, or None if it brings them along.

    Raises KennelError if they are not stored.
    """
    backbone = settings.get("backbone", DEFAULT_BACKBONE)
    if backbone in VENDORED or "weights" in settings:
        return None
    if found := stored(deployment).get(backbone):
        return found
    raise KennelError(
        f"There are no weights of {backbone} in the stage: run `kennel weights {backbone}`, which downloads and stores "
        f"them, or `kennel weights {backbone} FILE`."
    )


def stored(deployment: DeployedStage) -> dict[str, str]:
    """By backbone, the S3 URI of the newest weights that are stored."""
    bucket = deployment.output("Data", "DatasetBucket")
    pages = deployment.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=WEIGHTS_PREFIX)
    newest: dict[str, dict[str, Any]] = {}
    for item in (item for page in pages for item in page.get("Contents", [])):
        backbone = item["Key"].removeprefix(WEIGHTS_PREFIX).partition("/")[0]
        if backbone not in newest or newest[backbone]["LastModified"] < item["LastModified"]:
            newest[backbone] = item
    return {backbone: f"s3://{bucket}/{item['Key']}" for backbone, item in newest.items()}


def loaded(backbone: str, file: Path | None) -> "nn.Module":
    """The backbone with the weights in a file (of torch.save or safetensors), or downloaded without one.

    Raises KennelError if there is no such backbone, or if the weights are not those of it.
    """
    from training.model import backbones

    try:
        return backbones.named(backbone).load(str(file) if file else backbones.HUB)
    except backbones.WeightsError as error:
        raise KennelError(f"{error}.") from None


def store(deployment: DeployedStage, backbone: str, network: "nn.Module") -> str:
    """Stores the weights of a network; returns their S3 URI."""
    import torch

    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    bucket, key = deployment.output("Data", "DatasetBucket"), f"{WEIGHTS_PREFIX}{backbone}/{digest}.pt"
    buffer.seek(0)
    deployment.client("s3").upload_fileobj(buffer, bucket, key)
    return f"s3://{bucket}/{key}"
