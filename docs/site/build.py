"""Builds the docs site into build/docs-site/site: the pages of the repository, and a reference of all modules.

make docs-site      builds it; a link that leads nowhere is an error
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SITE = REPOSITORY / "docs" / "site"
NODE = SITE / "node_modules"
WORK = REPOSITORY / "build" / "docs-site"
# They keep their places, so that the links between them hold on GitHub and here.
PAGES = ("*.md", "LICENSE", "docs/*.md", "docs/*.svg", "bench/results/*", "lambda/classifier/openapi.json")
ASSETS = (
    SITE / "site.css",
    SITE / "url.md",
    NODE / "mermaid" / "dist" / "mermaid.min.js",
    NODE / "swagger-ui-dist" / "swagger-ui.css",
    NODE / "swagger-ui-dist" / "swagger-ui-bundle.js",
)
# The roots of the packages, each with the folder on the path in which it lies.
PACKAGES = {
    REPOSITORY: ("infra", "training", "inference", "kennel"),
    REPOSITORY / "lambda": ("classifier", "drift"),
}


def main() -> int:
    """Writes the pages into one folder and runs Zensical; returns its exit status."""
    shutil.rmtree(WORK, ignore_errors=True)
    pages = WORK / "pages"
    for pattern in PAGES:
        for file in REPOSITORY.glob(pattern):
            place = pages / file.relative_to(REPOSITORY)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    for file in ASSETS:
        shutil.copy(file, pages / file.name)
    (pages / "modules").mkdir()
    names = []
    for package, modules in packages():
        names.append(package)
        text = "\n".join(f"::: {module}\n" for module in modules)
        (pages / "modules" / f"{package}.md").write_text(f"# {package}\n\n{text}")
    nav = "".join(f"      - modules/{name}.md\n" for name in names)
    (WORK / "mkdocs.yml").write_text((SITE / "mkdocs.yml").read_text() + "  - Modules:\n" + nav)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", WORK / "mkdocs.yml"]
    return subprocess.run(command).returncode


def packages() -> Iterator[tuple[str, list[str]]]:
    """Each package, and what its page shows: itself and its modules."""
    for root, names in PACKAGES.items():
        for name in names:
            for init in sorted((root / name).rglob("__init__.py")):
                folder = init.parent
                package = ".".join(folder.relative_to(root).parts)
                modules = sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("__"))
                yield package, [package, *(f"{package}.{module}" for module in modules)]


if __name__ == "__main__":
    sys.exit(main())
