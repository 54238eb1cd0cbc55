"""One validated, frozen model of a stage, read from the `stages` of cdk.json.

What AWS would refuse at deploy is refused here, at synth: every error at once, each with its remedy.
"""

import json
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from infra import cron, instance_types, names

# `kennel plan` reads the settings without CDK, which takes seconds to load.
if TYPE_CHECKING:
    from constructs import Node

# CloudWatch Logs' API reference, PutRetentionPolicy.
RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

# Where Lambda offers no function URLs (Lambda's developer guide, "Creating and managing Lambda function URLs").
WITHOUT_FUNCTION_URLS = (
    *("ap-east-2", "ap-south-2", "ap-southeast-4", "ap-southeast-5", "ap-southeast-6", "ap-southeast-7"),
    *("ca-west-1", "eu-central-2", "eu-south-2", "il-central-1", "me-central-1"),
)

HOST = re.compile(r"(?!-)[a-z0-9-]+(\.[a-z0-9-]+)+")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

# What JSON calls what Python calls otherwise.
FORMS = {"tuple_type": "Input should be a list", "model_type": "Input should be an object with settings"}

# The variable by which the CDK command line hands its context to the app (aws-cdk-lib/cx-api).
CONTEXT_ENV = "CDK_CONTEXT_JSON"
# CloudWatch delivers SageMaker's one-minute metrics up to this much later.
METRIC_DELAY_S = 60
# The most that a request to a serverless endpoint can have in its body (SageMaker's developer guide, "Invoke a
# serverless endpoint": 4 MB), and one to an instance (API reference, InvokeEndpoint: 6,291,456 bytes).
SERVERLESS_BODY_BYTES = 4_000_000
BODY_BYTES = 6_000_000


class ConfigurationError(Exception):
    """The stage cannot be deployed as configured; the message lists every error with its remedy."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _instance_type(use: instance_types.Use, default: str) -> Callable[[str], str]:
    """A validator of instance types; the default's is not looked up, which takes a quarter of a second."""

    def checked(name: str) -> str:
        if name != default and (problem := instance_types.problem(name, use)):
            raise ValueError(problem)
        return name

    return checked


def _cron(expression: str) -> str:
    if problem := cron.problem(expression):
        raise ValueError(problem)
    return expression


def _time_zone(name: str) -> str:
    # The database of a machine also has files that are not zones of the world: Factory, localtime, posix/….
    if name != "UTC" and (name not in available_timezones() or not name[0].isupper() or "/" not in name):
        raise ValueError(f"{name!r} is not a time zone such as Europe/Zurich, or UTC: choose one of the IANA database")
    return name


class _Hours(_Settings):
    cron: Annotated[str, AfterValidator(_cron)] = Field(description="AWS's six fields, as 0 7 ? * MON-FRI *")
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field("UTC", description="of the IANA database")


class ShutdownSchedule(_Hours):
    """When, every day for example, the notebook is stopped and the endpoints go; `make deploy` brings them back."""


class NotebookSettings(_Settings):
    instance_type: Annotated[str, AfterValidator(_instance_type("notebook", "ml.t3.medium"))] = "ml.t3.medium"
    volume_size_gib: int = Field(20, ge=5, le=16384)
    idle_stop_min: int = Field(60, ge=5, le=1440, description="stopped after this long without a running kernel")


class Ec2TrainingSettings(_Settings):
    instance_type: Annotated[str, AfterValidator(_instance_type("ec2", "m5.xlarge"))] = "m5.xlarge"
    volume_size_gib: int = Field(80, ge=30, le=16384, description="torch with its CUDA libraries alone takes 6 GiB")
    spot: bool = Field(True, description="an interruption resumes on a new instance, from the last checkpoint")
    max_run_h: int = Field(12, ge=1, le=168, description="a run that takes longer is ended as failed")


class InstanceSchedule(_Hours):
    """From a moment on, for example office hours, the scaling stays within other bounds."""

    min_instances: int = Field(ge=1)
    max_instances: int = Field(ge=1)


class ServerlessSettings(_Settings):
    """An endpoint without instances, which has no idle cost and starts when it is asked."""

    memory_mib: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 4096
    max_concurrency: int = Field(10, ge=1, le=200, description="more requests at the same time are throttled")


