"""Joins moto to ministack: its services behind ministack's port and IAM check, its resources in ministack's stacks."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import ministack.app
from ministack.core import router
from ministack.core.concurrency import run_reentrant
from ministack.services.cloudformation import provisioners as cloudformation
from ministack.services.cloudformation import stacks
from moto.core.exceptions import ServiceException
from moto.sagemaker.models import sagemaker_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.test import Client

from kennel.local.cloudformation import operations_types, resource_types
from kennel.local.errors import ServiceError
from kennel.local.sagemaker.api import SageMaker
from kennel.local.sagemaker.scaling import Scaling
from kennel.local.service_quotas import CostTags, account
from kennel.local.settings import ACCOUNT, REGION
from kennel.local.workarounds import absent_members_are_described_as_empty

Answer = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, dict[str, str], bytes, dict[str, list[str]]], Awaitable[Answer]]

_moto = Client(DomainDispatcherApplication(create_backend_app))


def install(sagemaker: SageMaker, scaling: Scaling, endpoint: str) -> None:
    """Adds the services and the resource types to ministack; `endpoint` is where it listens."""
    router.SERVICE_PATTERNS["sagemaker"] = {"target_prefixes": ["SageMaker"], "credential_scope": "sagemaker"}
    router.SERVICE_PATTERNS["application-autoscaling"] = {
        "target_prefixes": ["AnyScaleFrontendService"],
        "credential_scope": "application-autoscaling",
    }
    router.SERVICE_PATTERNS["servicequotas"] = {
        "target_prefixes": ["ServiceQuotasV20190624"],
        "credential_scope": "servicequotas",
    }
    router.SERVICE_PATTERNS["ce"] = {"target_prefixes": ["AWSInsightsIndexService"], "credential_scope": "ce"}
    for service, operations in (
        ("sagemaker", sagemaker.operations()),
        ("application-autoscaling", scaling.operations()),
        ("servicequotas", account.operations()),
        ("ce", CostTags().operations()),
    ):
        ministack.app.SERVICE_HANDLERS[service] = _service(service, operations)
    _add_resource_types(endpoint)


def _add_resource_types(endpoint: str) -> None:
    rows = {**resource_types.provisioners(endpoint), **operations_types.provisioners(endpoint)}
    for name, row in rows.items():
        cloudformation._RESOURCE_HANDLERS[name] = {
            "create": row.create,
            "update": row.update,
            "update_with_logical_id": True,
            "delete": row.delete,
        }
    # They call the services and wait, so they must not hold the event loop.
    upstream = stacks._runs_on_worker_thread
    stacks._runs_on_worker_thread = lambda name: name in rows or upstream(name)


def _service(service: str, overlays: dict[str, Callable[..., Any]]) -> Handler:
    """A handler that checks permissions, then lets an overlay answer, or moto."""

    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Answer:
        operation, parameters = _parse(path, headers, body)
        denied = _denied(service, operation, parameters, headers, query)
        if denied is not None:
            return denied

        def record() -> dict[str, Any]:
            """moto's answer to this call; raises Fault if it refuses."""
            status, _, answer = _ask_moto(method, path, headers, body)
            if status >= 300:
                raise ServiceError.of(status, answer)
            return cast(dict[str, Any], json.loads(answer or b"{}"))

        def answer() -> Answer:
            try:
                if operation == "InvokeEndpoint":
                    return cast(Answer, overlays[operation](parameters["EndpointName"], headers, body))
                if operation in overlays:
                    return _json(200, overlays[operation](parameters, record))
                status, answer_headers, answer = _ask_moto(method, path, headers, body)
                if operation.startswith("Describe") and status == 200:
                    return _json(200, absent_members_are_described_as_empty(json.loads(answer)))
                return status, answer_headers, answer
            except ServiceError as fault:
                return _json(fault.status, fault.document, {"x-amzn-errortype": fault.code})

        return cast(Answer, await run_reentrant(answer))

    return handle


