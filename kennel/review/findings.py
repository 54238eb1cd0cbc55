"""What cfn-lint and CDK's own rules find in one side and not in the other."""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass

from cfnlint.api import lint
from cfnlint.config import ManualArgs

from kennel.errors import KennelError
from kennel.review import properties
from kennel.review.assemblies import Side, Template
from kennel.review.differences import Change, name_of

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


def planted(changes: list[Change], names: dict[str, str]) -> Iterator[Finding]:
    """What looks like a secret in a property and was not there before: whoever may read a template reads it.

    What is new has no properties in CDK's comparison, so that it is not looked at.
    """
    for change in changes:
        for item in change.properties:
            for path in properties.planted(item, names):
                yield Finding(change.stack, change.name, SECRET, f"{path}: take it from Secrets Manager or SSM")


def _placed(stack: str, template: Template, region: str) -> Iterator[Finding]:
    for path, rule, message in _linted(json.dumps(template), region):
        place = name_of(template, path[1]) if path[:1] == ("Resources",) and len(path) > 1 else stack
        yield Finding(stack, place, rule, message)


@functools.cache
def _linted(template: str, region: str) -> list[tuple[tuple[str, ...], str, str]]:
    """Path, rule and message of what cfn-lint finds; the path is empty for what it finds in the text alone."""
    config = ManualArgs(regions=[region], ignore_checks=IGNORED)
    return [
        (tuple(map(str, getattr(match, "path", None) or ())), match.rule.id, match.message)
        for match in lint(template, config=config)
    ]


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
        raise KennelError(f"{report} is no validation report of CDK's: synthesize anew.") from None
