"""What docs/security.md says of the roles is what the templates say."""

import importlib.util
from pathlib import Path
from types import ModuleType

from invariants import Templates
from kennel.roles import Stacks
from synthesis import REPOSITORY


def generator() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_given_the_templates_when_the_docs_are_generated_then_they_are_as_they_stand(
    matrix: dict[str, Templates],
) -> None:
    text = Path(REPOSITORY / "docs" / "security.md").read_text()
    assert generator().with_generated(text, Stacks(matrix["dev"], "dev", "us-east-1")) == text


def test_given_another_grant_when_the_docs_are_generated_then_they_change(matrix: dict[str, Templates]) -> None:
    text = Path(REPOSITORY / "docs" / "security.md").read_text()
    stacks = Stacks(matrix["dev"], "dev", "us-east-1")
    roles = stacks.roles()
    statement = {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "*"}
    roles["JobRole"].policies["more"] = {"Version": "2012-10-17", "Statement": [statement]}
    stacks.roles = lambda: roles  # type: ignore[method-assign]
    assert "DeleteObject" in generator().with_generated(text, stacks)
