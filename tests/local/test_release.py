"""What GitHub's workflows run: the Delivery stack, once, and a release with its checks, as make targets."""

import json
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from environment import REPOSITORY, Environment

pytestmark = pytest.mark.slow

ROLES = ("github-kennel-diff", "github-kennel-deploy")


def make(deployed: Environment, *words: str, check: bool = True) -> str:
    return deployed.run("make", *words, f"VENV={sys.prefix}", check=check).stdout


def test_given_an_account_when_delivery_is_deployed_then_provider_and_roles_are_there_until_it_is_destroyed(
    deployed: Environment,
) -> None:
    iam = deployed.client("iam")
    # As `make delivery`, which asks before it lets somebody in.
    never = ("--require-approval", "never")
    deployed.run("cdk", "deploy", "-c", "repository=acme/kennel", "Kennel-Delivery", *never)
    (provider,) = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    described = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])
    assert described["ClientIDList"] == ["sts.amazonaws.com"]
    for name in ROLES:
        trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        assert trust["Statement"][0]["Principal"] == {"Federated": provider["Arn"]}

    deployed.run("cdk", "destroy", "-c", "repository=acme/kennel", "Kennel-Delivery", "--force")
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    for name in ROLES:
        with pytest.raises(ClientError, match="NoSuchEntity"):
            iam.get_role(RoleName=name)


def test_given_no_repository_when_delivery_is_made_then_it_says_what_to_give(deployed: Environment) -> None:
    assert "make delivery REPOSITORY=owner/name" in make(deployed, "delivery", check=False)


def test_given_a_stage_when_released_then_the_url_answers_the_smoke_call_and_the_status_is_well(
    deployed: Environment,
) -> None:
    output = make(deployed, "release", "smoke", "status")
    assert "answers: " in output
    assert "none fires" in output
    outputs = json.loads((REPOSITORY / "build" / "outputs-dev.json").read_text())
    assert outputs["Kennel-dev-Api"]["FunctionUrl"] in output


def test_given_no_release_when_the_smoke_call_is_made_then_it_says_what_to_run(
    deployed: Environment, tmp_path: Path
) -> None:
    result = deployed.run("kennel", "smoke", "--outputs", str(tmp_path / "none.json"), check=False)
    assert result.returncode == 1
    assert "run `make release STAGE=dev`" in " ".join(result.stdout.split())
