"""Generated docs are up to date: roles and architecture, settings, and the JSON schema of cdk.json."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from docs import generate
from helpers import REPOSITORY
from helpers.invariants import Templates
from infra import names
from kennel.pricing import prices
from kennel.pricing.stack_costs import cost
from kennel.stage.template_roles import Stacks


@pytest.mark.parametrize("page", [page.name for page in generate.PAGES])
def test_generated_docs_are_up_to_date(page: str, matrix: dict[str, Templates]) -> None:
    text = Path(REPOSITORY / "docs" / page).read_text()
    assert generate.with_generated(text, Stacks(matrix["dev"], "dev", "us-east-1")) == text


def test_readme_has_the_idle_cost(matrix: dict[str, Templates]) -> None:
    readme = " ".join((REPOSITORY / "README.md").read_text().split())
    figures = r"about (\d+) USD per month after .*?, and (\d+) USD more .*? for (\d+) USD, runs all month"
    found = re.search(figures, readme)
    assert found
    first, second, endpoint = map(int, found.groups())
    usd = {name: cost(matrix["dev"][name], prices.load()) for name in names.PARTS}
    training = round(usd["Data"].month_usd + usd["Training"].month_usd)
    assert first == training
    assert second == round(sum(one.month_usd for one in usd.values())) - training
    assert endpoint == round(max(usd["Serving"].at_rest.values()))


def test_schema_is_up_to_date() -> None:
    assert generate.schema_text() == generate.SCHEMA.read_text()


def test_schema_accepts_cdk_json() -> None:
    jsonschema.validate(json.loads((REPOSITORY / "cdk.json").read_text()), generate.schema())


@pytest.mark.parametrize(
    "settings",
    [{"region": "us-east-1", "retain": True}, {}, {"region": "us-east-1", "endpoint": {"timeout_s": 61}}],
    ids=["unknown", "missing", "out of bounds"],
)
def test_schema_rejects_invalid_settings(settings: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"context": {"stages": {"dev": settings}}}, generate.schema())


def test_new_grant_changes_generated_docs(matrix: dict[str, Templates]) -> None:
    text = Path(REPOSITORY / "docs" / "security.md").read_text()
    stacks = Stacks(matrix["dev"], "dev", "us-east-1")
    roles = stacks.roles()
    statement = {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "*"}
    roles["JobRole"].policies["more"] = {"Version": "2012-10-17", "Statement": [statement]}
    stacks.roles = lambda: roles  # type: ignore[method-assign]
    assert "DeleteObject" in generate.with_generated(text, stacks)


def test_new_grant_changes_diagram_arrow(matrix: dict[str, Templates]) -> None:
    text = Path(REPOSITORY / "docs" / "architecture.md").read_text()
    assert "JobRole -->|reads| Datasets" in text
    stacks = Stacks(matrix["dev"], "dev", "us-east-1")
    roles = stacks.roles()
    bucket, _ = stacks.buckets()["StorageDatasets"]
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{bucket}/datasets/*"}
    roles["JobRole"].policies["more"] = {"Version": "2012-10-17", "Statement": [statement]}
    stacks.roles = lambda: roles  # type: ignore[method-assign]
    assert "JobRole -->|reads, writes| Datasets" in generate.with_generated(text, stacks)
