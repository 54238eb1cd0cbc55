"""The promoted model package: the SSM parameter that the Serving stack reads at deploy."""

import json
from typing import Any

from botocore.exceptions import ClientError

from kennel.deployment import PACKAGES_PREFIX, Deployment
from kennel.errors import KennelError

DESCRIPTION = "model.json"


def promoted(deployment: Deployment) -> str | None:
    """The prefix of the promoted package, or none."""
    try:
        answer = deployment.client("ssm").get_parameter(Name=deployment.model_parameter)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ParameterNotFound":
            return None
        raise
    return str(answer["Parameter"]["Value"])


def promote(deployment: Deployment, job: str | None) -> tuple[str, dict[str, Any]]:
    """Promotes the package of `job`, or the newest one; returns its prefix and its model.json."""
    bucket = deployment.output("Data", "ModelBucket")
    key = f"{PACKAGES_PREFIX}{job}/output/model/{DESCRIPTION}" if job else _newest(deployment, bucket)
    description = _describe(deployment, bucket, key)
    uri = f"s3://{bucket}/{key.removesuffix(DESCRIPTION)}"
    deployment.client("ssm").put_parameter(
        Name=deployment.model_parameter,
        Value=uri,
        Type="String",
        Overwrite=True,
        Description="The promoted model package; written by kennel promote, read by the Serving stack",
    )
    return uri, description


def promote_previous(deployment: Deployment) -> tuple[str, dict[str, Any]]:
    """Promotes the package that was promoted before the present one."""
    present = promoted(deployment)
    if present is None:
        raise KennelError("No model was ever promoted: run `kennel train`, then `kennel promote`.")
    pages = deployment.client("ssm").get_paginator("get_parameter_history").paginate(Name=deployment.model_parameter)
    values = [str(version["Value"]) for page in pages for version in page["Parameters"]]
    earlier = [value for value in values if value != present]
    if not earlier:
        raise KennelError(f"{present} is the only model that was ever promoted: there is none to go back to.")
    return promote(deployment, earlier[-1].split(PACKAGES_PREFIX)[1].partition("/")[0])


def _newest(deployment: Deployment, bucket: str) -> str:
    pages = deployment.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PACKAGES_PREFIX)
    packages = [
        (item["LastModified"], item["Key"])
        for page in pages
        for item in page.get("Contents", [])
        if item["Key"].endswith(f"/{DESCRIPTION}")
    ]
    if not packages:
        raise KennelError("There is no model package yet: run `kennel train`.")
    return str(max(packages)[1])


def _describe(deployment: Deployment, bucket: str, key: str) -> dict[str, Any]:
    try:
        answer = deployment.client("s3").get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
            raise
        raise KennelError(f"No model package at s3://{bucket}/{key}: name a completed training job.") from None
    document: dict[str, Any] = json.load(answer["Body"])
    return document
