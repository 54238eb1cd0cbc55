"""The pages: their links lead somewhere, and the commands that they show are there."""

import re
from pathlib import Path

import pytest
import typer

from helpers import REPOSITORY
from helpers.pages import PAGES, anchors, lines
from kennel.commands.app import app

GOVERNANCE = [REPOSITORY / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG")]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMANDS = typer.main.get_command(app)


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere; addresses of others are not asked."""
    found = []
    for link in LINK.findall(text):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            found.append(link)
    return found


def unknown(text: str) -> list[str]:
    """The commands in a page's code that neither the Makefile nor the command line has."""
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    commands = set(getattr(COMMANDS, "commands", {}))
    found = []
    for words in lines(text):
        if match := re.match(r"make ((?:[a-z-]+ ?)+)", words):
            found += [f"make {name}" for name in match[1].split() if name not in targets]
        if (match := re.match(r"(?:\S*/)?kennel ([a-z]+)", words)) and match[1] not in commands:
            found.append(f"kennel {match[1]}")
    return found


@pytest.mark.parametrize("page", [*PAGES, *GOVERNANCE], ids=lambda page: page.name)
def test_links_are_not_broken(page: Path) -> None:
    assert broken(page, page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_commands_exist(page: Path) -> None:
    assert unknown(page.read_text()) == []


def test_broken_link_or_command_is_detected() -> None:
    text = "[a](docs/none.md) [b](docs/costs.md#none) [c](docs/costs.md) `make nothing` `kennel nothing` `make test`"
    assert broken(REPOSITORY / "README.md", text) == ["docs/none.md", "docs/costs.md#none"]
    assert unknown(text) == ["make nothing", "kennel nothing"]
