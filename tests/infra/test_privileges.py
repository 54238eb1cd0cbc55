"""What each role may do, by AWS's rules, and that it is nothing else: every request of a stage, asked by every role."""

import fnmatch
import json
from typing import Any

import pytest
from moto.iam.aws_managed_policies import aws_managed_policies_data

from helpers.iam_requests import REGION, requests
from helpers.invariants import Templates
from helpers.simulator import Caller, Request, simulate
from infra.bootstrap.execution_policy import Place, boundary_policy
from kennel.stage.template_roles import ACCOUNT, Document, Role, Stacks

AWS_POLICIES: dict[str, Any] = json.loads(aws_managed_policies_data)
NOTEBOOK_PARTS = ("model", "endpoint-config", "endpoint")

# What each role needs: the words of requests_of_a_stage.py. Every other request is denied to it.
ALLOWED = {
    "ClassifierRole": {
        "read an image of the inbox",
        "decrypt a dataset through S3",
        "invoke the stage's endpoint",
        "begin the function's log",
        "write the function's log",
        "send a trace",
        "send a trace's telemetry",
    },
    "DriftRole": {
        "list the captures",
        "read a capture",
        "read a promoted package",
        "decrypt a model through S3",
        "read the model pointer",
        "write a metric of the stage",
        "begin the drift log",
        "write the drift log",
    },
    "ModelRole": {
        "list the packages",
        "read a package",
        "list the promoted packages",
        "read a promoted package",
        "write a capture",
        "decrypt a model through S3",
        "encrypt a model through S3",
        "check the serving image",
        "pull the serving image",
        "load the serving image",
        "sign in to the registry",
        "make the endpoint's log group",
        "look through the endpoint's log",
        "begin the endpoint's log",
        "write the endpoint's log",
        "write a metric of endpoints",
        "look at the stage's alarms",
    },
    "JobRole": {
        "list the datasets",
        "read a dataset's image",
        "list the weights",
        "read a backbone's weights",
        "decrypt a dataset through S3",
        "list the training code",
        "read the training code",
        "list the checkpoints",
        "read a checkpoint",
        "write a checkpoint",
        "write a package",
        "decrypt a model through S3",
        "encrypt a model through S3",
        "hand the key to a service",
        "check the training image",
        "pull the training image",
        "load the training image",
        "sign in to the registry",
        "make the jobs' log group",
        "look through the jobs' log group",
        "begin a job's log",
        "write a job's log",
        "write a metric of jobs",
    },
    "Ec2Role": {
        "list the datasets",
        "read a dataset's image",
        "list the weights",
        "read a backbone's weights",
        "decrypt a dataset through S3",
        "read the training code",
        "list the packages",
        "list the checkpoints",
        "read a checkpoint",
        "write a checkpoint",
        "write a package",
        "tag a package",
        "decrypt a model through S3",
        "encrypt a model through S3",
        "begin the instance's log",
        "write the instance's log",
        "read the run's settings",
        "size its group",
        "register with Session Manager",
        "make the control channel of Session Manager",
        "make a data channel of Session Manager",
        "open the control channel of Session Manager",
        "open a data channel of Session Manager",
    },
    "NotebookRole": {
        "list the datasets",
        "write a dataset's image",
        "decrypt a dataset through S3",
        "encrypt a dataset through S3",
        "list the packages",
        "read a package",
        "list the checkpoints",
        "read a checkpoint",
        "decrypt a model through S3",
        "hand the key to a service",
        "describe its notebook",
        "stop its notebook",
        "start a training job",
        "tag a training job",
        "describe a training job",
        "stop a training job",
        "look through the jobs' log group",
        "read a job's log",
        "read the stage's outputs",
        *(f"{verb} a notebook's {part}" for verb in ("create", "describe", "delete") for part in NOTEBOOK_PARTS),
        *(f"describe the stage's {part}" for part in NOTEBOOK_PARTS),
        "use a notebook's endpoint-config",
        "invoke a notebook's endpoint",
        "give SageMaker the job's role",
        "give SageMaker the endpoint's role",
    },
}
ALLOWED["NightStopRole"] = {"stop its notebook", "delete the Serving stack"}
# The roles' boundary is the same for all.
BOUNDARY = boundary_policy(Place("dev", REGION, ACCOUNT))


@pytest.fixture(scope="module")
def stacks(matrix: dict[str, Templates]) -> Stacks:
    return Stacks(matrix["dev"], "dev", REGION)