class EndpointSettings(_Settings):
    """The fixed and the autoscaled endpoint, on the same model and instance type; or one that is serverless."""

    instance_type: Annotated[str, AfterValidator(_instance_type("endpoint", "ml.m5.large"))] = "ml.m5.large"
    scaling_registered_for: str = Field("ml.m5.large", description="instance_type again; or none, and nothing scales")
    serverless: ServerlessSettings | None = Field(None, description="in place of instances")
    fixed: bool = Field(False, description="whether the fixed endpoint is deployed beside the autoscaled one")
    fixed_instances: int = Field(2, ge=1)
    min_instances: int = Field(2, ge=1)
    max_instances: int = Field(4, ge=1)
    instance_hours: tuple[InstanceSchedule, ...] = Field((), description="when the least and most instances change")
    requests_per_s: float = Field(199, gt=0, description="what one instance computes, measured: make bench-serving")
    scaling_safety: float = Field(0.7, gt=0, le=1, description="the share of it that target tracking keeps in use")
    invocations_per_instance_per_min: int | None = Field(None, ge=1, description="that share as a number of your own")
    scale_out_cooldown_s: int = Field(60, ge=0)
    scale_in_cooldown_s: int = Field(300, ge=0)
    model_threads: int | None = Field(None, ge=1, description="of each instance; none takes one more than cores")
    capture_percent: int = Field(100, ge=0, le=100, description="of the answers kept in the model bucket; 0 is none")
    capture_inputs: bool = Field(False, description="whether the images are kept beside them")
    capture_days: int = Field(30, ge=1, description="captures are kept this long")
    timeout_s: int = Field(20, ge=1, le=60, description="what the function allows an invocation")
    canary_percent: int | None = Field(None, ge=1, le=50, description="none shifts all traffic at once")
    bake_time_s: int = Field(360, ge=0, le=3600, description="how long an update is watched before it completes")
    termination_wait_s: int = Field(120, ge=0, le=3600, description="how long the old fleet is kept after it")
    alarm_period_s: int = Field(60, ge=60, multiple_of=60)
    alarm_datapoints: int = Field(2, ge=1)
    max_error_percent: float = Field(5, gt=0, le=100, description="of invocations answered 5xx, before rollback")
    max_model_latency_ms: int = Field(2000, ge=1, description="p90, before rollback")

    @model_validator(mode="after")
    def _deployable(self) -> Self:
        errors = [*self._not_serverless(), *self._another_type()]
        if self.capture_inputs and not self.capture_percent:
            errors.append("capture_inputs without capture_percent captures nothing: set capture_percent")
        if self.max_instances < self.min_instances:
            errors.append(
                f"max_instances ({self.max_instances}) is under min_instances ({self.min_instances}): raise it"
            )
        for hours in self.instance_hours:
            if hours.max_instances < hours.min_instances:
                errors.append(
                    f"instance_hours {hours.cron}: max_instances ({hours.max_instances}) is under min_instances "
                    f"({hours.min_instances}): raise it"
                )
        if self.scales and not self.serverless and instance_types.burstable(self.instance_type):
            errors.append(
                f"instance_type {self.instance_type}: SageMaker does not scale burstable instances; choose another "
                "family, or set scaling_registered_for none"
            )
        alarm_s = METRIC_DELAY_S + self.alarm_period_s * self.alarm_datapoints
        if self.bake_time_s < alarm_s:
            errors.append(
                f"bake_time_s ({self.bake_time_s}) ends before a rollback alarm can fire "
                f"(metric delay {METRIC_DELAY_S} s + {self.alarm_datapoints} × {self.alarm_period_s} s): "
                f"set at least {alarm_s}"
            )
        smallest = self.fewest_instances
        if not self.serverless and self.canary_percent is not None and smallest * self.canary_percent < 100:
            errors.append(
                f"canary_percent ({self.canary_percent}) of {smallest} instance(s) is less than one instance: "
                "raise the instance count, or leave canary_percent out"
            )
        if errors:
            raise ValueError("\n".join(errors))
        return self

    def _not_serverless(self) -> list[str]:
        """What SageMaker's serverless inference excludes, each with its remedy."""
        if not self.serverless:
            return []
        excluded = {
            "capture_percent": (self.capture_percent, "has no data capture: set 0"),
            "scaling_registered_for": (self.scales, "scales by itself: set none"),
            "canary_percent": (self.canary_percent, "has no instances to take a share of: leave it out"),
            "fixed": (self.fixed, "takes its model as an archive, without network isolation: set false"),
            "instance_hours": (self.instance_hours, "has no instances: leave them out"),
        }
        return [f"{name}: serverless {why}" for name, (value, why) in excluded.items() if value]

    def _another_type(self) -> list[str]:
        """SageMaker refuses to change the type of a variant that is registered as a scalable target."""
        if self.serverless or not self.scales or self.scaling_registered_for == self.instance_type:
            return []
        return [
            f"instance_type is {self.instance_type}, and scaling is registered for {self.scaling_registered_for}: "
            "SageMaker refuses to change the type of what scales. In three deploys: 1. scaling_registered_for none, "
            f"with {self.scaling_registered_for} still; 2. instance_type {self.instance_type}; "
            f"3. scaling_registered_for {self.instance_type}. Never deployed: set both at once"
        ]

    @property
    def fewest_instances(self) -> int:
        """The least that one of the endpoints ever has."""
        hours = [hours.min_instances for hours in self.instance_hours]
        return min([self.min_instances, *hours, *([self.fixed_instances] if self.fixed else [])])

    @property
    def scales(self) -> bool:
        """Whether the endpoint's variant is registered as a scalable target."""
        return self.scaling_registered_for != "none"

    @property
    def target_per_min(self) -> int:
        """The invocations per instance and minute that target tracking keeps."""
        return self.invocations_per_instance_per_min or round(self.requests_per_s * self.scaling_safety * 60)


