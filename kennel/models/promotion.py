"""The promoted model package: the SSM parameter that the Serving stack reads at deploy."""

from typing import Any

from botocore.exceptions import ClientError

from infra.names import PACKAGES_PREFIX, PROMOTED_PREFIX
from kennel.errors import KennelError
from kennel.models import packages
from kennel.stage.deployed import DeployedStage, split_uri


def promoted(deployment: DeployedStage) -> str | None:
    """The prefix or archive of the promoted package, or none."""
    try:
        answer = deployment.client("ssm").get_parameter(Name=deployment.model_parameter)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ParameterNotFound":
            return None
        raise
    return str(answer["Parameter"]["Value"])


def problem(deployment: DeployedStage) -> tuple[str, str] | None:
    """The reason why the promoted package cannot be deployed, and the remedy; None if it can."""
    stage, uri = deployment.stage, promoted(deployment)
    again = f"kennel train FOLDER --promote --stage {stage}"
    if uri is None:
        remedy = f"run `make training STAGE={stage}`, then `{again}`"
        return f"No model is promoted for stage {stage}, so Serving and Api cannot be deployed", remedy
    bucket, key = split_uri(uri)
    present = deployment.output("Data", "ModelBucket")
    if bucket != present:
        # A stage that keeps its data was destroyed and deployed again: its buckets are new.
        run = _run(key)
        return (
            f"The promoted model {uri} is in another bucket than the stage's, {present}, whose roles cannot read it",
            f"copy it: aws s3 cp --recursive s3://{bucket}/{packages.key(run)} s3://{present}/{packages.key(run)}, "
            f"then kennel promote {run} --stage {stage}; or {again}",
        )
    if not key.startswith(PROMOTED_PREFIX):
        remedy = f"kennel promote {_run(key)} --stage {stage}"
        return f"The promoted model {uri} is where jobs can write: an earlier Kennel made no copy", remedy
    if not deployment.client("s3").list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents"):
        return f"The promoted model {uri} is not there any more", f"kennel promote another one, or {again}"
    return None


def promote(deployment: DeployedStage, job: str | None) -> tuple[str, dict[str, Any]]:
    """Promotes the package of a training job or EC2 run, or the newest; returns the copy's address and its model.json.

    That is the prefix of its files, or for a stage with a serverless endpoint an archive of them. Raises KennelError
    for a package whose files are not those of its training.
    """
    run = job or packages.newest(deployment)
    serverless = deployment.settings.endpoint.serverless
    return _put(deployment, packages.promote(deployment, run, archived=bool(serverless)))


def promote_previous(deployment: DeployedStage) -> tuple[str, dict[str, Any]]:
    """Promotes the package that was promoted before the present one."""
    present = promoted(deployment)
    if present is None:
        raise KennelError("No model has been promoted: run `kennel train`, then `kennel promote`.")
    pages = deployment.client("ssm").get_paginator("get_parameter_history").paginate(Name=deployment.model_parameter)
    values = [str(version["Value"]) for page in pages for version in page["Parameters"]]
    earlier = [value for value in values if value != present]
    if not earlier:
        raise KennelError(f"{present} is the only promoted model: there is no previous one.")
    _, key = split_uri(earlier[-1])
    if not key.startswith(PROMOTED_PREFIX):
        return promote(deployment, _run(key))
    return _put(deployment, earlier[-1])


def _put(deployment: DeployedStage, uri: str) -> tuple[str, dict[str, Any]]:
    description = packages.description(deployment, uri)
    deployment.client("ssm").put_parameter(
        Name=deployment.model_parameter,
        Value=uri,
        Type="String",
        Overwrite=True,
        Description="The promoted model package; written by kennel promote, read by the Serving stack",
    )
    return uri, description


def _run(key: str) -> str:
    """The run of packages/RUN/… or promoted/SHA256/RUN…."""
    parts = key.split("/")
    return parts[1] if key.startswith(PACKAGES_PREFIX) else parts[2].removesuffix(".tar.gz")