def caller(role: Role, *, bounded: bool = True) -> Caller:
    """Somebody with the credentials of a role."""
    policies = [*role.policies.values(), *(aws_policy(arn) for arn in role.managed)]
    return Caller(role.arn, policies, BOUNDARY if bounded else None)


def aws_policy(arn: str) -> Document:
    document: Document = AWS_POLICIES[arn.rpartition("/")[2]]["Document"]
    return document


def allowed(role: Caller, asked: dict[str, Request]) -> set[str]:
    outcomes = simulate([(role, request) for request in asked.values()])
    return {words for words, outcome in zip(asked, outcomes, strict=True) if outcome}


@pytest.mark.parametrize("name", ALLOWED)
def test_role_has_only_required_permissions(name: str, stacks: Stacks) -> None:
    asked = requests(stacks)
    assert len(asked) - len(ALLOWED[name]) > 15
    assert allowed(caller(stacks.roles()[name]), asked) == ALLOWED[name]


def test_roles_match_permission_table(stacks: Stacks) -> None:
    made_by_cdk = {name for name in stacks.roles() if name.startswith("Custom")}
    assert set(stacks.roles()) - made_by_cdk == set(ALLOWED)


@pytest.mark.parametrize("name", ALLOWED)
def test_every_grant_has_matching_request(name: str, stacks: Stacks) -> None:
    asked = [requests(stacks)[words] for words in ALLOWED[name]]
    missing = [
        (action, resource)
        for statement in stacks.roles()[name].statements()
        for action in statement["Action"]
        for resource in statement["Resource"]
        # CloudWatch Logs may ask for a group with :* after its name.
        if not any(
            item.action == action and fnmatch.fnmatchcase(form, resource)
            for item in asked
            for form in (item.resource, f"{item.resource}:*")
        )
    ]
    assert missing == []


def test_foreign_account_denied_buckets_and_key(
    stacks: Stacks,
) -> None:
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    foreign = Caller("arn:aws:iam::999999999999:role/Administrator", [everything], account="999999999999")
    asked = {
        words: request for words, request in requests(stacks).items() if request.action.startswith(("s3:", "kms:"))
    }
    own = {words: request for words, request in asked.items() if request.resource_policy}
    assert len(own) > 25
    assert allowed(foreign, own) == set()


def test_admin_is_denied_by_resource_policies(
    stacks: Stacks,
) -> None:
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    administrator = Caller(f"arn:aws:iam::{ACCOUNT}:role/Administrator", [everything])
    asked = {words: request for words, request in requests(stacks).items() if request.resource_policy}
    refused = set(asked) - allowed(administrator, asked)
    assert refused == {
        "write one with another key",
        "write one with S3's key",
        "read one over plain HTTP",
        "read one over TLS 1.1",
        "decrypt by itself",
        "hand the key to anyone",
    }


@pytest.mark.parametrize("name", ALLOWED)
def test_boundary_removes_no_role_permission(name: str, stacks: Stacks) -> None:
    asked = requests(stacks)
    role = stacks.roles()[name]
    assert allowed(caller(role, bounded=False), asked) == allowed(caller(role), asked)


def test_bounded_role_cannot_escalate_or_leave_stage(
    stacks: Stacks,
) -> None:
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    role = Caller(stacks.roles()["JobRole"].arn, [everything], BOUNDARY)
    for words in (
        "widen a role",
        "take a role's boundary off",
        "become another role",
        "make a user",
        "make an access key",
        "give SageMaker an administrator's role",
        "change the function's code",
        "write the model pointer",
        "start an instance",
        "have the key deleted",
        "delete a bucket",
        "delete a stack",
    ):
        assert allowed(role, {words: requests(stacks)[words]}) == set(), words


