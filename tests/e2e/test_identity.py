"""IAM is enforced: who may call the URL, and what the roles may not do, with their real credentials."""

import json
from collections.abc import Iterator

import boto3
import pytest

from helpers.stage import Environment
from kennel.client.function_url import Url
from kennel.stage.deployed import DeployedStage

DENIED = {"AccessDenied", "AccessDeniedException", "403", "Forbidden"}


@pytest.fixture
def stranger(deployed: Environment) -> Iterator[tuple[boto3.Session, str]]:
    """The credentials and the name of a user without any permission."""
    iam = deployed.client("iam")
    iam.create_user(UserName="stranger")
    key = iam.create_access_key(UserName="stranger")["AccessKey"]
    yield (
        boto3.Session(
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
            region_name="us-east-1",
        ),
        "stranger",
    )
    iam.delete_access_key(UserName="stranger", AccessKeyId=key["AccessKeyId"])
    for policy in iam.list_attached_user_policies(UserName="stranger")["AttachedPolicies"]:
        iam.detach_user_policy(UserName="stranger", PolicyArn=policy["PolicyArn"])
    iam.delete_user(UserName="stranger")


def test_unsigned_call_returns_403(deployed: Environment) -> None:
    assert deployed.url().call(deployed.image(), "image/jpeg", signed=False).status == 403


def test_user_is_denied_until_policy_is_attached(deployed: Environment, stranger: tuple[boto3.Session, str]) -> None:
    session, user = stranger
    url = Url(DeployedStage("dev"), session)
    assert url.call(deployed.image(), "image/jpeg").status == 403
    policy = deployed.output("Api", "CallersPolicyArn")
    deployed.client("iam").attach_user_policy(UserName=user, PolicyArn=policy)
    assert url.call(deployed.image(), "image/jpeg").status == 200


def test_wrong_signature_returns_403(deployed: Environment, stranger: tuple[boto3.Session, str]) -> None:
    session, user = stranger
    deployed.client("iam").attach_user_policy(UserName=user, PolicyArn=deployed.output("Api", "CallersPolicyArn"))
    forged = boto3.Session(
        aws_access_key_id=session.get_credentials().access_key, aws_secret_access_key="wrong", region_name="us-east-1"
    )
    assert Url(DeployedStage("dev"), forged).call(deployed.image(), "image/jpeg").status == 403


def test_function_role_may_invoke_its_endpoint(deployed: Environment) -> None:
    role, name = deployed.output("Api", "FunctionRoleArn"), deployed.output("Serving", "EndpointName")
    outcome = deployed.as_role(role, "sagemaker-runtime", "invoke_endpoint", EndpointName=name, Body="text")
    assert outcome == "ModelError"  # it got there; a text is no image


def test_function_role_is_denied_elsewhere(deployed: Environment) -> None:
    role, bucket = deployed.output("Api", "FunctionRoleArn"), deployed.output("Data", "DatasetBucket")
    models = deployed.output("Data", "ModelBucket")
    for service, operation, arguments in (
        ("sagemaker-runtime", "invoke_endpoint", {"EndpointName": "kennel-dev-fixed", "Body": "x"}),
        ("s3", "list_objects_v2", {"Bucket": bucket}),
        ("s3", "get_object", {"Bucket": bucket, "Key": "datasets/x"}),
        ("s3", "put_object", {"Bucket": bucket, "Key": "inbox/x", "Body": "x"}),
        ("s3", "delete_object", {"Bucket": bucket, "Key": "inbox/x"}),
        ("s3", "put_object", {"Bucket": bucket, "Key": "datasets/x", "Body": "x"}),
        ("s3", "get_object", {"Bucket": models, "Key": "packages/x"}),
        ("sagemaker", "describe_endpoint", {"EndpointName": "kennel-dev-scaled"}),
        ("sagemaker", "delete_endpoint", {"EndpointName": "kennel-dev-scaled"}),
        ("ssm", "put_parameter", {"Name": "/kennel/dev/model", "Value": "x", "Overwrite": True}),
    ):
        assert deployed.as_role(role, service, operation, **arguments) in DENIED, (service, operation)


def test_endpoint_role_is_denied_writes(deployed: Environment) -> None:
    role, bucket = deployed.output("Serving", "EndpointRoleArn"), deployed.output("Data", "DatasetBucket")
    models = deployed.output("Data", "ModelBucket")
    key = deployed.package.split(f"{models}/")[1] + "model.json"
    assert deployed.as_role(role, "s3", "get_object", Bucket=models, Key=key) == "Allowed"
    for operation, arguments in (
        ("put_object", {"Bucket": bucket, "Key": "datasets/x", "Body": "x"}),
        ("get_object", {"Bucket": bucket, "Key": "datasets/x"}),
        ("delete_object", {"Bucket": models, "Key": key}),
        ("put_object", {"Bucket": models, "Key": key, "Body": "x"}),
    ):
        assert deployed.as_role(role, "s3", operation, **arguments) in DENIED, operation


def test_job_role_is_denied_outside_its_prefixes(deployed: Environment) -> None:
    role, bucket = deployed.output("Training", "JobRoleArn"), deployed.output("Data", "DatasetBucket")
    models = deployed.output("Data", "ModelBucket")
    arguments = {"Bucket": models, "Key": "packages/test/x", "Body": "x"}
    assert deployed.as_role(role, "s3", "put_object", **arguments) == "Allowed"
    assert deployed.as_role(role, "s3", "put_object", **{**arguments, "Key": "other/x"}) in DENIED
    assert deployed.as_role(role, "s3", "put_object", **{**arguments, "Bucket": bucket, "Key": "datasets/x"}) in DENIED
    assert deployed.as_role(role, "sagemaker", "list_endpoints") in DENIED


def test_bucket_policy_denies_plain_http(deployed: Environment) -> None:
    policy = deployed.client("s3").get_bucket_policy(Bucket=deployed.output("Data", "ModelBucket"))["Policy"]
    denies = [s for s in json.loads(policy)["Statement"] if s["Effect"] == "Deny"]
    assert any("aws:SecureTransport" in json.dumps(statement) for statement in denies)
