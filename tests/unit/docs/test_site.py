"""The docs site: it builds without warnings, and its reference has every public name of the product."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.site.build import PACKAGES, WORK, packages
from helpers import REPOSITORY


def public(tree: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    """The dotted names of the functions and classes of a module or class that have no leading underscore."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{prefix}.{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{prefix}.{node.name}")


def names() -> set[str]:
    """Every public name of the product's packages."""
    found = set()
    for _, modules in packages():
        for module in modules[1:]:
            (file,) = (path for root in PACKAGES if (path := root / f"{module.replace('.', '/')}.py").is_file())
            found |= set(public(ast.parse(file.read_text()), module))
    return found


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder of the built site."""
    python = Path(sys.prefix) / "site" / "bin" / "python"
    result = subprocess.run([python, REPOSITORY / "docs" / "site" / "build.py"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "No issues found" in result.stderr
    return WORK / "site"


def test_reference_has_every_public_name(site: Path) -> None:
    pages = "".join(page.read_text() for page in (site / "modules").glob("*/index.html"))
    missing = {name for name in names() if f'id="{name}"' not in pages}
    assert missing == set()


def test_site_asks_no_other_server(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert 'src="http' not in page.read_text()
        assert 'rel="stylesheet" href="http' not in page.read_text()
