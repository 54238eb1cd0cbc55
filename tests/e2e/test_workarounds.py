"""Each fault of an emulator, shown without its workaround: fails once upstream has fixed it."""

import asyncio
import os
import subprocess
import sys
import textwrap

import pytest

from kennel.local.workarounds import absent_members_are_described_as_empty, loopback_is_secure


def in_ministack(code: str) -> str:
    """What `code` prints in a process that has imported ministack untouched."""
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AUTH": "true", "LOG_LEVEL": "ERROR"}
    environment.pop("AWS_ENDPOINT_URL", None)
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1]


RESERVED = """
    from ministack.services import lambda_svc
    from ministack.services.cloudformation import provisioners
    {apply}
    create = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]["create"]
    name, _ = create("F", {{"Code": {{"ZipFile": "x"}}, "ReservedConcurrentExecutions": 7}}, "stack")
    print(lambda_svc._functions[name]["concurrency"])
"""


def test_ministack_still_drops_reserved_concurrency() -> None:
    assert in_ministack(RESERVED.format(apply="")) != "7"


def test_workaround_applies_reserved_concurrency() -> None:
    apply = "from kennel.local import workarounds; workarounds.reserved_concurrency_does_not_reach_the_function()"
    assert in_ministack(RESERVED.format(apply=apply)) == "7"


BOUNDARY = """
    from ministack.services import iam
    from ministack.services.cloudformation import provisioners
    {apply}
    create = provisioners._RESOURCE_HANDLERS["AWS::IAM::Role"]["create"]
    trust = {{"Version": "2012-10-17", "Statement": []}}
    name, _ = create("R", {{"AssumeRolePolicyDocument": trust, "PermissionsBoundary": "arn:boundary"}}, "stack")
    print(iam._roles[name].get("PermissionsBoundary"))
"""


def test_ministack_still_drops_role_boundary() -> None:
    assert in_ministack(BOUNDARY.format(apply="")) == "None"


def test_workaround_applies_role_boundary() -> None:
    apply = "from kennel.local import workarounds; workarounds.the_boundary_does_not_reach_the_role()"
    assert in_ministack(BOUNDARY.format(apply=apply)) == "arn:boundary"


ENCRYPTION = """
    from ministack.services import s3
    from ministack.services.cloudformation import provisioners
    {apply}
    create = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["create"]
    default = {{"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:key"}}
    rules = [{{"ServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}}]
    properties = {{"BucketEncryption": {{"ServerSideEncryptionConfiguration": rules}}}}
    name, _ = create("B", properties, "stack")
    print(s3._bucket_default_sse_headers(name).get("x-amz-server-side-encryption-aws-kms-key-id"))
"""


def test_ministack_still_drops_bucket_encryption() -> None:
    assert in_ministack(ENCRYPTION.format(apply="")) == "None"


def test_workaround_applies_bucket_encryption() -> None:
    apply = "from kennel.local import workarounds; workarounds.bucket_encryption_does_not_reach_the_bucket()"
    assert in_ministack(ENCRYPTION.format(apply=apply)) == "arn:key"


VERSIONS = """
    from ministack.services import lambda_svc
    {apply}
    config = {{"FunctionName": "f", "Version": "1"}}
    lambda_svc._functions["f"] = {{"config": config, "concurrency": 2}}
    print(lambda_svc._reserved_concurrency({{"config": config}}, config))
"""


def test_ministack_still_ignores_version_concurrency() -> None:
    assert in_ministack(VERSIONS.format(apply="")) == "None"


def test_workaround_limits_version_concurrency() -> None:
    apply = "from kennel.local import workarounds; workarounds.reserved_concurrency_does_not_hold_for_versions()"
    assert in_ministack(VERSIONS.format(apply=apply)) == "2"


TAGS = """
    from ministack.services import s3
    from ministack.services.cloudformation import provisioners
    {apply}
    create = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["create"]
    name, _ = create("B", {{"BucketName": "tagged", "Tags": [{{"Key": "a", "Value": "b"}}]}}, "stack")
    print(s3._bucket_tags.get(name))
"""


def test_ministack_still_drops_bucket_tags() -> None:
    assert "'a': 'b'" not in in_ministack(TAGS.format(apply=""))


def test_workaround_applies_bucket_tags() -> None:
    apply = "from kennel.local import workarounds; workarounds.bucket_tags_do_not_reach_the_bucket()"
    assert "'a': 'b'" in in_ministack(TAGS.format(apply=apply))


def test_loopback_request_counts_as_secure() -> None:
    seen = []

    async def application(scope: dict[str, object], receive: object, send: object) -> None:
        seen.append(scope)

    asyncio.run(loopback_is_secure(application)({"type": "http", "headers": []}, None, None))
    assert (b"x-forwarded-proto", b"https") in seen[0]["headers"]


UPDATE_ENDPOINT = """
    import boto3
    from moto import mock_aws
    with mock_aws():
        try:
            boto3.client("sagemaker", "us-east-1").update_endpoint(EndpointName="e", EndpointConfigName="c")
        except NotImplementedError:
            print("not implemented")
        except Exception as error:
            print(type(error).__name__)
"""


def test_moto_still_lacks_update_endpoint() -> None:
    assert in_ministack(UPDATE_ENDPOINT) == "not implemented"


