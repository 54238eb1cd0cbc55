"""An AWS account's quotas, as Service Quotas lists them, and what its services refuse beyond them.

A new account has small quotas: 10 concurrent executions of Lambda, and none of SageMaker's instances ("The
account-level service limit 'ml.m5.large for endpoint usage' is 0 Instances",
aws-samples/sagemaker-custom-project-templates#51). An increase that is requested is granted here at once.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners
from moto.sagemaker.models import sagemaker_backends

from kennel.local.errors import ServiceError
from kennel.local.iam.service_roles import GROUPS_ROLE, SCALING_ROLES, make_service_role, service_role
from kennel.local.settings import ACCOUNT, ACCOUNT_KINDS, ACCOUNT_VARIABLE, REGION

Parameters = dict[str, Any]
# The part of Lambda's quota that stays unreserved (developer guide, "Configuring reserved concurrency"); all of a
# smaller one: "below its minimum value of [10]" (aws-samples/one-observability-demo#278).
UNRESERVED = 100
# Quotas: code, in an established account, in a new one.
CONCURRENCY = ("lambda", "Concurrent executions")
STANDARD = ("ec2", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances")
SPOT = ("ec2", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests")
_NAMED: dict[tuple[str, str], tuple[str, float, float]] = {
    CONCURRENCY: ("L-B99A9384", 1000, 10),
    STANDARD: ("L-1216C47A", 64, 5),
    SPOT: ("L-34B43A08", 64, 5),
    ("vpc", "VPCs per Region"): ("L-F678F1CE", 5, 5),
}
# SageMaker's, for each instance type: in an established account, in a new one.
USES = {
    "endpoint usage": (20, 0),
    "training job usage": (20, 0),
    "spot training job usage": (20, 0),
    "notebook instance usage": (20, 2),
}
TYPES = ("ml.t3.medium", "ml.m5.large", "ml.m5.xlarge", "ml.c5.xlarge", "ml.m5d.xlarge")


@dataclass
class Quota:
    """A quota: its service, its code (SageMaker's are made up here), its name and its value."""

    service: str
    code: str
    name: str
    value: float


class Account:
    """The quotas of this embedded AWS."""

    def __init__(self, kind: str) -> None:
        place = ACCOUNT_KINDS.index(kind)
        self._quotas: list[Quota] = []
        for (service, name), (code, *values) in _NAMED.items():
            self._quotas.append(Quota(service, code, name, values[place]))
        for instance_type in TYPES:
            for use, values in USES.items():
                name = f"{instance_type} for {use}"
                code = f"L-{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}"
                self._quotas.append(Quota("sagemaker", code, name, values[place]))
        self.new = kind == "new"

    def value(self, service: str, name: str) -> float:
        """The value of a quota; of an instance type that is not listed, that of all others."""
        for quota in self._quotas:
            if (quota.service, quota.name) == (service, name):
                return quota.value
        return USES[name.partition(" for ")[2]][self.new]

    def operations(self) -> dict[str, Callable[..., Parameters]]:
        """The API operations of Service Quotas."""
        return {
            "ListServiceQuotas": self._list,
            "GetServiceQuota": self._get,
            "RequestServiceQuotaIncrease": self._increase,
        }

    def _list(self, parameters: Parameters, record: Any) -> Parameters:
        found = [quota for quota in self._quotas if quota.service == parameters["ServiceCode"]]
        return {"Quotas": [_described(quota) for quota in found]}

    def _get(self, parameters: Parameters, record: Any) -> Parameters:
        return {"Quota": _described(self._quota(parameters))}

    def _increase(self, parameters: Parameters, record: Any) -> Parameters:
        quota = self._quota(parameters)
        if parameters["DesiredValue"] <= quota.value:
            raise ServiceError(400, "IllegalArgumentException", "The desired value is not over the quota's value")
        quota.value = parameters["DesiredValue"]
        apply_concurrency(self)
        return {"RequestedQuota": {**_described(quota), "DesiredValue": quota.value, "Status": "APPROVED"}}

    def _quota(self, parameters: Parameters) -> Quota:
        for quota in self._quotas:
            if (quota.service, quota.code) == (parameters["ServiceCode"], parameters["QuotaCode"]):
                return quota
        raise ServiceError(
            404, "NoSuchResourceException", "The request failed because the specified quota does not exist"
        )


def _described(quota: Quota) -> Parameters:
    return {
        "ServiceCode": quota.service,
        "QuotaArn": f"arn:aws:servicequotas:{REGION}:{ACCOUNT}:{quota.service}/{quota.code}",
        "QuotaCode": quota.code,
        "QuotaName": quota.name,
        "Value": quota.value,
        "Adjustable": True,
        "GlobalQuota": False,
    }


class CostTags:
    """Which tags Billing counts by: none until somebody says so, once for each account."""

    def __init__(self) -> None:
        self._active: set[str] = set()

    def operations(self) -> dict[str, Callable[..., Parameters]]:
        """Those API operations of Cost Explorer."""
        return {"ListCostAllocationTags": self._list, "UpdateCostAllocationTagsStatus": self._update}

    def _list(self, parameters: Parameters, record: Any) -> Parameters:
        wanted = parameters.get("TagKeys") or sorted(self._active)
        found = [key for key in wanted if key in self._active]
        tags = [{"TagKey": key, "Type": "UserDefined", "Status": "Active"} for key in found]
        return {"CostAllocationTags": tags if parameters.get("Status", "Active") == "Active" else []}

    def _update(self, parameters: Parameters, record: Any) -> Parameters:
        for item in parameters["CostAllocationTagsStatus"]:
            (self._active.add if item["Status"] == "Active" else self._active.discard)(item["TagKey"])
        return {"Errors": []}


account = Account(os.environ.get(ACCOUNT_VARIABLE, ACCOUNT_KINDS[0]))


def apply_concurrency(of: Account) -> None:
    """Lets Lambda hold to its quota, and report it."""
    lambda_svc._ACCOUNT_CONCURRENCY_CAP = int(of.value(*CONCURRENCY))


def install() -> None:
    """Gives an established account AWS's own roles, and lets Lambda refuse to reserve what the account lacks."""
    if not account.new:
        for path in (GROUPS_ROLE, *SCALING_ROLES.values()):
            make_service_role(service_role(path))
    apply_concurrency(account)
    _before("AWS::Lambda::Function", lambda p: refused_reservation(p.get("FunctionName", ""), _reserved(p)))
    _before("AWS::Lambda::Alias", _refused_provisioning)
    upstream = lambda_svc._put_function_concurrency

    def put(name: str, data: Parameters) -> Any:
        if refusal := refused_reservation(name, data.get("ReservedConcurrentExecutions")):
            return error_response_json("InvalidParameterValueException", refusal, 400)
        return upstream(name, data)

    lambda_svc._put_function_concurrency = put


def _before(kind: str, refused: Callable[[Parameters], str | None]) -> None:
    """Lets CloudFormation fail where the service refuses what the account has no room for."""
    handlers = provisioners._RESOURCE_HANDLERS[kind]
    create, update = handlers["create"], handlers["update"]

    def checked_create(logical_id: str, properties: Parameters, *rest: Any) -> Any:
        _fail(refused(properties))
        return create(logical_id, properties, *rest)

    def checked_update(physical_id: str, old: Parameters, new: Parameters, *rest: Any) -> Any:
        if old != new:
            _fail(refused({"FunctionName": physical_id, **new}))
        return update(physical_id, old, new, *rest)

    handlers.update(create=checked_create, update=checked_update)


def _fail(reason: str | None) -> None:
    if reason:
        raise ValueError(reason)


def _reserved(properties: Parameters) -> Any:
    return properties.get("ReservedConcurrentExecutions")


def _refused_provisioning(properties: Parameters) -> str | None:
    wanted = (properties.get("ProvisionedConcurrencyConfig") or {}).get("ProvisionedConcurrentExecutions")
    function = str(properties["FunctionName"]).rpartition(":function:")[2] or str(properties["FunctionName"])
    if wanted is None or (lambda_svc._functions.get(function) or {}).get("concurrency"):
        return None  # it is a part of what the function has reserved
    return refused_reservation(function, None, wanted)


def refused_reservation(function: str, reserved: Any, provisioned: Any = None) -> str | None:
    """The reason why a function cannot reserve or provision so much; None if it can.

    What is provisioned without a reservation is taken from what all functions share.
    """
    taken = sum(int(of.get("concurrency") or 0) for name, of in lambda_svc._functions.items() if name != function)
    wanted = int(reserved) if reserved is not None else int(provisioned or 0)
    quota = int(account.value(*CONCURRENCY))
    least = min(UNRESERVED, quota)
    if not wanted or quota - taken - wanted >= least:
        return None
    what = "ReservedConcurrentExecutions" if reserved is not None else "ConcurrentExecutions"
    return (
        f"Specified {what} for function decreases account's UnreservedConcurrentExecution below its minimum value of "
        f"[{least}]."
    )


def require_instances(use: str, instance_type: str, count: int) -> None:
    """Raises Fault where the account's quota has no room for so many instances more."""
    name = f"{instance_type} for {use}"
    quota, used = account.value("sagemaker", name), sum(_used(use, instance_type))
    if used + count > quota:
        raise ServiceError(
            400,
            "ResourceLimitExceeded",
            f"The account-level service limit '{name}' is {quota:.0f} Instances, with current utilization of {used} "
            f"Instances and a request delta of {count} Instances. Please use AWS Service Quotas to request an increase "
            "for this quota. If AWS Service Quotas is not available, contact AWS support to request an increase for "
            "this quota.",
        )


def _used(use: str, instance_type: str) -> Iterator[int]:
    backend = sagemaker_backends[ACCOUNT][REGION]
    if use == "endpoint usage":
        for endpoint in backend.endpoints.values():
            for variant in endpoint.production_variants or []:
                if instance_type_of(endpoint) == instance_type:
                    yield int(variant.get("DesiredInstanceCount") or 0)
    elif use == "notebook instance usage":
        for notebook in backend.notebook_instances.values():
            if notebook.instance_type == instance_type and notebook.status == "InService":
                yield 1
    else:
        spot = use.startswith("spot")
        for job in backend.training_jobs.values():
            config, of_spot = job.resource_config, bool(job.enable_managed_spot_training)
            running = job.training_job_status == "InProgress" and config["InstanceType"] == instance_type
            if running and of_spot == spot:
                yield int(config.get("InstanceCount", 1))


def instance_type_of(endpoint: Any) -> str | None:
    """The type of an endpoint's instances; None of a serverless one."""
    config = sagemaker_backends[ACCOUNT][REGION].endpoint_configs.get(endpoint.endpoint_config_name)
    return config.production_variants[0].get("InstanceType") if config else None
