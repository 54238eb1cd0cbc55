"""GitHub's repository as its tokens name it, and the provider by which an account knows these tokens.

An account can have one provider for GitHub, whoever made it.
"""

import re
from typing import Any

from kennel.errors import KennelError

ISSUER = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"
STACK = "Kennel-Delivery"
# Not Kennel-…: roles of that name are what a deploy may change. A stage's deploy role has its name behind it.
DIFF_ROLE, DEPLOY_ROLE = "github-kennel-diff", "github-kennel-deploy"
REPOSITORY = re.compile(
    r"(?P<owner>[A-Za-z0-9][A-Za-z0-9-]{0,38})(?P<id>@\d+)?/(?P<name>[A-Za-z0-9._-]{1,100})(?(id)@\d+)"
)


def parse(repository: str) -> re.Match[str]:
    """The groups `owner`, `name` and `id` of OWNER/NAME or OWNER@ID/NAME@ID; raises KennelError for anything else."""
    found = REPOSITORY.fullmatch(repository)
    if not found:
        raise KennelError(
            f"The repository {repository!r} is no OWNER/NAME of GitHub's: make delivery REPOSITORY=OWNER/NAME, "
            "or OWNER@ID/NAME@ID."
        )
    return found


def provider_of_others(iam: Any, cloudformation: Any) -> str | None:
    """The ARN of the account's provider for GitHub, unless there is none or it is that of our own stack.

    Raises KennelError if it does not accept tokens for AWS's STS, as its owner has to change that.
    """
    providers = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    arn = next((str(item["Arn"]) for item in providers if item["Arn"].endswith(f":oidc-provider/{ISSUER}")), None)
    if arn is None or arn in _of_stack(cloudformation):
        return None
    if AUDIENCE not in iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"]:
        raise KennelError(
            f"{arn} accepts no tokens for {AUDIENCE}. Its owner allows them with: aws iam "
            f"add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {arn} --client-id {AUDIENCE}"
        )
    return arn


def _of_stack(cloudformation: Any) -> list[str]:
    try:
        resources = cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
    except cloudformation.exceptions.ClientError as error:
        if "does not exist" not in str(error):
            raise
        return []
    return [item["PhysicalResourceId"] for item in resources if item["ResourceType"] == "AWS::IAM::OIDCProvider"]