class ProvisionedSchedule(_Hours):
    """From a moment on, for example office hours, at least so much concurrency is kept ready."""

    # Not 0: Lambda then has no provisioned concurrency to update, and a deploy outside the hours fails (aws-cdk#29992).
    provisioned_min: int = Field(ge=1)


class FunctionSettings(_Settings):
    memory_mib: int = Field(512, ge=128, le=10240)
    timeout_s: int = Field(29, ge=1, le=900)
    reserved_concurrency: int | None = Field(
        10, ge=1, description="AWS keeps 100 of the account's quota unreserved; null reserves nothing, for new accounts"
    )
    provisioned_min: int | None = Field(None, ge=1, description="none starts environments when they are asked for")
    provisioned_max: int | None = Field(None, ge=1)
    provisioned_hours: tuple[ProvisionedSchedule, ...] = Field((), description="when the minimum changes")
    snap_start: bool = Field(False, description="starts from a snapshot; excludes provisioned concurrency")
    provisioned_utilization: float = Field(0.7, ge=0.1, le=0.9, description="what target tracking keeps in use")
    max_image_bytes: int = Field(
        5_000_000, ge=1, le=BODY_BYTES, description="of an image by address; a body of the URL holds 4.4 MB of it"
    )
    fetch: Literal["https", "https and http", "off"] = Field("https", description="of images at a caller's URL")
    fetch_hosts: tuple[str, ...] = Field((), description="the hosts that it may name; none allows all public ones")
    page: bool = Field(False, description="whether GET / answers with a page for people")
    cloudfront: bool = Field(False, description="whether the page is on the internet, behind CloudFront")
    url_auth: Literal["AWS_IAM", "NONE"] = "AWS_IAM"
    public_url_reason: str = Field("", description="why it is acceptable that anyone can ask")

    @model_validator(mode="after")
    def _deployable(self) -> Self:
        errors = []
        low, high = self.provisioned_min, self.provisioned_max
        if (low is None) != (high is None):
            errors.append("provisioned_min and provisioned_max go together: give both, or neither")
        if low and high and high < low:
            errors.append(f"provisioned_max ({high}) is under provisioned_min ({low}): raise it")
        if high and self.reserved_concurrency and high > self.reserved_concurrency:
            errors.append(
                f"provisioned_max ({high}) is over reserved_concurrency "
                f"({self.reserved_concurrency}): Lambda refuses that; raise reserved_concurrency"
            )
        for hours in self.provisioned_hours:
            if not high or hours.provisioned_min > high:
                errors.append(f"provisioned_hours ask for {hours.provisioned_min}: over provisioned_max ({high})")
        if self.snap_start and (low or high or self.provisioned_hours):
            errors.append("snap_start and provisioned concurrency exclude each other: Lambda has one or the other")
        if self.fetch == "off" and self.fetch_hosts:
            errors.append("fetch_hosts are given and fetch is off: leave one of them out")
        for host in self.fetch_hosts:
            if not HOST.fullmatch(host):
                errors.append(f"fetch_hosts has {host!r}: give host names alone, as images.example.com")
        if self.url_auth == "NONE" and not self.public_url_reason:
            errors.append("url_auth NONE lets anyone spend your money: say why in public_url_reason, or use AWS_IAM")
        if self.cloudfront and not self.page:
            errors.append("cloudfront is there for the page: set page, or leave cloudfront out")
        if self.cloudfront and self.url_auth == "NONE":
            errors.append("cloudfront signs its calls, and url_auth NONE lets others in beside it: use AWS_IAM")
        if self.cloudfront and not self.public_url_reason:
            errors.append("cloudfront lets anyone spend your money: say why in public_url_reason")
        if errors:
            raise ValueError("\n".join(errors))
        return self


