"""What GitHub's workflows may do: one role reads templates, one for each stage deploys it, by exact subjects."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App

from helpers import invariants
from helpers.simulator import Caller, Request, simulate
from helpers.synthesis import CONTEXT, FLAGS, MATRIX
from infra.config import ConfigurationError, parse_stage
from infra.delivery import add_delivery
from infra.names import DELIVERY_STACK as NAME
from infra.stage import add_stacks
from kennel.review.findings import linted
from kennel.stage.template_roles import ACCOUNT, Role, Stacks

REPOSITORY = "acme/kennel"
REGION = "us-east-1"
ISSUER = "token.actions.githubusercontent.com"
LIVE = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:Kennel-dev-Api-ClassifierFunction-x:live"


def synthesized(folder: Path, repository: str | None, **more: str) -> dict[str, dict[str, Any]]:
    context = {**FLAGS, "stages": CONTEXT["stages"], **({"repository": repository} if repository else {}), **more}
    app = App(context=context, outdir=str(folder))
    add_stacks(app, parse_stage("dev", MATRIX["dev"]))
    add_delivery(app, app.node)
    return {stack.stack_name: stack.template for stack in app.synth().stacks}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return synthesized(tmp_path_factory.mktemp("delivery"), REPOSITORY)[NAME]


@pytest.fixture(scope="module")
def roles(template: dict[str, Any]) -> dict[str, Role]:
    return Stacks({"Delivery": template}, "dev", REGION).roles()


def loose_subjects(template: dict[str, Any]) -> Iterator[str]:
    """Roles that more than the named jobs of one repository could assume."""
    for name, role in invariants.resources({"Delivery": template}, "AWS::IAM::Role"):
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            exact = statement.get("Condition", {}).get("StringEquals", {})
            if set(statement.get("Condition", {})) != {"StringEquals"}:
                yield f"{name} compares by patterns"
            if exact.get(f"{ISSUER}:aud") != "sts.amazonaws.com":
                yield f"{name} takes tokens that are for others"
            subjects = invariants.as_list(exact.get(f"{ISSUER}:sub", "*"))
            for subject in subjects:
                if "*" in subject or not subject.startswith(f"repo:{REPOSITORY}:"):
                    yield f"{name} takes the subject {subject}"


def test_provider_of_account_is_used(tmp_path: Path) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
    template = synthesized(tmp_path, REPOSITORY, provider=arn)[NAME]
    assert list(invariants.resources({"Delivery": template}, "AWS::IAM::OIDCProvider")) == []
    for _, role in invariants.resources({"Delivery": template}, "AWS::IAM::Role"):
        assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Federated": arn}


def test_roles_trust_only_exact_subjects(template: dict[str, Any], roles: dict[str, Role]) -> None:
    assert list(loose_subjects(template)) == []
    subjects = {
        name: {key.removeprefix(f"{ISSUER}:"): value for key, value in exact.items()}
        for name, role in roles.items()
        for exact in [role.trust["Statement"][0]["Condition"]["StringEquals"]]
    }
    for exact in subjects.values():
        assert exact.pop("aud") == "sts.amazonaws.com"
    main = "refs/heads/main"
    assert subjects == {
        "Diff": {"sub": [f"repo:{REPOSITORY}:pull_request", f"repo:{REPOSITORY}:ref:{main}"]},
        # The environment is no branch: any branch may name it.
        "DeployDev": {"sub": [f"repo:{REPOSITORY}:environment:dev"], "ref": main},
        "DeployProd": {"sub": [f"repo:{REPOSITORY}:environment:prod"], "ref": main},
    }


def test_repository_with_ids_is_trusted_in_both_forms(tmp_path: Path) -> None:
    template = synthesized(tmp_path, "acme@17/kennel@4242")[NAME]
    trusts = [item for _, item in invariants.resources({"Delivery": template}, "AWS::IAM::Role")]
    subjects = [
        trust["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]["StringEquals"][f"{ISSUER}:sub"]
        for trust in trusts
    ]
    assert [subject for of_role in subjects for subject in of_role if subject.endswith(":environment:prod")] == [
        "repo:acme@17/kennel@4242:environment:prod",
        "repo:acme/kennel:environment:prod",
    ]


@pytest.mark.parametrize("repository", ["acme@17/kennel", "acme/kennel@4242", "acme@x/kennel@1", "acme@1/kennel@"])
def test_half_of_the_ids_is_rejected(tmp_path: Path, repository: str) -> None:
    with pytest.raises(ConfigurationError, match="OWNER@ID/NAME@ID"):
        synthesized(tmp_path, repository)


@pytest.mark.parametrize("subject", ["repo:acme/*", f"repo:{REPOSITORY}:*", "repo:other/kennel:pull_request"])
def test_loose_subject_is_detected(template: dict[str, Any], subject: str) -> None:
    changed = copy.deepcopy(template)
    (name, *_) = (key for key, item in changed["Resources"].items() if item["Type"] == "AWS::IAM::Role")
    (statement,) = changed["Resources"][name]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    statement["Condition"]["StringEquals"][f"{ISSUER}:sub"] = subject
    assert list(loose_subjects(changed))
    statement["Condition"] = {"StringLike": statement["Condition"]["StringEquals"]}
    assert any("patterns" in found for found in loose_subjects(changed))


def cdk_role(kind: str, stage: str = "dev") -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/cdk-k{stage}-{kind}-role-{ACCOUNT}-{REGION}"


def stack(name: str) -> str:
    return f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/00000000-0000-0000-0000-000000000000"


IAM_URL = {"lambda:FunctionUrlAuthType": "AWS_IAM"}
REQUESTS = {
    "read a template": Request("cloudformation:GetTemplate", stack("Kennel-prod-Api")),
    "read another's template": Request("cloudformation:GetTemplate", stack("Payroll")),
    "list stacks": Request("cloudformation:ListStacks", "*"),
    "delete a stack": Request("cloudformation:DeleteStack", stack("Kennel-dev-Serving")),
    "look at dev": Request("sts:AssumeRole", cdk_role("lookup")),
    "look at prod": Request("sts:AssumeRole", cdk_role("lookup", "prod")),
    "deploy dev": Request("sts:AssumeRole", cdk_role("deploy")),
    "deploy prod": Request("sts:AssumeRole", cdk_role("deploy", "prod")),
    "publish for dev": Request("sts:AssumeRole", cdk_role("file-publishing")),
    "publish for prod": Request("sts:AssumeRole", cdk_role("file-publishing", "prod")),
    "be CloudFormation": Request("sts:AssumeRole", cdk_role("cfn-exec")),
    "be an administrator": Request("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/Administrator"),
    "call dev's URL": Request("lambda:InvokeFunctionUrl", LIVE, IAM_URL),
    "call prod's URL": Request("lambda:InvokeFunctionUrl", LIVE.replace("-dev-", "-prod-"), IAM_URL),
    "be let in by dev's URL": Request("lambda:InvokeFunction", LIVE, {"lambda:InvokedViaFunctionUrl": "true"}),
    "call the function past the URL": Request("lambda:InvokeFunction", LIVE, {"lambda:InvokedViaFunctionUrl": "false"}),
    "call another function": Request("lambda:InvokeFunctionUrl", LIVE.replace("Kennel-", "Payroll-"), IAM_URL),
    "read an image": Request("s3:GetObject", "arn:aws:s3:::kennel-dev-data-storagedatasets/datasets/a.jpg"),
    "make a role": Request("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/Kennel-more"),
}
ALLOWED = {
    "Diff": {"read a template", "list stacks"},
    "DeployDev": {"look at dev", "deploy dev", "publish for dev", "call dev's URL", "be let in by dev's URL"},
    "DeployProd": {"look at prod", "deploy prod", "publish for prod", "call prod's URL"},
}


@pytest.mark.parametrize("name", ALLOWED)
def test_role_has_least_privilege(roles: dict[str, Role], name: str) -> None:
    caller = Caller(roles[name].arn, list(roles[name].policies.values()))
    allowed = simulate([(caller, request) for request in REQUESTS.values()])
    assert {words for words, may in zip(REQUESTS, allowed, strict=True) if may} == ALLOWED[name]


def test_role_names_are_outside_deploy_scope(template: dict[str, Any]) -> None:
    # CloudFormation's role may change roles called Kennel-…: infra/bootstrap/execution_policy.py.
    for _, role in invariants.resources({"Delivery": template}, "AWS::IAM::Role"):
        assert not role["RoleName"].startswith("Kennel-")
        assert "PermissionsBoundary" not in role


def test_stack_passes_rules_and_cfn_lint(template: dict[str, Any]) -> None:
    templates = {"Delivery": template}
    assert list(invariants.no_action_is_a_wildcard(templates)) == []
    assert list(invariants.every_resource_is_named_where_aws_offers_it(templates)) == []
    assert linted(json.dumps(template), REGION) == []


def test_stack_is_omitted_without_repository(tmp_path: Path) -> None:
    assert NAME not in synthesized(tmp_path, None)


@pytest.mark.parametrize("repository", ["kennel", "acme/*", "https://github.com/acme/kennel", "a b/c"])
def test_invalid_repository_suggests_fix(tmp_path: Path, repository: str) -> None:
    with pytest.raises(ConfigurationError, match="make delivery REPOSITORY=OWNER/NAME"):
        synthesized(tmp_path, repository)
