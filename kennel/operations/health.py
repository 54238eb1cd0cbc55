"""Checks that a stage runs what was deployed: after a deploy, and on any day.

CloudFormation can say that all went well while an endpoint was rolled back to its old config; this asks the endpoint.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from infra import names
from kennel.capacity import published
from kennel.models import promotion
from kennel.pricing import prices
from kennel.pricing.stack_costs import cost
from kennel.stage import assemblies
from kennel.stage.deployed import DeployedStage

# What the logical ids of alarms begin with that callers feel nothing of. A drift is over a day after the release that
# fixes it at the soonest.
UNFELT = ("Training", "Drift")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what it is, how it is, and what to do, empty where nothing is to be done.

    What does not concern those who are served is not urgent: no release is taken back for it.
    """

    part: str
    state: str
    remedy: str = ""
    urgent: bool = True

    @property
    def fails(self) -> bool:
        """True if the stage is not healthy."""
        return bool(self.remedy) and self.urgent


def check(deployment: DeployedStage) -> list[Finding]:
    """Everything about the stage's endpoints, their model, versions, function, alarms and cost.

    Raises KennelError where the stage is not deployed.
    """
    serving, operations = deployment.resources("Serving"), deployment.resources("Operations")
    client = deployment.client("sagemaker")
    found: list[Finding] = []
    for logical, name in sorted(serving["AWS::SageMaker::Endpoint"].items()):
        found += _endpoint(client, name, _config_of(logical, serving))
    container = _container(deployment, serving)
    found += _model(deployment, container)
    found += _function(deployment)
    found.append(_versions(deployment, container))
    found.append(_capacity(deployment))
    found += _alarms(deployment, serving, operations)
    found.append(_cost_at_rest(deployment))
    found.append(_cost_so_far(deployment))
    return found


def _config_of(endpoint: str, resources: dict[str, dict[str, str]]) -> str:
    """The config that the stack made for an endpoint: their constructs have one name."""
    kind = next(kind for kind in ("Scaled", "Fixed", "Serverless") if endpoint.startswith(kind))
    configs = resources["AWS::SageMaker::EndpointConfig"]
    return next(name for logical, name in configs.items() if logical.startswith(kind)).rpartition("/")[2]


def _endpoint(client: Any, name: str, config: str) -> Iterator[Finding]:
    name = name.rpartition("/")[2]
    part = f"endpoint {name}"
    try:
        endpoint = client.describe_endpoint(EndpointName=name)
    except ClientError as error:
        if "Could not find" not in str(error):
            raise
        yield Finding(part, "missing", "it was deleted outside CloudFormation: docs/runbooks.md#no-instance")
        return
    status, reason = endpoint["EndpointStatus"], endpoint.get("FailureReason", "")
    variants = endpoint.get("ProductionVariants", [])
    counts = ", ".join(
        f"{item['CurrentInstanceCount']} of {item['DesiredInstanceCount']} instances" for item in variants
    )
    if status == "InService":
        yield Finding(part, f"in service, {counts}")
    elif status in ("Creating", "Updating", "SystemUpdating", "RollingBack"):
        yield Finding(part, f"{status}: {counts or 'no instance yet'}", "ask again when it has ended")
    else:
        yield Finding(part, f"{status}: {reason}", "its log group says more; fix it, then make deploy")
    if reason and status == "InService":
        yield Finding(
            part, f"the last update failed: {reason}", "it serves what it did before; fix it, then make deploy"
        )
    if endpoint["EndpointConfigName"].lower() != config.lower():
        yield Finding(
            part,
            f"runs {endpoint['EndpointConfigName']}, not {config}, which was deployed",
            "it was rolled back, or changed by hand: see its alarms, then make deploy",
        )


