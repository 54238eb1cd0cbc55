"""The provider for GitHub that an account may have already."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from kennel.errors import KennelError
from kennel.operations.delivery import provider_of_others

ARN = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"


class Iam:
    """Stands for IAM: providers, and whom their tokens may be for."""

    def __init__(self, *arns: str, audience: str = "sts.amazonaws.com") -> None:
        self._arns, self._audience = arns, audience

    def list_open_id_connect_providers(self) -> Any:
        return {"OpenIDConnectProviderList": [{"Arn": arn} for arn in self._arns]}

    def get_open_id_connect_provider(self, **_: str) -> Any:
        return {"ClientIDList": [self._audience]}


class CloudFormation:
    """Stands for CloudFormation: the provider of our stack, if that is deployed."""

    class exceptions:
        ClientError = ClientError

    def __init__(self, own: str | None = None) -> None:
        self._own = own

    def describe_stack_resources(self, **_: str) -> Any:
        if self._own is None:
            raise ClientError({"Error": {"Message": "Stack with id Kennel-Delivery does not exist"}}, "Describe")
        return {"StackResources": [{"ResourceType": "AWS::IAM::OIDCProvider", "PhysicalResourceId": self._own}]}


def test_provider_of_another_app_is_found() -> None:
    assert provider_of_others(Iam("arn:aws:iam::1:oidc-provider/gitlab.com", ARN), CloudFormation()) == ARN


def test_own_or_missing_provider_is_left_to_stack() -> None:
    assert provider_of_others(Iam(ARN), CloudFormation(own=ARN)) is None
    assert provider_of_others(Iam("arn:aws:iam::1:oidc-provider/gitlab.com"), CloudFormation()) is None


def test_provider_for_others_suggests_fix() -> None:
    with pytest.raises(KennelError, match="add-client-id-to-open-id-connect-provider"):
        provider_of_others(Iam(ARN, audience="vault"), CloudFormation())
