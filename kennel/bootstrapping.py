"""Preparing an account and region: the policies that hold deploys and roles, then CDK's own bootstrap."""

import json
from typing import Any

from kennel.deployment import Deployment
from kennel.execution_policy import boundary_name, boundary_policy, execution_policies

# Of a managed policy; the oldest goes for a sixth.
MAX_VERSIONS = 5


def prepare(deployment: Deployment) -> tuple[str, list[str]]:
    """Makes or changes the policies; returns what `cdk bootstrap` takes: environment, and its arguments.

    Without an administrator: CloudFormation deploys with the policies of kennel/execution_policy.py.
    """
    identity = deployment.client("sts").get_caller_identity()
    account, partition, region = identity["Account"], identity["Arn"].split(":")[1], deployment.region
    iam = deployment.client("iam")

    def put(name: str, document: dict[str, Any]) -> str:
        arn = f"arn:{partition}:iam::{account}:policy/{name}"
        _put(iam, arn, name, json.dumps(document, separators=(",", ":")))
        return arn

    put(boundary_name(region), boundary_policy(partition, region, account))
    documents = execution_policies(partition, region, account)
    arns = [put(f"kennel-execution-{region}-{number}", document) for number, document in enumerate(documents, 1)]
    return f"aws://{account}/{region}", ["--cloudformation-execution-policies", ",".join(arns)]


def _put(iam: Any, arn: str, name: str, document: str) -> None:
    try:
        present = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    except iam.exceptions.NoSuchEntityException:
        iam.create_policy(
            PolicyName=name, PolicyDocument=document, Description="Made by `make bootstrap` of Kennel: change it there"
        )
        return
    described = iam.get_policy_version(PolicyArn=arn, VersionId=present)["PolicyVersion"]["Document"]
    if described == json.loads(document):
        return
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    if len(versions) >= MAX_VERSIONS:
        oldest = min((item for item in versions if not item["IsDefaultVersion"]), key=lambda item: item["CreateDate"])
        iam.delete_policy_version(PolicyArn=arn, VersionId=oldest["VersionId"])
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)
