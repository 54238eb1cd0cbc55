"""What the docs say of roles and architecture is what the templates say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from helpers import REPOSITORY
from helpers.invariants import Templates
from kennel.stage.template_roles import Stacks


def generator() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["architecture.md", "security.md"])
def test_generated_docs_are_up_to_date(page: str, matrix: dict[str, Templates]) -> None:
    text = Path(REPOSITORY / "docs" / page).read_text()
    assert generator().with_generated(text, Stacks(matrix["dev"], "dev", "us-east-1")) == text


def test_new_grant_changes_generated_docs(matrix: dict[str, Templates]) -> None:
    text = Path(REPOSITORY / "docs" / "security.md").read_text()
    stacks = Stacks(matrix["dev"], "dev", "us-east-1")
    roles = stacks.roles()
    statement = {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "*"}
    roles["JobRole"].policies["more"] = {"Version": "2012-10-17", "Statement": [statement]}
    stacks.roles = lambda: roles  # type: ignore[method-assign]
    assert "DeleteObject" in generator().with_generated(text, stacks)


def test_new_grant_changes_diagram_arrow(matrix: dict[str, Templates]) -> None:
    text = Path(REPOSITORY / "docs" / "architecture.md").read_text()
    assert "JobRole -->|reads| Datasets" in text
    stacks = Stacks(matrix["dev"], "dev", "us-east-1")
    roles = stacks.roles()
    bucket, _ = stacks.buckets()["StorageDatasets"]
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{bucket}/datasets/*"}
    roles["JobRole"].policies["more"] = {"Version": "2012-10-17", "Statement": [statement]}
    stacks.roles = lambda: roles  # type: ignore[method-assign]
    assert "JobRole -->|reads, writes| Datasets" in generator().with_generated(text, stacks)
