"""The settings of a stage as a whole, and the conditions between its parts.

What AWS would refuse at deploy is refused here, at synth: every error at once, each with its remedy.
"""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from infra import names
from infra.settings.base import Schedule, Settings
from infra.settings.endpoint import EndpointSettings
from infra.settings.function import FunctionSettings
from infra.settings.operations import OperationsSettings
from infra.settings.training import Ec2TrainingSettings, NotebookSettings

# CloudWatch Logs' API reference, PutRetentionPolicy.
RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

# The largest body of a request to a serverless endpoint (SageMaker's developer guide, "Invoke a serverless
# endpoint": 4 MB).
SERVERLESS_BODY_BYTES = 4_000_000


class ShutdownSchedule(Schedule):
    """At this time, for example every evening, endpoints are deleted and the notebook is stopped.

    `make deploy` restores them.
    """


class StageSettings(Settings):
    """One deployment of the whole: every name starts with `Kennel-<name>`, every value has its unit in its name."""

    name: str = Field(description="the stage's key in `stages`")
    region: str = Field(description="AWS region; it must offer AWS's deep learning containers and Lambda function URLs")
    account: str | None = Field(None, description="12-digit account id; null uses the account of the credentials")
    retain_data: bool = Field(
        True,
        description="keep key, buckets, log groups and parameters when the stage is destroyed; requires two instances",
    )
    log_retention_days: int = Field(
        30,
        description="days for which log groups and access logs are kept",
        json_schema_extra={"enum": [*RETENTION_DAYS]},
    )
    model_packages_days: int = Field(
        90, ge=1, description="delete old versions of objects, such as model packages, after this time"
    )
    permissions_boundary: bool = Field(
        True,
        description="attach the boundary of `make bootstrap` to every role; deploys cannot create roles without it",
    )
    shutdown_schedule: ShutdownSchedule | None = Field(
        None,
        description="when the endpoints are deleted and the notebook is stopped, for stages that need not always run",
    )
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
        if self.retain_data and self.shutdown_schedule:
            raise ValueError(
                "shutdown_schedule deletes the endpoints, and a stage with retain_data serves others: omit it, or "
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
        """The prefix of stack names."""
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
        """The name of the alarms' topic. It is constant: the key's policy names it, in another stack."""
        return f"{self.prefix}-alarms"

    @property
    def metrics(self) -> str:
        """The namespace of the metrics that the stage makes itself."""
        return f"Kennel/{self.name}"

    @property
    def ec2_group(self) -> str:
        """The name of the group of 0 or 1 that trains."""
        return f"{self.prefix}-ec2-training"
