"""The monthly idle cost of a stack, and the cost of a million requests, by the dated table of prices.

Endpoints are counted with the fewest instances that scaling leaves, groups with their desired capacity, and both as if
they ran the whole month: a scheduled stop makes them cheaper. Storage is not counted, but for volumes with a size.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kennel.errors import KennelError
from kennel.pricing.prices import Prices
from kennel.review.differences import name_of
from kennel.stage.assemblies import Template

HOURS = 730
MONTH_S = HOURS * 3600
MILLION = 1_000_000
# The function's own time for each request: docs/concurrency.md.
REQUEST_S = 0.04
# Lambda traces one call a second, and of the others this share.
TRACED = 0.05
HIGH_RESOLUTION_S = 60
# Each target tracking policy has one that scales out and one that scales in.
ALARMS_OF_TRACKING = 2

# Idle, these cost nothing, or by what is in them.
FREE = (
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::AutoScaling::AutoScalingGroup",
    "AWS::Budgets::",
    "AWS::CDK::Metadata",
    "AWS::CloudFormation::",
    "AWS::CloudFront::",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::LaunchTemplate",
    "AWS::EC2::Route",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::EC2::VPC",
    "AWS::Events::",
    "AWS::IAM::",
    "AWS::KMS::Alias",
    "AWS::Lambda::",
    "AWS::Logs::",
    "AWS::S3::",
    "AWS::SNS::",
    "AWS::SSM::Parameter",
    "AWS::SageMaker::Endpoint",
    "AWS::SageMaker::Model",
    "AWS::SageMaker::NotebookInstanceLifecycleConfig",
    "AWS::Scheduler::",
    "Custom::",
)


@dataclass(frozen=True)
class Cost:
    """USD per month idle and for a million requests, by part; and the parts that the table has no price of."""

    at_rest: dict[str, float]
    per_million: dict[str, float]
    unpriced: tuple[str, ...] = ()
    # What the most instances of scaling cost a month beyond the fewest.
    grows_usd: float = 0.0
    # The limits of the stack's budgets, in USD a month.
    budgets_usd: tuple[float, ...] = ()

    @property
    def month_usd(self) -> float:
        """Idle cost."""
        return sum(self.at_rest.values())

    @property
    def million_usd(self) -> float:
        """The cost of a million requests."""
        return sum(self.per_million.values())


def cost(template: Template, prices: Prices) -> Cost:
    """The cost of one stack."""
    stack = _Stack(template, prices)
    at_rest: dict[str, float] = {}
    per_million: dict[str, float] = {}
    for logical_id, resource in template.get("Resources", {}).items():
        kind, properties = resource["Type"], resource.get("Properties", {})
        name = name_of(template, logical_id)
        for pricing, into in ((stack.at_rest, at_rest), (stack.requests, per_million)):
            try:
                for part, usd in pricing(kind, properties, name):
                    into[part] = into.get(part, 0.0) + usd
            except KennelError as error:
                stack.unpriced.append(f"{name}: {error}")
    unpriced = tuple(dict.fromkeys(stack.unpriced))
    return Cost(at_rest, per_million, unpriced, stack.grows_usd, tuple(_budgets(template)))


def _budgets(template: Template) -> Iterator[float]:
    for resource in template.get("Resources", {}).values():
        if resource["Type"] == "AWS::Budgets::Budget":
            budget = resource.get("Properties", {}).get("Budget", {})
            amount = budget.get("BudgetLimit", {}).get("Amount")
            if budget.get("TimeUnit") == "MONTHLY" and isinstance(amount, (int, float)):
                yield float(amount)


class _Stack:
    """The prices of one template's resources, which refer to each other."""

    def __init__(self, template: Template, prices: Prices) -> None:
        self._resources: dict[str, dict[str, Any]] = template.get("Resources", {})
        self._prices = prices
        self.unpriced: list[str] = []
        self.grows_usd = 0.0

    def at_rest(self, kind: str, properties: dict[str, Any], name: str) -> Iterator[tuple[str, float]]:
        """The parts of a resource that cost by the month."""
        prices, fixed, network = self._prices, self._prices.fixed_usd_month, self._prices.network_usd_h
        gb_month = prices.storage_usd_gb_month
        by_kind: dict[str, Callable[[], Iterator[tuple[str, float]]]] = {
            "AWS::SageMaker::Endpoint": lambda: self._endpoint(properties, name),
            "AWS::SageMaker::NotebookInstance": lambda: iter(
                [(f"{name}, stopped", _number(properties, "VolumeSizeInGB", 5) * gb_month["notebook"])]
            ),
            "AWS::AutoScaling::AutoScalingGroup": lambda: self._group(properties, name),
            "AWS::EC2::Instance": lambda: iter(
                [(name, HOURS * prices.instance(str(properties.get("InstanceType")), "ec2"))]
            ),
            "AWS::EC2::NatGateway": lambda: iter([(name, HOURS * network["nat_gateway"])]),
            "AWS::EC2::EIP": lambda: iter([(name, HOURS * network["public_ipv4"])]),
            "AWS::EC2::VPCEndpoint": lambda: self._vpc_endpoint(properties, name),
            "AWS::KMS::Key": lambda: iter([("key", fixed["kms_key"])]),
            "AWS::CloudWatch::Alarm": lambda: self._alarm(properties),
            "AWS::CloudWatch::CompositeAlarm": lambda: iter([("alarms", fixed["composite_alarm"])]),
            "AWS::CloudWatch::Dashboard": lambda: iter([("dashboard", fixed["dashboard"])]),
            "AWS::Lambda::Alias": lambda: self._provisioned(properties, name),
            "AWS::ApplicationAutoScaling::ScalingPolicy": lambda: self._policy(properties),
        }
        if kind in by_kind:
            yield from by_kind[kind]()
        elif not kind.startswith(FREE):
            self.unpriced.append(f"{name}: there is no price of {kind} in kennel/pricing/stack_costs.py")

    def requests(self, kind: str, properties: dict[str, Any], name: str) -> Iterator[tuple[str, float]]:
        """The parts of a resource that cost by the request, for a million."""
        prices = self._prices
        if kind == "AWS::Lambda::Url":
            function, alias = self._behind(properties)
            memory_gb, usd = _number(function, "MemorySize", 128) / 1024, prices.lambda_usd
            ready = "ProvisionedConcurrencyConfig" in alias
            rate = usd["provisioned_busy_gb_s"] if ready else usd["gb_s"]
            yield "function, requests", MILLION * usd["request"]
            yield f"function, {REQUEST_S * 1000:g} ms each", MILLION * REQUEST_S * memory_gb * rate
            if function.get("TracingConfig", {}).get("Mode") == "Active":
                yield "traces", MILLION * TRACED * usd["trace"]
        if kind == "AWS::CloudFront::Distribution":
            yield "CloudFront", MILLION * prices.cloudfront_usd["request"]
        if kind == "AWS::SageMaker::Endpoint" and self._is_called(properties):
            yield "log of the endpoint", prices.log_usd(MILLION)
        if kind == "AWS::SageMaker::EndpointConfig":
            for variant in properties.get("ProductionVariants", []):
                if serverless := variant.get("ServerlessConfig"):
                    gb_s = MILLION * REQUEST_S * float(serverless["MemorySizeInMB"]) / 1024
                    yield "serverless endpoint", gb_s * prices.serverless_usd_gb_s

    def _is_called(self, properties: dict[str, Any]) -> bool:
        """True if the requests are this endpoint's: of several, those of the one that scales."""
        if len(list(self._of("AWS::SageMaker::Endpoint"))) == 1:
            return True
        prefix = f"endpoint/{properties.get('EndpointName')}/"
        targets = self._of("AWS::ApplicationAutoScaling::ScalableTarget")
        return any(str(target.get("ResourceId", "")).startswith(prefix) for target in targets)

    def _endpoint(self, properties: dict[str, Any], name: str) -> Iterator[tuple[str, float]]:
        config = self._referred(properties.get("EndpointConfigName"))
        for variant in config.get("ProductionVariants", []):
            if "ServerlessConfig" in variant:
                continue
            resource_id = f"endpoint/{properties.get('EndpointName')}/variant/{variant['VariantName']}"
            count = most = _number(variant, "InitialInstanceCount", 1)
            for target in self._of("AWS::ApplicationAutoScaling::ScalableTarget"):
                if target.get("ResourceId") == resource_id:
                    count, most = _number(target, "MinCapacity", count), _number(target, "MaxCapacity", count)
            hourly = self._prices.instance(str(variant["InstanceType"]))
            self.grows_usd += HOURS * max(most - count, 0) * hourly
            yield f"{name}, {count:g} × {variant['InstanceType']}", HOURS * count * hourly

    def _group(self, properties: dict[str, Any], name: str) -> Iterator[tuple[str, float]]:
        count = _number(properties, "DesiredCapacity", _number(properties, "MinSize", 0))
        if not count:
            return
        template = self._referred(properties.get("LaunchTemplate", {}).get("LaunchTemplateId"))
        instance_type = str(template.get("LaunchTemplateData", {}).get("InstanceType"))
        yield f"{name}, {count:g} × {instance_type}", HOURS * count * self._prices.instance(instance_type, "ec2")

    def _vpc_endpoint(self, properties: dict[str, Any], name: str) -> Iterator[tuple[str, float]]:
        if properties.get("VpcEndpointType", "Gateway") == "Interface":
            zones = len(properties.get("SubnetIds", [])) or 1
            yield name, HOURS * zones * self._prices.network_usd_h["interface_endpoint"]

    def _alarm(self, properties: dict[str, Any]) -> Iterator[tuple[str, float]]:
        # An alarm on an expression is billed for each of its metrics.
        metrics = [item["MetricStat"] for item in properties.get("Metrics", []) if "MetricStat" in item] or [properties]
        fast = [item for item in metrics if float(item.get("Period", HIGH_RESOLUTION_S)) < HIGH_RESOLUTION_S]
        # A high-resolution alarm costs three times as much.
        yield "alarms", (len(metrics) + 2 * len(fast)) * self._prices.fixed_usd_month["alarm"]

    def _provisioned(self, properties: dict[str, Any], name: str) -> Iterator[tuple[str, float]]:
        count = _number(properties.get("ProvisionedConcurrencyConfig", {}), "ProvisionedConcurrentExecutions", 0)
        if count:
            memory_gb = _number(self._referred(properties.get("FunctionName")), "MemorySize", 128) / 1024
            usd = MONTH_S * count * memory_gb * self._prices.lambda_usd["provisioned_gb_s"]
            yield f"{name}, {count:g} provisioned", usd

    def _policy(self, properties: dict[str, Any]) -> Iterator[tuple[str, float]]:
        if properties.get("PolicyType") == "TargetTrackingScaling":
            yield "alarms of scaling", ALARMS_OF_TRACKING * self._prices.fixed_usd_month["alarm"]

    def _behind(self, url: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The function and, where there is one, the alias of a URL."""
        target = url.get("TargetFunctionArn")
        found = self._referred(target)
        if "FunctionVersion" in found:
            return self._referred(found["FunctionName"]), found
        for alias in self._of("AWS::Lambda::Alias"):
            if _id(alias.get("FunctionName")) == _id(target) and alias.get("Name") == url.get("Qualifier"):
                return found, alias
        return found, {}

    def _referred(self, reference: Any) -> dict[str, Any]:
        """The properties of the resource that a Ref or a GetAtt names; empty where it is of another stack."""
        properties: dict[str, Any] = self._resources.get(_id(reference), {}).get("Properties", {})
        return properties

    def _of(self, kind: str) -> Iterator[dict[str, Any]]:
        for resource in self._resources.values():
            if resource["Type"] == kind:
                yield resource.get("Properties", {})


def _id(reference: Any) -> str:
    """The logical id in a Ref or a GetAtt."""
    if not isinstance(reference, dict):
        return ""
    return str(reference.get("Ref") or (reference.get("Fn::GetAtt") or [""])[0])


def _number(properties: dict[str, Any], name: str, otherwise: float) -> float:
    value = properties.get(name, otherwise)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise KennelError(f"{name} is only known at deploy time") from None
