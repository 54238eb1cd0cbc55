"""Preparing an account and region for a stage: policies that hold deploys and roles, and a CDK bootstrap of its own.

The stage has its own qualifier, toolkit stack and policies, so that who deploys one stage cannot change another, and
the account's other CDK apps keep theirs. CDK's template lets its deploy role change every stack of the account, by the
role that the stack was last deployed with: ours lets it change the stage's stacks alone.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.bootstrap.execution_policy import QUALIFIER, Place, boundary_name, boundary_policy, execution_policies
from infra.bootstrap.execution_policy import qualifier as qualifier_of
from kennel.errors import KennelError
from kennel.stage.deployed import REPOSITORY, DeployedStage, cdk_json

# IAM keeps five versions of a managed policy: a sixth replaces the oldest.
MAX_VERSIONS = 5
TEMPLATE = REPOSITORY / "node_modules" / "aws-cdk" / "lib" / "api" / "bootstrap" / "bootstrap-template.yaml"
# The last of the actions that CDK's template lets its deploy role do to every stack, of each statement. (Whom it asks
# with, sts:GetCallerIdentity, anybody may ask.)
ON_EVERY_STACK = (
    "cloudformation:ContinueUpdateRollback",
    "sts:GetCallerIdentity",
    "cloudformation:ExecuteStackRefactor",
)


@dataclass(frozen=True)
class Target:
    """A stage's account and region, and the documents of the policies that it needs there, by their ARN."""

    stage: str
    account: str
    region: str
    boundary: dict[str, dict[str, Any]]
    execution: dict[str, dict[str, Any]]

    @property
    def assets_bucket(self) -> str:
        """The name of the bootstrap's bucket, which outlives its stack."""
        return f"cdk-{qualifier(self.stage)}-assets-{self.account}-{self.region}"

    @property
    def policies(self) -> dict[str, dict[str, Any]]:
        """All of them."""
        return {**self.boundary, **self.execution}


def qualifier(stage: str) -> str:
    """The part of the names of the bootstrap's roles and bucket that distinguishes ours from those of other CDK apps.

    A team that deploys by a bootstrap of its own has its qualifier in cdk.json.
    """
    return qualifier_of(stage, cdk_json()["context"].get(QUALIFIER))


def toolkit_stack(stage: str) -> str:
    """The name of the bootstrap's stack."""
    return str(cdk_json().get("toolkitStackName") or f"KennelToolkit-{stage}")


def execution(stage: str) -> str:
    """Prefix of the names of the stage's deploy policies."""
    return f"kennel-{stage}-execution"


def target(deployment: DeployedStage) -> Target:
    """The target of a bootstrap: the stage's region and the caller's account."""
    identity = deployment.client("sts").get_caller_identity()
    account, partition, region = str(identity["Account"]), identity["Arn"].split(":")[1], deployment.region
    stage, prefix = deployment.stage, f"arn:{partition}:iam::{account}:policy/"
    cloudfront = deployment.settings.function.cloudfront
    place = Place(stage, region, account, partition, cloudfront, qualifier(stage))
    return Target(
        stage,
        account,
        region,
        {prefix + boundary_name(stage, region): boundary_policy(place)},
        {
            f"{prefix}{execution(stage)}-{region}-{number}": document
            for number, document in enumerate(execution_policies(place), 1)
        },
    )


def prepare(deployment: DeployedStage) -> tuple[str, list[str]]:
    """Makes or changes the policies; returns what `cdk bootstrap` takes: environment, and its arguments.

    Without an administrator: CloudFormation deploys with the policies of infra/bootstrap/.
    """
    place, iam = target(deployment), deployment.client("iam")
    for arn, document in place.policies.items():
        put(iam, arn, document)
    # Without an app it synthesizes nothing, and can run beside another cdk command.
    names = ["--app", "", "--qualifier", qualifier(place.stage), "--toolkit-stack-name", toolkit_stack(place.stage)]
    policies = ["--cloudformation-execution-policies", ",".join(place.execution)]
    return f"aws://{place.account}/{place.region}", [*names, *policies, "--template", str(_template(place.stage))]


def _template(stage: str) -> Path:
    """CDK's template of a bootstrap, whose deploy role changes stacks of the stage alone."""
    text = TEMPLATE.read_text()
    for before in ON_EVERY_STACK:
        pattern = re.compile(rf'(- {before}\n\s+)Resource: "\*"')
        stacks = "arn:${AWS::Partition}:cloudformation:${AWS::Region}:${AWS::AccountId}:stack/Kennel-" + stage + "-*/*"
        text, count = pattern.subn(lambda found, arn=stacks: f'{found[1]}Resource: {{"Fn::Sub": "{arn}"}}', text)
        if count != 1:
            raise KennelError(f"{TEMPLATE.name} of this CDK no longer has {before} as Kennel knows it: report this.")
    file = REPOSITORY / "build" / f"bootstrap-{stage}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def present(iam: Any, arn: str) -> dict[str, Any] | None:
    """The document of a policy as the account has it, None if it has none."""
    try:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    except iam.exceptions.NoSuchEntityException:
        return None
    document: dict[str, Any] = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    return document


def put(iam: Any, arn: str, document: dict[str, Any]) -> None:
    """Makes or changes a policy."""
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
