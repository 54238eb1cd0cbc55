"""The words of what people read: help texts, errors and pages use the glossary's terms."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from helpers import REPOSITORY
from kennel.commands.app import app

GLOSSARY = REPOSITORY / "docs" / "glossary.md"
PAGES = [
    *(REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *(page for page in sorted((REPOSITORY / "docs").glob("*.md")) if page != GLOSSARY),
    *sorted((REPOSITORY / "bench" / "results").glob("*.md")),
]
SOURCES = [
    file
    for folder in ("infra", "kennel", "training", "inference", "lambda")
    for file in sorted((REPOSITORY / folder).rglob("*.py"))
]


def avoided(text: str) -> list[str]:
    """The glossary's phrases of the left column that are in a text."""
    rows = GLOSSARY.read_text().partition("| Instead of | Write |")[2]
    phrases = [phrase.strip() for row in re.findall(r"^\| ([^|-][^|]*) \|", rows, re.M) for phrase in row.split(",")]
    assert len(phrases) > 20
    plain = re.sub(r"\s+", " ", text)
    return [phrase for phrase in phrases if re.search(rf"\b{re.escape(phrase)}\b", plain, re.IGNORECASE)]


def helps(command: click.Command, name: str = "kennel") -> Iterator[tuple[str, str]]:
    """The help texts of a command, its parameters and its subcommands, each with its place."""
    yield name, command.help or ""
    for parameter in command.params:
        yield f"{name} {parameter.name}", getattr(parameter, "help", None) or ""
    for inner, sub in getattr(command, "commands", {}).items():
        yield from helps(sub, f"{name} {inner}")


def raised(source: str) -> Iterator[tuple[int, str]]:
    """The texts in what a module raises, each with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and node.exc is not None:
            for part in ast.walk(node.exc):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield node.lineno, part.value


def test_help_texts_use_the_glossary() -> None:
    assert {name: found for name, text in helps(typer.main.get_command(app)) if (found := avoided(text))} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_uses_the_glossary(page: Path) -> None:
    assert avoided(page.read_text()) == []


def test_errors_use_the_glossary() -> None:
    found = {
        f"{file.relative_to(REPOSITORY)}:{line}": words
        for file in SOURCES
        for line, text in raised(file.read_text())
        if (words := avoided(text))
    }
    assert found == {}


def test_makefile_help_uses_the_glossary() -> None:
    assert avoided("\n".join(re.findall(r"## (.*)", (REPOSITORY / "Makefile").read_text()))) == []


def test_avoided_phrase_is_detected() -> None:
    assert avoided("A Picture that\nis no file") == ["picture", "is no file"]
    assert avoided("pictured at rest") == []
    assert list(raised("raise ValueError(f'{x} is no folder')")) == [(1, " is no folder")]
    command = click.Command("a", help="x", params=[click.Option(["--b"], help="anew")])
    assert list(helps(command)) == [("kennel", "x"), ("kennel b", "anew")]