class OperationsSettings(_Settings):
    """Who is told what, and from which measure on."""

    notify: tuple[str, ...] = Field((), description="e-mail addresses that are told; each confirms once, by a link")
    runbooks: str = Field("docs/runbooks.md", min_length=1, description="what links begin with: the page's address")
    budget_usd_month: float = Field(
        150, gt=0, le=1e9, allow_inf_nan=False, description="warnings at 80 and 100 % of it, and when more is forecast"
    )
    max_url_error_percent: float = Field(5, gt=0, le=100, description="of the URL's answers that are 5xx")
    max_url_latency_ms: int = Field(5000, ge=1, description="p90 of the URL's answers")
    max_refused_percent: float = Field(50, gt=0, le=100, description="of the endpoint's answers that are 4xx")
    max_memory_percent: float = Field(90, gt=0, le=100, description="of the instances")
    max_disk_percent: float = Field(80, gt=0, le=100, description="of the instances")
    max_confidence_drop: float = Field(0.15, gt=0, le=1, description="of the mean first probability, since validation")
    max_class_mix_shift: float = Field(0.3, gt=0, le=1, description="of the answers, as a share, since validation")

    @field_validator("notify")
    @classmethod
    def _addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [repr(address) for address in addresses if not EMAIL.fullmatch(address)]:
            raise ValueError(f"{', '.join(wrong)}: not an e-mail address: give one such as oncall@example.com")
        return addresses


class StageSettings(_Settings):
    """One deployment of the whole: every name starts with `Kennel-<name>`, every value has its unit in its name."""

    name: str
    region: str
    account: str | None = Field(None, description="none deploys to the credentials' account")
    retain_data: bool = Field(True, description="keep key and buckets when the stack is destroyed")
    log_retention_days: int = 30
    model_packages_days: int = Field(90, ge=1, description="superseded versions of model packages are kept this long")
    permissions_boundary: bool = Field(
        True, description="roles under the boundary that `make bootstrap` makes; its deploys may make no others"
    )
    stop: ShutdownSchedule | None = Field(None, description="of what costs money by the hour, for a stage that sleeps")
    notebook: NotebookSettings = NotebookSettings()
    ec2: Ec2TrainingSettings = Ec2TrainingSettings()
    endpoint: EndpointSettings = EndpointSettings()
    function: FunctionSettings = FunctionSettings()
    operations: OperationsSettings = OperationsSettings()

    @field_validator("name")
    @classmethod
    def _short_name(cls, name: str) -> str:
        # SageMaker allows a tuner's name 32 characters: those of kennel-STAGE- and a time, with a stage of 12.
        if not re.fullmatch(r"[a-z][a-z0-9]{1,11}", name):
            raise ValueError(
                f"{name!r} is not a valid stage name: use 2 to 12 lower-case letters and digits, starting with a letter"
            )
        return name

    @field_validator("account")
    @classmethod
    def _account_id(cls, account: str | None) -> str | None:
        if account is not None and not re.fullmatch(r"\d{12}", account):
            raise ValueError(f"{account!r} is not an account id: give 12 digits without hyphens, as a string")
        return account

    @field_validator("region")
    @classmethod
    def _known_region(cls, region: str) -> str:
        from aws_cdk.region_info import RegionInfo

        if RegionInfo.get(region).dlc_repository_account is None:
            raise ValueError(f"AWS publishes no deep learning containers for {region!r}: choose another region")
        if region in WITHOUT_FUNCTION_URLS:
            raise ValueError(f"Lambda offers no function URLs in {region!r}: choose another region")
        return region

    @field_validator("log_retention_days")
    @classmethod
    def _known_retention(cls, days: int) -> int:
        if days not in RETENTION_DAYS:
            raise ValueError(
                f"not a retention of CloudWatch Logs: choose one of {', '.join(map(str, RETENTION_DAYS))} days"
            )
        return days

    @model_validator(mode="after")
    def _survives_a_zone(self) -> Self:
        if self.retain_data and self.endpoint.serverless:
            raise ValueError(
                "endpoint.serverless: it has no network isolation, which a stage with retain_data keeps (SageMaker.5): "
                "leave it out, or set retain_data false"
            )
        if self.retain_data and self.endpoint.fewest_instances < 2:
            raise ValueError(
                f"endpoint: {self.endpoint.fewest_instances} instance is in one zone, a stage with retain_data must "
                "outlive one (SageMaker.4): take at least 2 instances, or retain_data false"
            )
        return self

    @model_validator(mode="after")
    def _fits_into_a_request(self) -> Self:
        if self.endpoint.serverless and self.function.max_image_bytes > SERVERLESS_BODY_BYTES:
            raise ValueError(
                f"function.max_image_bytes ({self.function.max_image_bytes}): a serverless endpoint takes 4 MB; set "
                f"{SERVERLESS_BODY_BYTES} or less"
            )
        return self

    @model_validator(mode="after")
    def _stays_up(self) -> Self:
        if self.retain_data and self.stop:
            raise ValueError(
                "stop takes the endpoints away, and a stage with retain_data is there for others: leave it out, or "
                "set retain_data false"
            )
        return self

    @model_validator(mode="after")
    def _deadlines_nest(self) -> Self:
        # Two seconds for the function's own work: reading the body, its log line, the answer.
        if self.function.timeout_s < self.endpoint.timeout_s + 2:
            raise ValueError(
                f"function.timeout_s ({self.function.timeout_s}) must exceed endpoint.timeout_s "
                f"({self.endpoint.timeout_s}) by 2 s, or a slow endpoint ends as a Lambda error: raise it"
            )
        return self

    @model_validator(mode="after")
    def _slow_before_it_ends(self) -> Self:
        if self.operations.max_url_latency_ms >= self.function.timeout_s * 1000:
            raise ValueError(
                f"operations.max_url_latency_ms ({self.operations.max_url_latency_ms}) is not less than "
                f"function.timeout_s ({self.function.timeout_s}): no response takes longer; lower it"
            )
        return self

    @property
    def prefix(self) -> str:
        """What stack names start with."""
        return names.prefix(self.name)

    @property
    def endpoint_names(self) -> dict[str, str]:
        """The names of the endpoints by their kind: Scaled or Serverless, and Fixed."""
        # SageMaker turns no endpoint with instances into a serverless one: it is another, with another name.
        kinds = ["Serverless" if self.endpoint.serverless else "Scaled", *(["Fixed"] if self.endpoint.fixed else [])]
        return {kind: f"{self.prefix}-{kind}".lower() for kind in kinds}

    @property
    def model_parameter(self) -> str:
        """The SSM parameter that `kennel promote` writes and the Serving stack reads."""
        return names.parameter(self.name, "model")

    @property
    def alarm_topic(self) -> str:
        """The name of the topic that the alarms tell. It is constant: the key's policy names it, in another stack."""
        return f"{self.prefix}-alarms"

    @property
    def metrics(self) -> str:
        """The namespace of the metrics that the stage makes itself."""
        return f"Kennel/{self.name}"

    @property
    def ec2_group(self) -> str:
        """The name of the group of 0 or 1 that trains."""
        return f"{self.prefix}-ec2-training"