def test_bounded_role_gets_nothing_of_another_stage(stacks: Stacks) -> None:
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    role = Caller(stacks.roles()["JobRole"].arn, [everything], BOUNDARY)
    logs = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"
    others: dict[str, Request] = {
        "its datasets": Request("s3:GetObject", "arn:aws:s3:::kennel-prod-data-storagedatasets/datasets/a.jpg"),
        "their versions": Request("s3:DeleteObjectVersion", "arn:aws:s3:::kennel-prod-data-storagedatasets/a.jpg"),
        "its bucket's policy": Request("s3:PutBucketPolicy", "arn:aws:s3:::kennel-prod-data-storagemodels"),
        "the code of its next deploy": Request("s3:PutObject", f"arn:aws:s3:::cdk-kprod-assets-{ACCOUNT}-{REGION}/a"),
        "the code of the own": Request("s3:PutObject", f"arn:aws:s3:::cdk-kdev-assets-{ACCOUNT}-{REGION}/a.zip"),
        "its endpoint": Request(
            "sagemaker:DeleteEndpoint", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/kennel-prod-a"
        ),
        "its answers": Request(
            "sagemaker:InvokeEndpoint", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/kennel-prod-a"
        ),
        "a job without isolation": Request(
            "sagemaker:CreateTrainingJob",
            f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/kennel-dev-a",
            {"sagemaker:NetworkIsolation": "false"},
        ),
        "its stack": Request(
            "cloudformation:DeleteStack", f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/Kennel-prod-Serving/1"
        ),
        "its parameter": Request("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/kennel/prod/model"),
        "its log": Request("logs:GetLogEvents", f"{logs}:/kennel/prod/classifier:log-stream:a"),
        "its role": Request(
            "iam:PassRole",
            f"arn:aws:iam::{ACCOUNT}:role/Kennel-prod-Training-JobRole",
            {"iam:PassedToService": "sagemaker.amazonaws.com"},
        ),
        "another's key": Request(
            "kms:Decrypt",
            f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1",
            resource_policy={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                        "Action": "kms:*",
                        "Resource": "*",
                    }
                ],
            },
        ),
        "any security group": Request(
            "ec2:AuthorizeSecurityGroupIngress", f"arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/sg-1"
        ),
    }
    assert allowed(role, others) == set()


# --- each of the checks above can fail ---


def _widened(stacks: Stacks, role: str, statement: Document) -> Caller:
    found = stacks.roles()[role]
    found.policies["more"] = {"Version": "2012-10-17", "Statement": [statement]}
    return caller(found)


@pytest.mark.parametrize(
    ("role", "action", "resource", "words"),
    [
        ("ClassifierRole", "s3:GetObject", "*", "read a dataset's image"),
        ("ClassifierRole", "sagemaker:InvokeEndpoint", "*", "invoke the fixed endpoint"),
        ("ModelRole", "s3:*", "arn:aws:s3:::kennel-dev-*", "write a package"),
        ("JobRole", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/*", "give SageMaker the endpoint's role"),
        ("NotebookRole", "logs:*", "*", "write a job's log"),
    ],
)
def test_unneeded_grant_exceeds_table(stacks: Stacks, role: str, action: str, resource: str, words: str) -> None:
    wide = _widened(stacks, role, {"Effect": "Allow", "Action": action, "Resource": resource})
    assert words in allowed(wide, requests(stacks)) - ALLOWED[role]


@pytest.mark.parametrize("role", ALLOWED)
def test_removed_grant_falls_short_of_table(stacks: Stacks, role: str) -> None:
    found = stacks.roles()[role]
    for document in found.policies.values():
        del document["Statement"][0]
    assert ALLOWED[role] - allowed(caller(found), requests(stacks))


def test_loose_policy_admits_foreign_account(
    stacks: Stacks,
) -> None:
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    foreign = Caller("arn:aws:iam::999999999999:role/Administrator", [everything], account="999999999999")
    for words in ("read a package", "decrypt by itself"):
        request = requests(stacks)[words]
        opened = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [opened]}
        assert allowed(foreign, {words: Request(request.action, request.resource, request.context, policy)}) == {words}


def test_boundary_lets_functions_of_cdk_write_their_logs() -> None:
    """They have a group of their own, and what a failing custom resource says is to be read there."""
    logs = {"Effect": "Allow", "Action": "logs:*", "Resource": "*"}
    caller = Caller(
        f"arn:aws:iam::{ACCOUNT}:role/Kennel-dev-Data-CustomS3",
        [{"Version": "2012-10-17", "Statement": [logs]}],
        boundary=BOUNDARY,
    )
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda"
    begun, written, others = (
        Request("logs:CreateLogGroup", f"{group}/Kennel-dev-Data-CustomS3AutoDelete"),
        Request("logs:PutLogEvents", f"{group}/Kennel-dev-Data-CustomS3AutoDelete:log-stream:a"),
        Request("logs:PutLogEvents", f"{group}/payroll:log-stream:a"),
    )
    assert simulate([(caller, begun), (caller, written), (caller, others)]) == [True, True, False]
