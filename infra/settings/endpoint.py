"""The settings of the endpoints: instances or serverless, scaling, updates and data capture."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from infra import instance_types
from infra.settings.base import Schedule, Settings, valid_instance_type

# CloudWatch delivers SageMaker's one-minute metrics up to this much later.
METRIC_DELAY_S = 60


class InstanceSchedule(Schedule):
    """From this time on, for example the start of office hours, scaling has other bounds."""

    min_instances: int = Field(ge=1, description="smallest number of instances from then on")
    max_instances: int = Field(ge=1, description="largest number of instances from then on")


class ServerlessSettings(Settings):
    """An endpoint without instances: it has no idle cost, and cold starts."""

    memory_mib: Literal[1024, 2048, 3072, 4096, 5120, 6144] = Field(4096, description="memory of one environment")
    max_concurrency: int = Field(
        10, ge=1, le=200, description="largest number of simultaneous requests; more are throttled"
    )


class EndpointSettings(Settings):
    """The autoscaled endpoint, optionally with a fixed one of the same model and type; or a serverless endpoint."""

    instance_type: Annotated[str, AfterValidator(valid_instance_type("endpoint", "ml.m5.large"))] = Field(
        "ml.m5.large", description="instance type of both endpoints, x86-64"
    )
    scaling_target_instance_type: str = Field(
        "ml.m5.large",
        description="instance type for which scaling is registered: as instance_type, or `none` for no scaling",
    )
    serverless: ServerlessSettings | None = Field(None, description="a serverless endpoint instead of instances")
    fixed: bool = Field(False, description="also deploy a second endpoint, without autoscaling")
    fixed_instances: int = Field(2, ge=1, description="instances of the fixed endpoint")
    min_instances: int = Field(2, ge=1, description="smallest number of instances of the autoscaled endpoint")
    max_instances: int = Field(4, ge=1, description="largest number of instances of the autoscaled endpoint")
    instance_hours: tuple[InstanceSchedule, ...] = Field(
        (), description="times at which min_instances and max_instances change"
    )
    target_cpu_percent: int = Field(
        70, ge=10, le=90, description="share of an instance's processors that target tracking keeps in use"
    )
    invocations_per_instance_per_min: int | None = Field(
        None, ge=1, description="keep this number of invocations per instance instead of a share of the processors"
    )
    scale_out_cooldown_s: int = Field(60, ge=0, description="time after scaling out before the next one")
    scale_in_cooldown_s: int = Field(300, ge=0, description="time after scaling in before the next one")
    model_threads: int | None = Field(None, ge=1, description="inference threads of an instance; null is cores plus 1")
    capture_percent: int = Field(
        100,
        ge=0,
        le=100,
        description="share of responses captured in the model bucket; 0 also switches the drift check off",
    )
    capture_inputs: bool = Field(False, description="also capture the images of the requests")
    capture_days: int = Field(30, ge=1, description="delete captured data after this time")
    timeout_s: int = Field(20, ge=1, le=60, description="time limit of the function for one invocation of the endpoint")
    canary_percent: int | None = Field(
        None, ge=1, le=50, description="share of traffic that an update shifts first; null shifts all at once"
    )
    bake_time_s: int = Field(
        360, ge=0, le=3600, description="watch the alarms for this time before an update completes"
    )
    termination_wait_s: int = Field(
        120, ge=0, le=3600, description="keep the old instances for this time after an update"
    )
    alarm_period_s: int = Field(60, ge=60, multiple_of=60, description="period of the alarms that roll an update back")
    alarm_datapoints: int = Field(2, ge=1, description="consecutive periods over the limit before they fire")
    max_error_percent: float = Field(
        5, gt=0, le=100, description="limit of the rollback and error alarms: share of 5xx responses"
    )
    max_model_latency_ms: int = Field(
        2000, ge=1, description="limit of the rollback and latency alarms: p90 of the model"
    )

    @model_validator(mode="after")
    def _deployable(self) -> Self:
        errors = [*self._not_serverless(), *self._another_type()]
        if self.capture_inputs and not self.capture_percent:
            errors.append("capture_inputs without capture_percent captures nothing: set capture_percent")
        if self.max_instances < self.min_instances:
            errors.append(
                f"max_instances ({self.max_instances}) is less than min_instances ({self.min_instances}): raise it"
            )
        for hours in self.instance_hours:
            if hours.max_instances < hours.min_instances:
                errors.append(
                    f"instance_hours {hours.cron}: max_instances ({hours.max_instances}) is less than min_instances "
                    f"({hours.min_instances}): raise it"
                )
        if self.scales and not self.serverless and instance_types.burstable(self.instance_type):
            errors.append(
                f"instance_type {self.instance_type}: SageMaker does not scale burstable instances; choose another "
                "family, or set scaling_target_instance_type to none"
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
                "raise the number of instances, or omit canary_percent"
            )
        if errors:
            raise ValueError("\n".join(errors))
        return self

    def _not_serverless(self) -> list[str]:
        """The settings that SageMaker's serverless inference excludes, each with its remedy."""
        if not self.serverless:
            return []
        excluded = {
            "capture_percent": (self.capture_percent, "have no data capture: set 0"),
            "scaling_target_instance_type": (self.scales, "scale by themselves: set none"),
            "canary_percent": (self.canary_percent, "have no instances to take a share of: omit it"),
            "fixed": (self.fixed, "take their model as an archive, without network isolation: set false"),
            "instance_hours": (self.instance_hours, "have no instances: omit it"),
        }
        return [f"{name}: serverless endpoints {why}" for name, (value, why) in excluded.items() if value]

    def _another_type(self) -> list[str]:
        """SageMaker refuses to change the type of a variant that is registered as a scalable target."""
        if self.serverless or not self.scales or self.scaling_target_instance_type == self.instance_type:
            return []
        old, new = self.scaling_target_instance_type, self.instance_type
        return [
            f"instance_type is {new}, and scaling is registered for {old}: SageMaker refuses to change "
            f"the type while scaling is registered. Use three deploys: 1. scaling_target_instance_type none, with "
            f"{old} still; 2. instance_type {new}; 3. scaling_target_instance_type {new}. For an endpoint that was "
            "never deployed, set both at once"
        ]

    @property
    def fewest_instances(self) -> int:
        """The least that one of the endpoints ever has."""
        hours = [hours.min_instances for hours in self.instance_hours]
        return min([self.min_instances, *hours, *([self.fixed_instances] if self.fixed else [])])

    @property
    def scales(self) -> bool:
        """True if the endpoint's variant is registered as a scalable target."""
        return self.scaling_target_instance_type != "none"

    @property
    def runs_on(self) -> str:
        """The instance type, or `serverless`: where the server runs, as its metrics name it."""
        return "serverless" if self.serverless else self.instance_type

    @property
    def target_cpu_utilization(self) -> float:
        """The target for CPUUtilization, of which each processor of an instance has 100."""
        return self.target_cpu_percent * instance_types.vcpus(self.instance_type)
