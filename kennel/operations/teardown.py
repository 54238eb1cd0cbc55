"""Deletion of a stage: blockers, its stacks in their order, leftovers outside of stacks; and a list of what is kept.

CloudFormation deletes each stack in the role that deployed it. Nothing is read from cdk.json but the region and whether
the stage keeps its data, so that a stage goes that cannot be synthesized or was deployed by half.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from infra import names
from kennel.errors import KennelError
from kennel.stage.deployed import DeployedStage

# Each needs the ones after it.
ORDER = names.PARTS[::-1]
# CloudFormation waits for CloudFront, endpoints and network interfaces.
TIMEOUT_S = 3600
POLL_S = 2.0
KEPT_BY = ("Retain", "RetainExceptOnCreate")
BUCKET, KEY, POLICY = "AWS::S3::Bucket", "AWS::KMS::Key", "AWS::IAM::ManagedPolicy"
# The limit of S3's DeleteObjects.
MOST_OBJECTS = 1000

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Resource:
    """A resource of a stack: its type, its physical id, and whether it outlives the stack."""

    kind: str
    name: str
    kept: bool


@dataclass(frozen=True)
class Inventory:
    """The inventory of a stage: its stacks in the order of their deletion, and the leftovers beside them."""

    stacks: dict[str, list[Resource]]
    parameters: list[str]
    log_groups: list[str]
    # True if the stage keeps its data, and so the leftovers beside its stacks, too.
    retains: bool

    def __bool__(self) -> bool:
        return bool(self.stacks or self.parameters or self.log_groups)

    @property
    def kept(self) -> list[str]:
        """The kept resources, in words."""
        resources = [
            f"{resource.kind.removeprefix('AWS::')} {resource.name}"
            for found in self.stacks.values()
            for resource in found
            if resource.kept
        ]
        beside = [
            *(f"parameter {name}" for name in self.parameters),
            *(f"log group {name}" for name in self.log_groups),
        ]
        return [*resources, *(beside if self.retains else [])]

    @property
    def scheduled(self) -> list[str]:
        """The keys that AWS deletes only after a waiting time."""
        return [item.name for found in self.stacks.values() for item in found if item.kind == KEY and not item.kept]


def inventory(deployment: DeployedStage) -> Inventory:
    """Looks at what there is of a stage, whatever became of its deploys."""
    client = deployment.client("cloudformation")
    stacks = {}
    for part in ORDER:
        name = names.stack(deployment.stage, part)
        if _state(client, name) not in (None, "DELETE_COMPLETE"):
            stacks[name] = list(_resources(client, name))
    logs = deployment.client("logs")
    managed = {item.name for found in stacks.values() for item in found}
    prefixes = (
        names.log_group(deployment.stage, ""),
        f"/aws/lambda/{names.stack(deployment.stage, '')}",
        names.endpoint_log_group(names.resource(deployment.stage, "")),
    )
    groups = [
        name
        for prefix in prefixes
        for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix)
        for name in _own(page["logGroups"], "logGroupName", prefix)
    ]
    pages = deployment.client("ssm").get_paginator("get_parameters_by_path")
    path = names.parameter(deployment.stage, "")
    parameters = [
        name for page in pages.paginate(Path=path, Recursive=True) for name in _own(page["Parameters"], "Name", path)
    ]
    return Inventory(
        stacks,
        [name for name in parameters if name not in managed],
        [name for name in groups if name not in managed],
        deployment.settings.retain_data,
    )


def destroy(deployment: DeployedStage, found: Inventory, progress: Progress) -> None:
    """Takes all of `found` away but what it keeps. Raises KennelError with the reasons where a stack cannot go."""
    _stop_jobs(deployment, progress)
    _remove_of_notebooks(deployment, progress)
    for resources in found.stacks.values():
        for resource in resources:
            if resource.kind == POLICY:
                _detach(deployment.client("iam"), resource.name, progress)
    client = deployment.client("cloudformation")
    for name, resources in found.stacks.items():
        for resource in resources:
            if resource.kind == BUCKET and not resource.kept:
                # The stack's own way to empty them may be gone, or never have come.
                empty(deployment.client("s3"), resource.name, progress)
        _delete(client, name, progress)
    if found.retains:
        return
    for name in found.parameters:
        deployment.client("ssm").delete_parameter(Name=name)
    for name in found.log_groups:
        deployment.client("logs").delete_log_group(logGroupName=name)


def _own(items: list[dict[str, Any]], key: str, prefix: str) -> list[str]:
    """The names that begin with `prefix`: the service's filters look for it anywhere, or are not kept at all."""
    return [str(item[key]) for item in items if str(item[key]).startswith(prefix)]


