"""Checks before a deploy or a job: what AWS would refuse half-way, found by calls that only read.

Every check runs, and all findings are reported at once. What the caller may not look at is said, and does not block.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra import names
from infra.settings import StageSettings
from kennel.errors import KennelError
from kennel.models import promotion
from kennel.operations import account_bootstrap
from kennel.stage.deployed import DeployedStage

# The part of Lambda's concurrency that stays unreserved (developer guide, "Configuring reserved concurrency for a
# function"), and all of a smaller quota.
UNRESERVED = 100
# The function that watches drift reserves one.
DRIFT_RESERVES = 1
# The version of the bootstrap that today's templates ask for (CDK's DefaultStackSynthesizer).
BOOTSTRAP_VERSION = 6
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError")
STANDARD_SERIES = ("a", "c", "d", "h", "i", "m", "r", "t", "z")
QUOTAS_PAGE = "https://console.aws.amazon.com/servicequotas/home/services/{}/quotas"


@dataclass(frozen=True)
class Finding:
    """One obstacle: what it is, and the command or page that removes it. One that does not block is a warning."""

    what: str
    remedy: str
    blocks: bool = True


@dataclass(frozen=True)
class Job:
    """The quotas that a training job needs."""

    instance_type: str
    instances: int = 1
    spot: bool = False


class Preflight:
    """The checks of one stage; `assembly` is the folder of its synthesized templates."""

    def __init__(self, deployment: DeployedStage, assembly: Path | None = None) -> None:
        self._deployment = deployment
        self._assembly = assembly
        # Quotas by service and name; there are thousands of SageMaker's.
        self._listed: dict[str, dict[str, dict[str, Any]]] = {}

    def bootstrap(self) -> list[Finding]:
        """Before the account and region are prepared."""
        return self._run(self._account, self._toolkit_is_ours, self._shared_toolkit)

    def training(self) -> list[Finding]:
        """Before the stacks of training are deployed."""
        return self._run(self._account, self._bootstrapped, self._policies, self._names, self._notebook, self._vpcs)

    def deploy(self) -> list[Finding]:
        """Before the whole stage is deployed."""
        checks = (self._account, self._bootstrapped, self._policies, self._names, self._package)
        return self._run(*checks, self._concurrency, self._endpoints, self._cost_tag)

    def job(self, job: Job) -> list[Finding]:
        """Before training jobs are started on SageMaker."""
        return self._run(self._account, lambda: self._job(job))

    def ec2(self) -> list[Finding]:
        """Before a training run is started on EC2."""
        return self._run(self._account, self._ec2)

    def quotas(self, job: Job) -> list[Finding]:
        """Before anything: what all steps from training to the deployed stage take of the account."""
        return self._run(
            self._account, self._notebook, self._vpcs, lambda: self._job(job), self._concurrency, self._endpoints
        )

    def has_bootstrap(self) -> bool:
        """True if the account and region have a bootstrap of our qualifier."""
        return self._version() is not None

    def _run(self, *checks: Callable[[], Iterator[Finding]]) -> list[Finding]:
        found: list[Finding] = []
        for check in checks:
            try:
                found += check()
            except ClientError as error:
                if error.response["Error"]["Code"] not in DENIED:
                    raise
                what = (check.__doc__ or "").strip().rstrip(".") or "A quota"
                remedy = f"allow {error.operation_name} to see it beforehand"
                found.append(Finding(f"Not checked, as you may not look: {what}", remedy, blocks=False))
        return found

    @property
    def _settings(self) -> StageSettings:
        return self._deployment.settings

    def _client(self, service: str) -> Any:
        return self._deployment.client(service)

    @cached_property
    def _place(self) -> account_bootstrap.Target:
        return account_bootstrap.target(self._deployment)

    @cached_property
    def _trains(self) -> bool:
        """True if the stage's Training stack, with notebook and VPC, is deployed already."""
        return bool(self._physical_ids(names.stack(self._deployment.stage, "Training")))

    def _account(self) -> Iterator[Finding]:
        """The account of the credentials."""
        wanted = self._settings.account
        if wanted and wanted != self._place.account:
            yield Finding(
                f"The stage belongs to account {wanted}, and your credentials are of {self._place.account}",
                "sign in to the other account, or change `account` in cdk.json",
            )

    def _toolkit_is_ours(self) -> Iterator[Finding]:
        """The present resources of the bootstrap."""
        stage = self._deployment.stage
        name, ours = account_bootstrap.toolkit_stack(stage), account_bootstrap.execution(stage)
        stack = self._stack(name)
        if stack is None:
            bucket = self._place.assets_bucket
            if self._version() is not None:
                qualifier = account_bootstrap.qualifier(stage)
                yield Finding(
                    f"Another stack than {name} has a bootstrap with the qualifier {qualifier}",
                    "choose another name for the stage, or a qualifier and a toolkitStackName in cdk.json",
                )
            elif self._exists(lambda: self._client("s3").head_bucket(Bucket=bucket)):
                yield Finding(
                    f"The bucket {bucket} of an earlier bootstrap was kept, and a new one cannot have its name",
                    f"empty and delete it: aws s3 rb --force s3://{bucket}",
                )
        elif foreign := [arn for arn in _execution_policies(stack) if f":policy/{ours}-" not in arn]:
            yield Finding(
                f"The stack {name} deploys with policies that are not Kennel's ({', '.join(foreign)}), which "
                "`make bootstrap` would replace",
                "set toolkitStackName and the qualifier in cdk.json (docs/security.md), or --force to replace them",
            )

    def _shared_toolkit(self) -> Iterator[Finding]:
        """The bootstrap of the account's other CDK apps."""
        stack = self._stack("CDKToolkit")
        if stack and any(":policy/kennel-execution-" in arn for arn in _execution_policies(stack)):
            yield Finding(
                "An earlier version of Kennel put its policies on CDKToolkit, by which all CDK apps of this account "
                "and region deploy",
                "give it its own again once every stage is deployed again: cdk bootstrap --toolkit-stack-name "
                "CDKToolkit --qualifier hnb659fds --cloudformation-execution-policies "
                "arn:aws:iam::aws:policy/AdministratorAccess",
                blocks=False,
            )

    def _bootstrapped(self) -> Iterator[Finding]:
        """The account's bootstrap."""
        version = self._version()
        if version is None:
            place = f"account {self._place.account}, {self._place.region}"
            yield Finding(f"CDK is not bootstrapped for Kennel in {place}", f"make bootstrap{self._of_stage()}")
        elif version < BOOTSTRAP_VERSION:
            yield Finding(f"The bootstrap is version {version}, too old", f"make bootstrap{self._of_stage()}")

    def _policies(self) -> Iterator[Finding]:
        """The policies of deploys and roles."""
        iam, wanted = self._client("iam"), {}
        if self._settings.permissions_boundary:
            wanted |= self._place.boundary
        if self._version() is None:
            return
        stack = self._stack(account_bootstrap.toolkit_stack(self._deployment.stage))
        # Without our stack, somebody's own bootstrap is used, with what they let it do.
        attached = _execution_policies(stack) if stack else []
        if stack:
            wanted |= self._place.execution
        missing = [arn for arn in self._place.execution if stack and arn not in attached]
        stale = [arn for arn, document in wanted.items() if account_bootstrap.present(iam, arn) != document]
        if names := sorted({arn.rpartition("/")[2] for arn in (*missing, *stale)}):
            yield Finding(
                f"The account's policies are not those of this version of Kennel: {', '.join(names)}",
                f"make bootstrap{self._of_stage()}",
            )

    def _names(self) -> Iterator[Finding]:
        """Names that are taken."""
        for stack, template in self._templates():
            present = self._physical_ids(stack)
            for resource in template["Resources"].values():
                lookup = _NAMED.get(resource["Type"])
                name = resource.get("Properties", {}).get(lookup.name) if lookup else None
                # Resources that a destroyed stage kept are taken back by the deploy (--import-existing-resources).
                kept = str(resource.get("DeletionPolicy", "")).startswith("Retain")
                if lookup is None or not isinstance(name, str) or kept or _has(present, name):
                    continue
                client = self._client(lookup.service)
                if self._exists(lambda: lookup.find(client, name)):  # noqa: B023  # called at once
                    yield Finding(
                        f"{resource['Type']} {name} exists, and is not of {stack}", lookup.remedy.format(name)
                    )

    def _package(self) -> Iterator[Finding]:
        """The promoted model package."""
        if problem := promotion.problem(self._deployment):
            yield Finding(*problem)

    def _concurrency(self) -> Iterator[Finding]:
        """Lambda's concurrency."""
        settings, client = self._settings.function, self._client("lambda")
        reserved = settings.reserved_concurrency
        wanted = reserved + DRIFT_RESERVES if reserved else settings.provisioned_max or 0
        limits = client.get_account_settings()["AccountLimit"]
        quota = int(limits["ConcurrentExecutions"])
        left = int(limits["UnreservedConcurrentExecutions"]) + self._reserved_now(client)
        least = min(UNRESERVED, quota)
        if not wanted or left - wanted >= least:
            return
        what = f"reserves {wanted}" if reserved else f"provisions up to {wanted}"
        without = "" if reserved is None else "set function.reserved_concurrency null, "
        yield Finding(
            f"The stage {what} of Lambda's concurrency; the account has {quota}, of which {left} are free and {least} "
            "must stay unreserved",
            f"{self._increase('lambda', 'Concurrent executions', wanted + UNRESERVED + quota - left)}; or {without}"
            "leave provisioned_min and provisioned_max out",
        )

    def _endpoints(self) -> Iterator[Finding]:
        """SageMaker's instances for endpoints."""
        settings = self._settings.endpoint
        if settings.serverless:
            return
        fixed = settings.fixed_instances if settings.fixed else 0
        least, most = settings.min_instances + fixed, settings.max_instances + fixed
        name = f"{settings.instance_type} for endpoint usage"
        quota = self._quota("sagemaker", name)
        if quota is None or quota >= 2 * most:
            return
        enough = self._increase("sagemaker", name, 2 * most)
        if quota < least:
            yield Finding(f"The stage starts with {least} × {name}, and the quota is {quota:.0f}", enough)
        else:
            what = f"The stage grows to {most} × {name}, twice that during an update, and the quota is {quota:.0f}"
            yield Finding(what, enough, blocks=False)

    def _notebook(self) -> Iterator[Finding]:
        """SageMaker's notebook instances."""
        if self._trains:
            return
        settings = self._settings.notebook
        yield from self._enough("sagemaker", f"{settings.instance_type} for notebook instance usage", 1)

    def _job(self, job: Job) -> Iterator[Finding]:
        """SageMaker's instances for training."""
        use = "spot training job usage" if job.spot else "training job usage"
        yield from self._enough("sagemaker", f"{job.instance_type} for {use}", job.instances)

    def _ec2(self) -> Iterator[Finding]:
        """EC2's processors."""
        settings = self._settings.ec2
        series = settings.instance_type[0]
        if series not in STANDARD_SERIES:
            return
        found = self._client("ec2").describe_instance_types(InstanceTypes=[settings.instance_type])["InstanceTypes"]
        processors = int(found[0]["VCpuInfo"]["DefaultVCpus"])
        family = "Standard (A, C, D, H, I, M, R, T, Z)"
        name = f"All {family} Spot Instance Requests" if settings.spot else f"Running On-Demand {family} instances"
        yield from self._enough("ec2", name, processors, f"{settings.instance_type} has {processors} vCPUs")

    def _vpcs(self) -> Iterator[Finding]:
        """VPCs in the region."""
        if self._trains:
            return
        used = len(self._client("ec2").describe_vpcs()["Vpcs"])
        yield from self._enough("vpc", "VPCs per Region", used + 1, f"There are {used}, and the stage makes one")

    def _cost_tag(self) -> Iterator[Finding]:
        """The tag that the budget counts by."""
        tags = self._client("ce").list_cost_allocation_tags(Status="Active", TagKeys=[names.STAGE_TAG])
        if not tags["CostAllocationTags"]:
            yield Finding(
                "Billing does not count by the tag kennel:stage yet, so that the budget stays at 0",
                "a day after the first deploy, in the management account: aws ce "
                "update-cost-allocation-tags-status --cost-allocation-tags-status TagKey=kennel:stage,Status=Active",
                blocks=False,
            )

    def _enough(self, service: str, name: str, wanted: int, why: str = "") -> Iterator[Finding]:
        quota = self._quota(service, name)
        if quota is not None and quota < wanted:
            what = why or f"{wanted} × {name} is wanted"
            yield Finding(f"{what}, and the quota {name!r} is {quota:.0f}", self._increase(service, name, wanted))

    def _quota(self, service: str, name: str) -> float | None:
        """A quota's value; None where AWS lists none of the name."""
        found = self._quotas(service).get(name)
        return float(found["Value"]) if found else None

    def _quotas(self, service: str) -> dict[str, dict[str, Any]]:
        if service not in self._listed:
            pages = self._client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode=service)
            self._listed[service] = {item["QuotaName"]: item for page in pages for item in page["Quotas"]}
        return self._listed[service]

    def _increase(self, service: str, name: str, wanted: float) -> str:
        found = self._quotas(service).get(name)
        if not found:
            return QUOTAS_PAGE.format(service)
        return (
            f"aws service-quotas request-service-quota-increase --region {self._place.region} --service-code {service} "
            f"--quota-code {found['QuotaCode']} --desired-value {wanted:.0f}"
        )

    def _reserved_now(self, client: Any) -> int:
        """The concurrency that the stage's own functions have reserved already."""
        prefix, reserved = names.stack(self._deployment.stage, ""), 0
        for page in client.get_paginator("list_functions").paginate():
            for function in page["Functions"]:
                if function["FunctionName"].startswith(prefix):
                    of = client.get_function_concurrency(FunctionName=function["FunctionName"])
                    reserved += int(of.get("ReservedConcurrentExecutions", 0))
        return reserved

    def _version(self) -> int | None:
        """The version of the bootstrap of our qualifier."""
        try:
            found = self._client("ssm").get_parameter(
                Name=f"/cdk-bootstrap/{account_bootstrap.qualifier(self._deployment.stage)}/version"
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ParameterNotFound":
                raise
            return None
        return int(found["Parameter"]["Value"])

    def _stack(self, name: str) -> dict[str, Any] | None:
        try:
            stacks: list[dict[str, Any]] = self._client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            return None
        return stacks[0]

    def _physical_ids(self, stack: str) -> set[str]:
        if self._stack(stack) is None:
            return set()
        described = self._client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
        return {item["PhysicalResourceId"] for item in described if item.get("PhysicalResourceId")}

    def _templates(self) -> Iterator[tuple[str, dict[str, Any]]]:
        prefix = names.stack(self._deployment.stage, "")
        for file in sorted((self._assembly or Path()).glob(f"{prefix}*.template.json")):
            yield file.name.partition(".")[0], json.loads(file.read_text())

    def _exists(self, asked: Callable[[], Any]) -> bool:
        try:
            return bool(asked())
        except ClientError as error:
            if error.response["Error"]["Code"] in DENIED:
                raise
            return False

    def _of_stage(self) -> str:
        return "" if self._deployment.stage == "dev" else f" STAGE={self._deployment.stage}"


@dataclass(frozen=True)
class _Named:
    """The call that finds a resource of a type by the name in a template."""

    name: str
    service: str
    find: Callable[[Any, str], Any]
    remedy: str


def has_log_group(client: Any, name: str) -> bool:
    """True if a log group has exactly this name."""
    found = client.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return any(group["logGroupName"] == name for group in found)


def _alias(client: Any, name: str) -> bool:
    return any(
        item["AliasName"] == name
        for page in client.get_paginator("list_aliases").paginate()
        for item in page["Aliases"]
    )


def _topic(client: Any, name: str) -> bool:
    pages = client.get_paginator("list_topics").paginate()
    return any(item["TopicArn"].endswith(f":{name}") for page in pages for item in page["Topics"])


def _has(physical_ids: set[str], name: str) -> bool:
    """True if a stack has the resource: some have their ARN as id."""
    return any(item == name or item.endswith((f":{name}", f"/{name}")) for item in physical_ids)


_NAMED = {
    "AWS::Logs::LogGroup": _Named(
        "LogGroupName",
        "logs",
        has_log_group,
        "aws logs delete-log-group --log-group-name {}, if nobody needs its lines",
    ),
    "AWS::SageMaker::Endpoint": _Named(
        "EndpointName",
        "sagemaker",
        lambda client, name: client.describe_endpoint(EndpointName=name),
        "aws sagemaker delete-endpoint --endpoint-name {}, if nobody calls it",
    ),
    "AWS::SageMaker::NotebookInstance": _Named(
        "NotebookInstanceName",
        "sagemaker",
        lambda client, name: client.describe_notebook_instance(NotebookInstanceName=name),
        "aws sagemaker delete-notebook-instance --notebook-instance-name {}, if nobody works in it",
    ),
    "AWS::KMS::Alias": _Named("AliasName", "kms", _alias, "aws kms delete-alias --alias-name {}; its key stays"),
    "AWS::SNS::Topic": _Named("TopicName", "sns", _topic, "delete the topic {}, if nobody is told by it"),
}


def _execution_policies(stack: dict[str, Any]) -> list[str]:
    """The policies of the execution role, as a bootstrap stack was given them."""
    for parameter in stack.get("Parameters", []):
        if parameter["ParameterKey"] == "CloudFormationExecutionPolicies":
            return [arn for arn in parameter["ParameterValue"].split(",") if arn]
    return []


def require(found: list[Finding], progress: Callable[[Finding], None], *, force: bool) -> None:
    """Says every finding; raises KennelError if one blocks, unless `force`."""
    for finding in found:
        progress(finding)
    blocking = sum(finding.blocks for finding in found)
    if blocking and not force:
        raise KennelError(f"{blocking} obstacle(s): nothing was started. Remove them, or continue with --force.")
