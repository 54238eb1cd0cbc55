"""Faults of the emulators, one function each, named for the fault.

tests/e2e/test_workarounds.py shows each fault without its function, and so fails once upstream has fixed it.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

Properties = dict[str, Any]
Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def apply() -> None:
    """Applies every workaround to ministack."""
    reserved_concurrency_does_not_reach_the_function()
    reserved_concurrency_does_not_hold_for_versions()
    bucket_tags_do_not_reach_the_bucket()
    bucket_encryption_does_not_reach_the_bucket()
    the_boundary_does_not_reach_the_role()
    log_stream_actions_are_authorized_on_the_bare_group()
    the_namespace_of_a_metric_is_no_condition_key()
    the_principal_of_a_session_is_not_its_role()
    the_key_does_not_reach_the_topic()


def loopback_is_secure(application: Application) -> Application:
    """Supplies aws:SecureTransport: nothing leaves this machine, so the buckets' TLS-only policies hold on loopback."""

    async def served(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
        await application(scope, receive, send)

    return served


def absent_members_are_described_as_empty(document: Properties) -> Properties:
    """moto 5.2.5: what a resource was made without is described as {} or null, which SageMaker's SDK refuses."""
    return {name: value for name, value in document.items() if value not in ({}, None)}


def reserved_concurrency_does_not_reach_the_function() -> None:
    """ministack 1.5.33: CloudFormation's ReservedConcurrentExecutions is dropped."""
    from ministack.services import lambda_svc

    def reserve(name: str, properties: Properties) -> None:
        reserved = properties.get("ReservedConcurrentExecutions")
        lambda_svc._functions[name]["concurrency"] = None if reserved is None else int(reserved)

    _after_create_and_update("AWS::Lambda::Function", reserve)


def reserved_concurrency_does_not_hold_for_versions() -> None:
    """ministack 1.5.33: what is reserved for a function limits no call by way of a version or an alias."""
    from ministack.services import lambda_svc

    def reserved(func: Any, config: Properties) -> int | None:
        concurrency = (lambda_svc._functions.get(config.get("FunctionName", "")) or {}).get("concurrency")
        return None if concurrency is None else int(concurrency)

    lambda_svc._reserved_concurrency = reserved


def bucket_tags_do_not_reach_the_bucket() -> None:
    """ministack 1.5.33: a bucket's Tags are dropped by CloudFormation; by them CDK knows the buckets it may empty."""
    from ministack.services import s3

    def tag(name: str, properties: Properties) -> None:
        s3._bucket_tags[name] = {item["Key"]: item["Value"] for item in properties.get("Tags", [])}

    _after_create_and_update("AWS::S3::Bucket", tag)


def bucket_encryption_does_not_reach_the_bucket() -> None:
    """ministack 1.5.33: CloudFormation drops BucketEncryption, so that no object is encrypted with the stage's key."""
    from ministack.services import s3

    def encrypt(name: str, properties: Properties) -> None:
        rules = properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [])
        for rule in rules:
            default = rule["ServerSideEncryptionByDefault"]
            if "KMSMasterKeyID" not in default:
                # AWS's own key: CDK's asset bucket has it, and ministack refuses uploads that name no key.
                continue
            values = "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in sorted(default.items()))
            s3._bucket_encryption[name] = (
                "<ServerSideEncryptionConfiguration><Rule>"
                f"<ApplyServerSideEncryptionByDefault>{values}</ApplyServerSideEncryptionByDefault>"
                f"<BucketKeyEnabled>{str(rule.get('BucketKeyEnabled', False)).lower()}</BucketKeyEnabled>"
                "</Rule></ServerSideEncryptionConfiguration>"
            ).encode()

    _after_create_and_update("AWS::S3::Bucket", encrypt)


def the_boundary_does_not_reach_the_role() -> None:
    """ministack 1.5.33: CloudFormation drops a role's PermissionsBoundary, so that it bounds nothing."""
    from ministack.services import iam

    def bound(name: str, properties: Properties) -> None:
        iam._roles[name]["PermissionsBoundary"] = properties.get("PermissionsBoundary")

    _after_create_and_update("AWS::IAM::Role", bound)


def log_stream_actions_are_authorized_on_the_bare_group() -> None:
    """ministack 1.5.33: writing to a stream is checked against log-group:NAME, not log-group:NAME:log-stream:STREAM."""
    from ministack.core import iam_actions

    upstream = iam_actions.extract_resource_arn

    def extract(service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any) -> Any:
        arn = upstream(service, method, path, headers, body, *rest)
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if service == "logs" and action in ("CreateLogStream", "PutLogEvents", "GetLogEvents"):
            return f"{arn}:log-stream:{json.loads(body).get('logStreamName', '')}"
        return arn

    iam_actions.extract_resource_arn = extract


def the_namespace_of_a_metric_is_no_condition_key() -> None:
    """ministack 1.5.33: PutMetricData has no cloudwatch:namespace: roles limited to one namespace may write to none."""
    from ministack.core import iam_actions

    upstream = iam_actions.request_tag_context

    def context(service: str, action: str, body: bytes, *rest: Any) -> Any:
        found = upstream(service, action, body, *rest)
        if action == "cloudwatch:PutMetricData":
            return {**found, "cloudwatch:namespace": _namespace(body)}
        return found

    iam_actions.request_tag_context = context


def _namespace(body: bytes) -> str | None:
    """Of a call as JSON or as a form."""
    document = json.loads(body) if body.startswith(b"{") else dict(parse_qsl(body.decode()))
    namespace = document.get("Namespace")
    return None if namespace is None else str(namespace)


def the_principal_of_a_session_is_not_its_role() -> None:
    """ministack 1.5.33: aws:PrincipalArn of a role's session is the session's ARN (IAM user guide: the role's)."""
    from ministack.core import iam_evaluator
    from ministack.services import iam

    upstream = iam_evaluator._resolve_condition_key

    def resolve(key: str, request: Any) -> Any:
        found = upstream(key, request)
        if key.lower() != "aws:principalarn" or ":assumed-role/" not in str(found):
            return found
        name = found.split("/")[1]
        return (iam._roles.get(name) or {}).get("Arn") or f"arn:aws:iam::{found.split(':')[4]}:role/{name}"

    iam_evaluator._resolve_condition_key = resolve


def the_key_does_not_reach_the_topic() -> None:
    """ministack 1.5.33: CloudFormation drops a topic's KmsMasterKeyId, so that the key's policy is not checked."""
    from ministack.services import sns

    def encrypt(arn: str, properties: Properties) -> None:
        attributes = sns._topics[arn]["attributes"]
        attributes.pop("KmsMasterKeyId", None)
        if key := properties.get("KmsMasterKeyId"):
            attributes["KmsMasterKeyId"] = key

    _after_create_and_update("AWS::SNS::Topic", encrypt)


def _after_create_and_update(resource_type: str, fix: Callable[[str, Properties], None]) -> None:
    """Lets `fix` work on each resource of the type that CloudFormation has made or changed."""
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS[resource_type]
    create, update = handlers["create"], handlers["update"]

    def create_and_mend(logical_id: str, properties: Properties, stack_name: str) -> Any:
        result = create(logical_id, properties, stack_name)
        fix(result[0], properties)
        return result

    def update_and_mend(physical_id: str, old: Properties, new: Properties, *where: str) -> Any:
        result = update(physical_id, old, new, *where)
        fix(result[0], new)
        return result

    handlers.update(create=create_and_mend, update=update_and_mend)
