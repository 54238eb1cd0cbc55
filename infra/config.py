"""Reads the stages of cdk.json: a validated, frozen model of one, or every error of it, each with its remedy."""

import json
import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from infra.settings import StageSettings

# `kennel plan` reads the settings without CDK, which takes seconds to load.
if TYPE_CHECKING:
    from constructs import Node

# Where Lambda offers no function URLs (Lambda's developer guide, "Creating and managing Lambda function URLs").
WITHOUT_FUNCTION_URLS = (
    *("ap-east-2", "ap-south-2", "ap-southeast-4", "ap-southeast-5", "ap-southeast-6", "ap-southeast-7"),
    *("ca-west-1", "eu-central-2", "eu-south-2", "il-central-1", "me-central-1"),
)

# The variable by which the CDK command line hands its context to the app (aws-cdk-lib/cx-api).
CONTEXT_ENV = "CDK_CONTEXT_JSON"

# JSON's names of Python's types.
FORMS = {"tuple_type": "Input should be a list", "model_type": "Input should be an object with settings"}

# Settings by their names before 0.2.0.
RENAMED = {
    "stop": "shutdown_schedule",
    "endpoint.capture_pictures": "capture_inputs",
    "endpoint.scaling_registered_for": "scaling_target_instance_type",
    "function.fetch": "url_fetch",
    "function.fetch_hosts": "url_fetch_hosts",
    "function.page": "web_page",
    "operations.notify": "alarm_emails",
}
BY_CPU = "removed in 0.2.0, since instances follow their CPU utilization: use target_cpu_percent"
REMOVED = {"endpoint.requests_per_s": BY_CPU, "endpoint.scaling_safety": BY_CPU}


class ConfigurationError(Exception):
    """The stage cannot be deployed as configured; the message lists every error with its remedy."""


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
    """Validates the settings of one stage in cdk.json, and its region. Raises ConfigurationError."""
    return validated(name, settings, _region_errors(settings.get("region")))


def validated(name: str, settings: dict[str, Any], errors: Iterable[str] = ()) -> StageSettings:
    """Validates the settings of one stage without CDK, which knows the regions.

    Raises ConfigurationError with the errors that are found, and `errors`.
    """
    lines = list(errors)
    try:
        stage = StageSettings(name=name, **settings)
    except ValidationError as error:
        lines[:0] = [line for item in error.errors() for line in _explain(item)]
    if lines:
        raise ConfigurationError("\n  ".join([f"Stage {name!r} in cdk.json has {len(lines)} error(s):", *lines]))
    return stage


def _region_errors(region: Any) -> list[str]:
    from aws_cdk.region_info import RegionInfo

    if not isinstance(region, str):
        return []
    if RegionInfo.get(region).dlc_repository_account is None:
        return [f"region: AWS publishes no deep learning containers for {region!r}: choose another region"]
    if region in WITHOUT_FUNCTION_URLS:
        return [f"region: Lambda offers no function URLs in {region!r}: choose another region"]
    return []


def _explain(item: Any) -> list[str]:
    path = [str(part) for part in item["loc"]]
    where = ".".join(path)
    if item["type"] == "extra_forbidden":
        return [_unknown(path)]
    message = FORMS.get(item["type"], re.sub(r"^Value error, ", "", item["msg"]))
    given = "" if isinstance(item["input"], dict) else f" (given: {json.dumps(item['input'], default=str)})"
    return [f"{where}: {line}{given}" if where else line for line in message.split("\n")]


def _unknown(path: list[str]) -> str:
    """The error of a setting that does not exist, with the one that may be meant."""
    where = ".".join(path)
    if new := RENAMED.get(where):
        return f"{where}: renamed in 0.2.0: use {new}"
    if why := REMOVED.get(where):
        return f"{where}: {why}"
    part: Any = StageSettings
    for name in path[:-1]:
        # A number is a place in a list of schedules.
        if isinstance(part, type) and issubclass(part, BaseModel) and name in part.model_fields:
            part = part.model_fields[name].annotation
    known = part.model_fields if isinstance(part, type) and issubclass(part, BaseModel) else {}
    meant = "".join(f"use {name}, or " for name in get_close_matches(path[-1], known, 1))
    return f"{where}: no such setting: {meant}see docs/settings.md"
