"""Shared by the settings of all parts: frozen models, and the types of their values."""

from collections.abc import Callable
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from infra import cron, instance_types


class Settings(BaseModel):
    """Settings of one part of a stage. Every value has its unit in its name; an unknown setting is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def valid_instance_type(use: instance_types.Use, default: str) -> Callable[[str], str]:
    """A validator of instance types; the default is not looked up, which takes a quarter of a second."""

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


class Schedule(Settings):
    """A time that repeats."""

    cron: Annotated[str, AfterValidator(_cron)] = Field(
        description="cron expression with the six fields of AWS, such as 0 7 ? * MON-FRI *"
    )
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field(
        "UTC", description="IANA time zone, such as Europe/Zurich"
    )