def _state(client: Any, name: str) -> str | None:
    try:
        return str(client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        return None


def _resources(client: Any, name: str) -> Iterator[Resource]:
    body = client.get_template(StackName=name, TemplateStage="Original")["TemplateBody"]
    declared = (json.loads(body) if isinstance(body, str) else body).get("Resources", {})
    for item in client.describe_stack_resources(StackName=name)["StackResources"]:
        # A resource that was never created has no id.
        if item.get("PhysicalResourceId") and item["ResourceStatus"] != "DELETE_COMPLETE":
            policy = declared.get(item["LogicalResourceId"], {}).get("DeletionPolicy")
            yield Resource(item["ResourceType"], item["PhysicalResourceId"], policy in KEPT_BY)


def _stop_jobs(deployment: DeployedStage, progress: Progress) -> None:
    """A job would go on, be paid for, and write into buckets that are on their way."""
    client = deployment.client("sagemaker")
    prefix = names.resource(deployment.stage, "")
    named = {"NameContains": prefix, "StatusEquals": "InProgress"}
    for page in client.get_paginator("list_hyper_parameter_tuning_jobs").paginate(**named):
        for name in _own(page["HyperParameterTuningJobSummaries"], "HyperParameterTuningJobName", prefix):
            progress(f"stopping {name}")
            client.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    for page in client.get_paginator("list_training_jobs").paginate(**named):
        for name in _own(page["TrainingJobSummaries"], "TrainingJobName", prefix):
            progress(f"stopping {name}")
            client.stop_training_job(TrainingJobName=name)


def _remove_of_notebooks(deployment: DeployedStage, progress: Progress) -> None:
    """Endpoints that somebody made in the notebook cost by the hour, and no stack has them."""
    client = deployment.client("sagemaker")
    prefix = names.resource(deployment.stage, "notebook-")
    for noun, operation in (
        ("Endpoint", "list_endpoints"),
        ("EndpointConfig", "list_endpoint_configs"),
        ("Model", "list_models"),
    ):
        for page in client.get_paginator(operation).paginate(NameContains=prefix):
            for name in _own(page[f"{noun}s"], f"{noun}Name", prefix):
                progress(f"removing {name}")
                delete = {"Endpoint": "endpoint", "EndpointConfig": "endpoint_config", "Model": "model"}[noun]
                getattr(client, f"delete_{delete}")(**{f"{noun}Name": name})


def _detach(client: Any, arn: str, progress: Progress) -> None:
    """Detaches the callers' policy from everyone: CloudFormation could not delete it otherwise."""
    try:
        attached = client.list_entities_for_policy(PolicyArn=arn)
    except client.exceptions.NoSuchEntityException:
        return
    for kind in ("User", "Group", "Role"):
        for entity in attached[f"Policy{kind}s"]:
            progress(f"detaching the callers' policy from {entity[f'{kind}Name']}")
            getattr(client, f"detach_{kind.lower()}_policy")(**{f"{kind}Name": entity[f"{kind}Name"]}, PolicyArn=arn)


def empty(client: Any, bucket: str, progress: Progress) -> None:
    """Deletes every version of every object of a bucket, if there is the bucket."""
    removed = 0
    try:
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, MaxKeys=MOST_OBJECTS):
            objects = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            ]
            if objects:
                answer = client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
                if errors := answer.get("Errors"):
                    raise KennelError(f"{bucket}: {errors[0]['Key']} cannot be deleted: {errors[0]['Message']}.")
                removed += len(objects)
                progress(f"{removed:,} objects of {bucket}")
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise


def _delete(client: Any, name: str, progress: Progress) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    asked, left_behind = False, list[str]()
    while True:
        state = _state(client, name)
        if state in (None, "DELETE_COMPLETE"):
            return
        progress(f"{name}: {state}")
        if not asked and not state.endswith("_IN_PROGRESS"):
            client.delete_stack(StackName=name)
            asked = True
        elif asked and state == "DELETE_FAILED":
            failed = _failed(client, name)
            # Their function is gone; what it would have done, emptying the buckets, is done.
            custom = [item["LogicalResourceId"] for item in failed if item["ResourceType"].startswith("Custom::")]
            if not custom or left_behind:
                raise KennelError(f"{name} cannot be deleted:\n{_reasons(failed)}\nFix it, then try again.")
            left_behind = custom
            client.delete_stack(StackName=name, RetainResources=custom)
        if time.monotonic() > deadline:
            raise KennelError(f"{name} is in {state} after {TIMEOUT_S // 60} minutes: see its events, then try again.")
        time.sleep(POLL_S)


def _failed(client: Any, name: str) -> list[dict[str, Any]]:
    resources = client.describe_stack_resources(StackName=name)["StackResources"]
    return [item for item in resources if item["ResourceStatus"] == "DELETE_FAILED"]


def _reasons(failed: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"  {item['LogicalResourceId']}: {item.get('ResourceStatusReason', 'no reason given')}" for item in failed[:5]
    )
