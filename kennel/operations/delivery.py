"""The identity provider by which an account accepts the tokens of GitHub's workflows.

An account can have one provider for GitHub, whoever made it.
"""

from typing import Any

from infra.names import DELIVERY_STACK, GITHUB_AUDIENCE, GITHUB_ISSUER
from kennel.errors import KennelError


def provider_of_others(iam: Any, cloudformation: Any) -> str | None:
    """The ARN of the account's provider for GitHub, unless there is none or it is that of our own stack.

    Raises KennelError if it does not accept tokens for AWS's STS, as its owner has to change that.
    """
    providers = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    arns = (str(item["Arn"]) for item in providers)
    arn = next((arn for arn in arns if arn.endswith(f":oidc-provider/{GITHUB_ISSUER}")), None)
    if arn is None or arn in _of_stack(cloudformation):
        return None
    if GITHUB_AUDIENCE not in iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"]:
        raise KennelError(
            f"{arn} accepts no tokens for {GITHUB_AUDIENCE}. Its owner allows them with: "
            "aws iam add-client-id-to-open-id-connect-provider "
            f"--open-id-connect-provider-arn {arn} --client-id {GITHUB_AUDIENCE}"
        )
    return arn


def _of_stack(cloudformation: Any) -> list[str]:
    try:
        resources = cloudformation.describe_stack_resources(StackName=DELIVERY_STACK)["StackResources"]
    except cloudformation.exceptions.ClientError as error:
        if "does not exist" not in str(error):
            raise
        return []
    return [item["PhysicalResourceId"] for item in resources if item["ResourceType"] == "AWS::IAM::OIDCProvider"]
