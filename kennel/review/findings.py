"""Findings of cfn-lint and CDK's own rules in one side that the other does not have."""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass

from cfnlint.config import ConfigMixIn, ManualArgs
from cfnlint.decode.decode import decode_str
from cfnlint.runner import Runner

from kennel.errors import KennelError
from kennel.review import properties
from kennel.review.differences import Change, name_of
from kennel.stage.assemblies import Side, Template

SECRET = "looks like a secret"
REPORT = "validation-report.json"
# CDK names dependencies that references imply.
IGNORED = ["W3005"]


@dataclass(frozen=True)
class Finding:
    """A rule that something in a stack does not keep."""

    stack: str
    place: str
    rule: str
    message: str


def findings(side: Side, stacks: list[str], region: str) -> list[Finding]:
    """All that is found in `stacks` of one side."""
    found = [
        finding
        for stack in stacks
        if stack in side.templates
        for finding in _placed(stack, side.templates[stack], region)
    ]
    return [*found, *(finding for finding in _reported(side) if finding.stack in stacks)]


def new_secrets(changes: list[Change], names: dict[str, str]) -> Iterator[Finding]:
    """New property values that look like secrets: whoever may read a template reads them.

    What is new has no properties in CDK's comparison, so that it is not looked at.
    """
    for change in changes:
        for item in change.properties:
            for path in properties.new_secrets(item, names):
                yield Finding(change.stack, change.name, SECRET, f"{path}: take it from Secrets Manager or SSM")


def _placed(stack: str, template: Template, region: str) -> Iterator[Finding]:
    for path, rule, message in linted(json.dumps(template), region):
        place = name_of(template, path[1]) if path[:1] == ("Resources",) and len(path) > 1 else stack
        yield Finding(stack, place, rule, message)


@functools.cache
def linted(template: str, region: str) -> list[tuple[tuple[str, ...], str, str]]:
    """Path, rule and message of what cfn-lint finds in the text of a template; the path is empty where it has none."""
    read, errors = decode_str(template)
    return [
        (tuple(map(str, getattr(match, "path", None) or ())), match.rule.id, match.message)
        for match in errors or _linter(region).validate_template(read)
    ]


@functools.cache
def _linter(region: str) -> Runner:
    """cfn-lint with its rules, which take a second to load."""
    return Runner(ConfigMixIn(**ManualArgs(regions=[region], ignore_checks=IGNORED)))


def _reported(side: Side) -> Iterator[Finding]:
    report = side.folder / REPORT if side.folder else None
    if report is None or not report.is_file():
        return
    try:
        for plugin in json.loads(report.read_text())["pluginReports"]:
            for violation in plugin["violations"]:
                for place in violation["violatingConstructs"]:
                    stack, _, path = str(place["constructPath"]).partition("/")
                    yield Finding(stack, path, violation["ruleName"], violation.get("description", ""))
    except (ValueError, KeyError, TypeError):
        raise KennelError(f"{report} is not a CDK validation report: synthesize again.") from None