def load_stage(node: "Node") -> StageSettings:
    """The stage named by the context value `stage`, out of the context value `stages`.

    Raises ConfigurationError with every error of the stage.
    """
    name, stages = node.try_get_context("stage"), _stages(node)
    if not isinstance(stages, dict) or name not in stages:
        known = ", ".join(stages) if isinstance(stages, dict) else "none"
        raise ConfigurationError(
            f"No stage {name!r} in cdk.json (known: {known}). Choose one: make STAGE=NAME, or cdk -c stage=NAME."
        )
    return parse_stage(name, stages[name])


def _stages(node: "Node") -> Any:
    """The context value `stages`, as the CDK command line hands it over: jsii drops the keys that are null."""
    handed_over = json.loads(os.environ.get(CONTEXT_ENV, "{}"))
    return handed_over.get("stages") or node.try_get_context("stages")


def parse_stage(name: str, settings: dict[str, Any]) -> StageSettings:
    """Validates the settings of one stage as they stand in cdk.json."""
    try:
        return StageSettings(name=name, **settings)
    except ValidationError as error:
        lines = [line for item in error.errors() for line in _explain(item)]
        raise ConfigurationError(
            "\n  ".join([f"Stage {name!r} in cdk.json has {len(lines)} error(s):", *lines])
        ) from None


def _explain(item: Any) -> list[str]:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return [f"{where}: no such setting; see infra/config.py for the names"]
    message = FORMS.get(item["type"], re.sub(r"^Value error, ", "", item["msg"]))
    given = "" if isinstance(item["input"], dict) else f" (given: {json.dumps(item['input'], default=str)})"
    return [f"{where}: {line}{given}" if where else line for line in message.split("\n")]