def _container(deployment: DeployedStage, resources: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The container of the model that the stack made, as SageMaker has it."""
    (name,) = resources["AWS::SageMaker::Model"].values()
    model = deployment.client("sagemaker").describe_model(ModelName=name.rpartition("/")[2])
    container: dict[str, Any] = model["PrimaryContainer"]
    return container


def _model(deployment: DeployedStage, container: dict[str, Any]) -> Iterator[Finding]:
    served = container.get("ModelDataUrl") or container["ModelDataSource"]["S3DataSource"]["S3Uri"]
    promoted = promotion.promoted(deployment)
    if served == promoted:
        yield Finding("model", served)
    else:
        yield Finding(
            "model", f"deployed is {served}, promoted is {promoted}", "make deploy, or kennel promote --previous"
        )


def _alarms(deployment: DeployedStage, *stacks: dict[str, dict[str, str]]) -> Iterator[Finding]:
    named = {
        name: logical
        for resources in stacks
        for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
        for logical, name in resources.get(kind, {}).items()
    }
    described = deployment.client("cloudwatch").describe_alarms(
        AlarmNames=list(named), AlarmTypes=["MetricAlarm", "CompositeAlarm"], MaxRecords=100
    )
    alarms = [*described["CompositeAlarms"], *described["MetricAlarms"]]
    for name in sorted({*named} - {alarm["AlarmName"] for alarm in alarms}):
        yield Finding(f"alarm {name}", "missing", "somebody deleted it: change its name in the stack, then make deploy")
    firing = [alarm for alarm in alarms if alarm["StateValue"] == "ALARM"]
    for alarm in firing:
        meaning, _, runbook = alarm["AlarmDescription"].rpartition(" ")
        felt = not named[alarm["AlarmName"]].startswith(UNFELT)
        yield Finding(f"alarm {alarm['AlarmName']}", f"{meaning} {alarm['StateReason']}", runbook, urgent=felt)
    if not firing:
        yield Finding("alarms", f"{len(alarms)}, none fires")


def _function(deployment: DeployedStage) -> Iterator[Finding]:
    name = deployment.output("Api", "FunctionName")
    function = deployment.client("lambda").get_function_configuration(FunctionName=name, Qualifier="live")
    if function.get("State", "Active") == "Active":
        yield Finding("function", f"{name}: active, version {function['Version']}, {function['Runtime']}")
    else:
        yield Finding(
            "function", f"{name}: {function['State']}, {function.get('StateReason', '')}", "ask again in a minute"
        )


def _versions(deployment: DeployedStage, container: dict[str, Any]) -> Finding:
    images = (container["Image"], deployment.output("Training", "TrainingImage"))
    serving, training = (image.partition("/")[2] for image in images)
    return Finding("versions", f"serving {serving}, training {training}")


def _capacity(deployment: DeployedStage) -> Finding:
    """The throughput of an instance, with its price for a million requests where it has one by the hour."""
    capacity = published.capacity(deployment)
    if capacity is None:
        # Instances follow their CPU utilization, which needs no capacity.
        return Finding("capacity", "no instance has published one: scaling does not need it, kennel plan assumes one")
    state = str(capacity)
    if hourly := prices.load().hosting_usd_h.get(deployment.settings.endpoint.runs_on):
        usd = hourly / (3600 * capacity.requests_per_s) * 1e6
        state += f"; a million at full load cost {usd:.2f} USD"
    return Finding("capacity", state)


def _cost_at_rest(deployment: DeployedStage) -> Finding:
    """The stage's idle cost, by the deployed resources and the table of prices."""
    table = prices.load()
    with assemblies.side(assemblies.DEPLOYED, deployment.stage) as deployed:
        month = sum(cost(template, table).month_usd for template in deployed.templates.values())
    return Finding("idle cost", f"{month:,.2f} USD a month, by the prices of {table.date}, storage left out")


def _cost_so_far(deployment: DeployedStage) -> Finding:
    """The cost of this month and its forecast, by the stage's budget; AWS updates it a few times a day."""
    account = deployment.client("sts").get_caller_identity()["Account"]
    name = names.prefix(deployment.stage)
    budget = deployment.client("budgets").describe_budget(AccountId=account, BudgetName=name)["Budget"]
    limit, spend = float(budget["BudgetLimit"]["Amount"]), budget["CalculatedSpend"]
    actual = float(spend["ActualSpend"]["Amount"])
    forecast = float(spend.get("ForecastedSpend", {}).get("Amount", 0))
    expected = f", {forecast:,.2f} expected" if forecast else ""
    state = f"{actual:,.2f} of {limit:,.2f} USD this month{expected}"
    if not actual:
        remedy = "after a day it is more: else activate the cost allocation tag kennel:stage (docs/costs.md)"
        return Finding("cost so far", state, remedy, urgent=False)
    if max(actual, forecast) > limit:
        return Finding("cost so far", state, "over the budget: docs/runbooks.md#budget", urgent=False)
    return Finding("cost so far", state)