NETWORK_ISOLATION = """
    import boto3
    from moto import mock_aws
    with mock_aws():
        client = boto3.client("sagemaker", "us-east-1")
        role = "arn:aws:iam::123456789012:role/r"
        client.create_model(ModelName="m", ExecutionRoleArn=role, EnableNetworkIsolation=True)
        print(client.describe_model(ModelName="m").get("EnableNetworkIsolation"))
"""


def test_moto_still_drops_network_isolation() -> None:
    assert in_ministack(NETWORK_ISOLATION) != "True"


LOGS = """
    import json
    from ministack.core import iam_actions
    {apply}
    body = json.dumps({{"logGroupName": "/x", "logStreamName": "s"}}).encode()
    target = {{"x-amz-target": "Logs_20140328.CreateLogStream"}}
    print(iam_actions.extract_resource_arn("logs", "POST", "/", target, body, {{}}, "us-east-1", "000000000000"))
"""


def test_ministack_still_authorizes_bare_log_group() -> None:
    assert in_ministack(LOGS.format(apply="")).endswith("log-group:/x")


def test_workaround_authorizes_log_stream() -> None:
    apply = "from kennel.local import workarounds; workarounds.log_stream_actions_are_authorized_on_the_bare_group()"
    assert in_ministack(LOGS.format(apply=apply)).endswith("log-group:/x:log-stream:s")


def test_moto_still_returns_empty_data_capture() -> None:
    described = in_ministack(
        """
        import boto3, moto
        with moto.mock_aws():
            client = boto3.client("sagemaker", region_name="us-east-1")
            client.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::000000000000:role/sagemaker-role",
                                PrimaryContainer={"Image": "i", "ModelDataUrl": "s3://b/m.tar.gz"})
            variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
            client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
            client.create_endpoint(EndpointName="e", EndpointConfigName="c")
            print(client.describe_endpoint(EndpointName="e").get("DataCaptureConfig"))
        """
    )
    assert described == "{}"


def test_workaround_omits_absent_members() -> None:
    assert absent_members_are_described_as_empty({"a": {}, "b": None, "c": 0, "d": []}) == {"c": 0, "d": []}


POLICY = """
    from moto.applicationautoscaling.models import applicationautoscaling_backends as backends
    backend = backends["000000000000"]["us-east-1"]
    names = ("p", "sagemaker", "endpoint/e/variant/v", "sagemaker:variant:DesiredInstanceCount")
    put = lambda: backend.put_scaling_policy(*names, {"TargetValue": 1.0}, "TargetTrackingScaling").policy_arn
    print(put() == put())
"""


def test_moto_still_changes_scaling_policy_arn() -> None:
    # Once this fails, kennel/local/sagemaker/scaling.py need not keep it.
    assert in_ministack(POLICY) == "False"


NAMESPACE = """
    from ministack.core import iam_actions
    {apply}
    body = {body}
    context = iam_actions.request_tag_context("monitoring", "cloudwatch:PutMetricData", body, {{}})
    print(context.get("cloudwatch:namespace"))
"""
BODIES = (b'{"Namespace": "Kennel/dev"}', b"Action=PutMetricData&Namespace=Kennel%2Fdev")


@pytest.mark.parametrize("body", BODIES, ids=["json", "form"])
def test_ministack_still_lacks_namespace_condition(body: bytes) -> None:
    assert in_ministack(NAMESPACE.format(apply="", body=body)) == "None"


@pytest.mark.parametrize("body", BODIES, ids=["json", "form"])
def test_workaround_adds_namespace_condition(body: bytes) -> None:
    apply = "from kennel.local import workarounds; workarounds.the_namespace_of_a_metric_is_no_condition_key()"
    assert in_ministack(NAMESPACE.format(apply=apply, body=body)) == "Kennel/dev"


PRINCIPAL = """
    from ministack.core import iam_evaluator
    {apply}
    request = iam_evaluator.EvalContext(
        principal_arn="arn:aws:sts::000000000000:assumed-role/r/session", principal_type="AssumedRole",
        principal_account="000000000000", action="a:B", resource_arn="*", region="us-east-1", service_context={{}},
    )
    print(iam_evaluator._resolve_condition_key("aws:PrincipalArn", request))
"""


def test_ministack_still_takes_session_for_principal() -> None:
    assert ":assumed-role/" in in_ministack(PRINCIPAL.format(apply=""))


def test_workaround_takes_role_for_principal() -> None:
    apply = "from kennel.local import workarounds; workarounds.the_principal_of_a_session_is_not_its_role()"
    assert in_ministack(PRINCIPAL.format(apply=apply)) == "arn:aws:iam::000000000000:role/r"


TOPIC_KEY = """
    from ministack.services import sns
    from ministack.services.cloudformation import provisioners
    {apply}
    create = provisioners._RESOURCE_HANDLERS["AWS::SNS::Topic"]["create"]
    arn, _ = create("T", {{"TopicName": "t", "KmsMasterKeyId": "key"}}, "stack")
    print(sns._topics[arn]["attributes"].get("KmsMasterKeyId"))
"""


def test_ministack_still_drops_topic_key() -> None:
    assert in_ministack(TOPIC_KEY.format(apply="")) == "None"


def test_workaround_applies_topic_key() -> None:
    apply = "from kennel.local import workarounds; workarounds.the_key_does_not_reach_the_topic()"
    assert in_ministack(TOPIC_KEY.format(apply=apply)) == "key"
