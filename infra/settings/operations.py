"""The settings of operations: who receives alarms, and their limits."""

import re

from pydantic import Field, field_validator

from infra.settings.base import Settings

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class OperationsSettings(Settings):
    """Alarms, budget and drift."""

    alarm_emails: tuple[str, ...] = Field(
        (), description="e-mail addresses that receive alarms; each recipient must first confirm with a link"
    )
    runbooks: str = Field(
        "docs/runbooks.md", min_length=1, description="path or URL of the runbooks; alarm descriptions link to it"
    )
    budget_usd_month: float = Field(
        150,
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="monthly budget of the stage: warnings at 80 % and 100 % of it, and when the forecast exceeds it",
    )
    max_url_error_percent: float = Field(5, gt=0, le=100, description="alarm limit: share of 5xx responses of the URL")
    max_url_latency_ms: int = Field(5000, ge=1, description="alarm limit: 90th percentile of the URL's response time")
    max_refused_percent: float = Field(
        50, gt=0, le=100, description="alarm limit: share of 4xx among the endpoint's responses"
    )
    max_memory_percent: float = Field(90, gt=0, le=100, description="alarm limit: memory use of the instances")
    max_disk_percent: float = Field(80, gt=0, le=100, description="alarm limit: disk use of the instances")
    max_confidence_drop: float = Field(
        0.15, gt=0, le=1, description="drift limit: drop of the mean top-1 probability since validation"
    )
    max_class_mix_shift: float = Field(
        0.3,
        gt=0,
        le=1,
        description="drift limit: share of predictions that would have to change class to match validation",
    )

    @field_validator("alarm_emails")
    @classmethod
    def _addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [repr(address) for address in addresses if not EMAIL.fullmatch(address)]:
            raise ValueError(f"{', '.join(wrong)}: not an e-mail address: use one such as oncall@example.com")
        return addresses
