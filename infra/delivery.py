"""The Delivery stack, once per account: who may look at and deploy the stages from GitHub's workflows.

An administrator deploys it with their own credentials (`make delivery`): the roles that it creates cannot change it.
"""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Annotations, Aws, CfnOutput, LegacyStackSynthesizer, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct, Node

from infra.bootstrap.roles import bootstrap_role
from infra.constructs.delivery.github_role import GitHubRole
from infra.constructs.shared.grants import grant
from infra.github_repository import parse
from infra.names import DELIVERY_STACK, DEPLOY_ROLE, DIFF_ROLE, GITHUB_AUDIENCE, GITHUB_ISSUER

BRANCH = "main"
# Tokens of repositories that were made, renamed or moved since 2026-07-15 have the ids in their subject (GitHub's
# changelog of 2026-04-23, "Immutable subject claims for GitHub Actions OIDC tokens").
WITHOUT_IDS = (
    "GitHub names {0} with ids in the tokens of repositories that were made, renamed or moved since 2026-07-15, and "
    "these roles trust its name alone. For such a one give the ids as well: make delivery REPOSITORY=$(gh api "
    "repos/{0} --jq '\"\\(.owner.login)@\\(.owner.id)/\\(.name)@\\(.id)\"')"
)


class DeliveryStack(Stack):
    """`repositories` are the forms of the repository's name; `regions` are those of the stages, each of which has an
    environment of its name on GitHub; `provider_arn` is the account's provider for GitHub, None where it has none.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        repositories: Sequence[str],
        regions: dict[str, str],
        provider_arn: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description="Kennel: what GitHub's workflows may do",
            # The template is small and goes with the call: a bucket of a stage's bootstrap could change it on the way.
            synthesizer=LegacyStackSynthesizer(),
            **kwargs,
        )
        if provider_arn is None:
            provider = iam.CfnOIDCProvider(
                self, "GitHub", url=f"https://{GITHUB_ISSUER}", client_id_list=[GITHUB_AUDIENCE]
            )
            provider_arn = provider.attr_arn

        diff = GitHubRole(
            self,
            "Diff",
            name=DIFF_ROLE,
            description="Reads the templates of what is deployed",
            provider_arn=provider_arn,
            repositories=repositories,
            subjects=["pull_request", f"ref:refs/heads/{BRANCH}"],
        )
        # Code of a pull request may get this role: templates of the stages, and nothing else.
        grant(diff, ["cloudformation:GetTemplate"], *(_stacks(region) for region in dict.fromkeys(regions.values())))
        grant(diff, ["cloudformation:ListStacks"], "*")  # the action has no resource level
        CfnOutput(self, "DiffRoleArn", value=diff.role_arn)

        for stage, region in regions.items():
            deploy = GitHubRole(
                self,
                f"Deploy{stage.capitalize()}",
                name=f"{DEPLOY_ROLE}-{stage}",
                description=f"Deploys {stage} by CDK's roles, and calls its URL to see whether it answers",
                provider_arn=provider_arn,
                repositories=repositories,
                subjects=[f"environment:{stage}"],
                # The subject has the environment alone, and any branch may name one.
                branch=BRANCH,
            )
            kinds = ("deploy", "file-publishing", "lookup")
            grant(deploy, ["sts:AssumeRole"], *(bootstrap_role(self, stage, region, kind) for kind in kinds))
            function = _function(stage, region)
            auth = {"lambda:FunctionUrlAuthType": "AWS_IAM"}
            grant(deploy, ["lambda:InvokeFunctionUrl"], function, StringEquals=auth)
            grant(deploy, ["lambda:InvokeFunction"], function, Bool={"lambda:InvokedViaFunctionUrl": "true"})


def add_delivery(scope: Construct, node: Node) -> DeliveryStack | None:
    """The stack, if the context names a repository, OWNER/NAME or OWNER@ID/NAME@ID; else raises ConfigurationError."""
    repository = node.try_get_context("repository")
    if not repository:
        return None
    found = parse(str(repository))
    stages = node.try_get_context("stages")
    by_name = f"{found['owner']}/{found['name']}"
    repositories = list(dict.fromkeys([str(repository), by_name]))
    stack = DeliveryStack(
        scope,
        DELIVERY_STACK,
        repositories=repositories,
        regions={name: stage["region"] for name, stage in stages.items()},
        provider_arn=node.try_get_context("provider"),
    )
    if len(repositories) == 1:
        Annotations.of(stack).add_warning_v2("kennel:repository-ids", WITHOUT_IDS.format(by_name))
    return stack


def _stacks(region: str) -> str:
    return f"arn:{Aws.PARTITION}:cloudformation:{region}:{Aws.ACCOUNT_ID}:stack/Kennel-*/*"


def _function(stage: str, region: str) -> str:
    return f"arn:{Aws.PARTITION}:lambda:{region}:{Aws.ACCOUNT_ID}:function:Kennel-{stage}-*:live"