def _ask_moto(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    # moto finds the region and the service in the signature and in the target header.
    passed = {name: value for name, value in headers.items() if name not in ("host", "content-length")}
    answer = _moto.open(path, method=method, headers=passed, data=body)
    return answer.status_code, dict(answer.headers), answer.get_data()


def _parse(path: str, headers: dict[str, str], body: bytes) -> tuple[str, dict[str, Any]]:
    if path.startswith("/endpoints/") and path.endswith("/invocations"):
        return "InvokeEndpoint", {"EndpointName": path.split("/")[2]}
    return headers.get("x-amz-target", "").rpartition(".")[2], json.loads(body or b"{}")


def _denied(
    service: str,
    operation: str,
    parameters: dict[str, Any],
    headers: dict[str, str],
    query: dict[str, list[str]],
) -> Answer | None:
    """The refusal of a call that the caller's policies do not allow, iam:PassRole included."""
    resource, tags = _resource(service, parameters), _tags(parameters)
    isolated = parameters.get("EnableNetworkIsolation")
    keys = tags | ({} if isolated is None else {"sagemaker:NetworkIsolation": str(isolated).lower()})
    checks: list[tuple[str, str, dict[str, str]]] = [(f"{service}:{operation}", resource, keys)]
    if operation in ("CreateEndpoint", "UpdateEndpoint"):
        endpoint = _resource(service, {"EndpointName": parameters["EndpointName"]})
        checks.append((f"{service}:{operation}", endpoint, tags))
    if operation.startswith("Create") and parameters.get("Tags"):
        checks.append((f"{service}:AddTags", resource, {"sagemaker:TaggingAction": operation}))
    definition = parameters.get("TrainingJobDefinition", {})
    role = parameters.get("RoleArn") or parameters.get("ExecutionRoleArn") or definition.get("RoleArn")
    if role and operation.startswith("Create"):
        checks.append(("iam:PassRole", role, {"iam:PassedToService": f"{service}.amazonaws.com"}))
    for action, resource, context in checks:
        denied = ministack.app._enforce_data_plane(
            service, action, headers, query, "", resource_arn=resource, service_context=context, named_resource=resource
        )
        if denied is not None:
            return cast(Answer, denied)
    return None


def _resource(service: str, parameters: dict[str, Any]) -> str:
    """The ARN that a call is authorized on: the resource it names, or every one."""
    if arn := parameters.get("ResourceArn") or parameters.get("ResourceARN"):
        return str(arn)
    kind, name = _named(parameters)
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{kind}/{name.lower()}" if kind else "*"


def _named(parameters: dict[str, Any]) -> tuple[str, str]:
    """Kind and name of the resource that a call of SageMaker is about; empty if it is about none."""
    for noun in ("TrainingJob", "EndpointConfig", "Endpoint", "Model", "NotebookInstanceLifecycleConfig",
                 "NotebookInstance", "HyperParameterTuningJob"):  # fmt: skip
        if name := parameters.get(f"{noun}Name"):
            kind = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in noun).lstrip("-")
            return kind, str(name)
    return "", ""


def _tags(parameters: dict[str, Any]) -> dict[str, str]:
    """The condition keys of the tags that the resource of a call has."""
    kind, name = _named(parameters)
    try:
        resource = sagemaker_backends[ACCOUNT][REGION]._get_resource_from_arn(f"{kind}/{name}")
    except (AttributeError, ServiceException):  # moto knows no such kind of resource
        return {}
    # There is no such resource, or it was made without tags.
    return {f"aws:ResourceTag/{tag['Key']}": tag["Value"] for tag in getattr(resource, "tags", None) or []}


def _json(status: int, document: Any, headers: dict[str, str] | None = None) -> Answer:
    return status, {"Content-Type": "application/x-amz-json-1.1", **(headers or {})}, json.dumps(document).encode()
