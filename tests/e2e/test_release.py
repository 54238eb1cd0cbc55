"""What GitHub's workflows run: the Delivery stack, once, and a release with its checks, as make targets."""

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from helpers.stage import Environment, project_copy

pytestmark = pytest.mark.own_stage


ROLES = ("github-kennel-diff", "github-kennel-deploy-dev", "github-kennel-deploy-prod")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release writes into the folder of its project."""
    return project_copy(tmp_path_factory.mktemp("release") / "project")


def make(deployed: Environment, project: Path, *words: str, check: bool = True) -> str:
    command = ("env", f"PYTHONPATH={project}", "make", *words)
    return deployed.run(*command, cwd=project, check=check).stdout


def test_delivery_stack_deploys_and_destroys(deployed: Environment, project: Path) -> None:
    iam = deployed.client("iam")
    # As `make delivery`, which asks before it lets somebody in.
    never = ("--require-approval", "never")
    deployed.run("cdk", "deploy", "-c", "repository=acme/kennel", "Kennel-Delivery", *never, cwd=project)
    (provider,) = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    described = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])
    assert described["ClientIDList"] == ["sts.amazonaws.com"]
    for name in ROLES:
        trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        assert trust["Statement"][0]["Principal"] == {"Federated": provider["Arn"]}

    deployed.run("cdk", "destroy", "-c", "repository=acme/kennel", "Kennel-Delivery", "--force", cwd=project)
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    for name in ROLES:
        with pytest.raises(ClientError, match="NoSuchEntity"):
            iam.get_role(RoleName=name)


def test_delivery_without_repository_suggests_fix(deployed: Environment, project: Path) -> None:
    assert "make delivery REPOSITORY=owner/name" in make(deployed, project, "delivery", check=False)


def test_release_passes_smoke_and_status(deployed: Environment, project: Path) -> None:
    output = make(deployed, project, "synth", "release", "smoke", "status")
    assert "answers: " in output
    assert "none fires" in output
    outputs = json.loads((project / "build" / "outputs-dev.json").read_text())
    assert outputs["Kennel-dev-Api"]["FunctionUrl"] in output


def test_smoke_without_release_suggests_fix(deployed: Environment, tmp_path: Path) -> None:
    result = deployed.run("kennel", "smoke", "--outputs", str(tmp_path / "none.json"), check=False)
    assert result.returncode == 1
    assert "run `make release STAGE=dev`" in " ".join(result.stdout.split())
