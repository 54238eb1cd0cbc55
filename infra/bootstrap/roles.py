"""The CDK bootstrap of a stage, as the app sees it: by the qualifier in the names of its roles."""

from aws_cdk import Aws
from constructs import Construct

from infra.bootstrap.execution_policy import QUALIFIER, qualifier


def bootstrap_qualifier(scope: Construct, stage: str) -> str:
    """The stage's own, unless cdk.json names that of a team's own bootstrap."""
    return qualifier(stage, scope.node.try_get_context(QUALIFIER))


def bootstrap_role(scope: Construct, stage: str, region: str, kind: str) -> str:
    """The ARN of a role of the bootstrap: deploy, file-publishing, lookup or cfn-exec."""
    name = f"cdk-{bootstrap_qualifier(scope, stage)}-{kind}-role-{Aws.ACCOUNT_ID}-{region}"
    return f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/{name}"
