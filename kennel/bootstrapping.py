"""Preparing an account and region: the policies that hold deploys and roles, then a CDK bootstrap of Kennel's own.

Its qualifier and its toolkit stack are named in cdk.json. CDK's default ones belong to every CDK app of the account:
with them, the policies of this module would be the only ones that other apps could deploy with.
"""

import json
from dataclasses import dataclass
from typing import Any

from kennel.deployment import Deployment, cdk_json
from kennel.execution_policy import boundary_name, boundary_policy, execution_policies

# Of a managed policy; the oldest goes for a sixth.
MAX_VERSIONS = 5
EXECUTION = "kennel-execution"


@dataclass(frozen=True)
class Target:
    """An account and region, and the documents of the policies that Kennel needs there, by their ARN."""

    account: str
    region: str
    boundary: dict[str, dict[str, Any]]
    execution: dict[str, dict[str, Any]]

    @property
    def assets_bucket(self) -> str:
        """The name of the bootstrap's bucket, which outlives its stack."""
        return f"cdk-{qualifier()}-assets-{self.account}-{self.region}"

    @property
    def policies(self) -> dict[str, dict[str, Any]]:
        """All of them."""
        return {**self.boundary, **self.execution}


def qualifier() -> str:
    """The part of the names of the bootstrap's roles and bucket that tells ours from those of other CDK apps."""
    return str(cdk_json()["context"]["@aws-cdk/core:bootstrapQualifier"])


def toolkit_stack() -> str:
    """The name of the bootstrap's stack."""
    return str(cdk_json()["toolkitStackName"])


def target(deployment: Deployment) -> Target:
    """Where the stage is, by its region and the caller's account."""
    identity = deployment.client("sts").get_caller_identity()
    account, partition, region = str(identity["Account"]), identity["Arn"].split(":")[1], deployment.region
    prefix = f"arn:{partition}:iam::{account}:policy/"
    documents = execution_policies(partition, region, account)
    return Target(
        account,
        region,
        {prefix + boundary_name(region): boundary_policy(partition, region, account)},
        {f"{prefix}{EXECUTION}-{region}-{number}": document for number, document in enumerate(documents, 1)},
    )


def prepare(deployment: Deployment) -> tuple[str, list[str]]:
    """Makes or changes the policies; returns what `cdk bootstrap` takes: environment, and its arguments.

    Without an administrator: CloudFormation deploys with the policies of kennel/execution_policy.py.
    """
    place, iam = target(deployment), deployment.client("iam")
    for arn, document in place.policies.items():
        _put(iam, arn, document)
    # Without an app it synthesizes nothing, and can run beside another cdk command.
    names = ["--app", "", "--qualifier", qualifier(), "--toolkit-stack-name", toolkit_stack()]
    policies = ["--cloudformation-execution-policies", ",".join(place.execution)]
    return f"aws://{place.account}/{place.region}", [*names, *policies]


def present(iam: Any, arn: str) -> dict[str, Any] | None:
    """The document of a policy as the account has it, None if it has none."""
    try:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    except iam.exceptions.NoSuchEntityException:
        return None
    document: dict[str, Any] = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    return document


def _put(iam: Any, arn: str, document: dict[str, Any]) -> None:
    described, text = present(iam, arn), json.dumps(document, separators=(",", ":"))
    if described == document:
        return
    if described is None:
        name = arn.rpartition("/")[2]
        iam.create_policy(
            PolicyName=name, PolicyDocument=text, Description="Made by `make bootstrap` of Kennel: change it there"
        )
        return
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    if len(versions) >= MAX_VERSIONS:
        oldest = min((item for item in versions if not item["IsDefaultVersion"]), key=lambda item: item["CreateDate"])
        iam.delete_policy_version(PolicyArn=arn, VersionId=oldest["VersionId"])
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)
