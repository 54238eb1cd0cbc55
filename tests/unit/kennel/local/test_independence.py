"""The embedded AWS can become a distribution of its own: it imports nothing else of this project."""

import ast
from pathlib import Path

import pytest

from helpers import REPOSITORY
from infra.bootstrap.execution_policy import TYPES, WHILE_CREATING
from infra.settings import METRIC_DELAY_S
from kennel.local import settings
from kennel.local.cloudformation import permissions, resource_calls
from kennel.stage.embedded_aws import TABLES

OURS = ("kennel", "infra", "training", "inference", "classifier", "drift")
MODULES = sorted((REPOSITORY / "kennel" / "local").rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_module_imports_nothing_else_of_kennel(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            assert name.split(".")[0] not in OURS or name.startswith("kennel.local"), f"line {node.lineno}"


def test_both_readers_of_the_resource_types_agree() -> None:
    rows = resource_calls.load(TABLES.resource_types)
    assert set(rows) == set(TYPES)
    for kind, row in rows.items():
        for verb in ("create", "update", "delete", "read", "anywhere", "makes"):
            assert row.calls[verb] == list(getattr(TYPES[kind], verb))
        assert (row.on, row.name, row.tagged, row.passes_role, row.parents) == (
            TYPES[kind].on,
            TYPES[kind].name,
            TYPES[kind].tagged,
            TYPES[kind].passes_role,
            TYPES[kind].parents,
        )


def test_facts_of_aws_are_the_same_on_both_sides() -> None:
    assert settings.METRIC_DELAY_S == METRIC_DELAY_S
    assert permissions.WHILE_CREATING == WHILE_CREATING
