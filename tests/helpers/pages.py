"""What the pages show: the commands in their code, one by one, and their headings."""

import re
from collections.abc import Iterator
from pathlib import Path

from helpers import REPOSITORY

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
CODE = re.compile(r"```([a-z]*)\n(.*?)```|`([^`\n]+)`", re.DOTALL)
# An image's arrows are no commands.
IMAGE = "mermaid"
# A pipe with a backslash is part of a command that stands in a table.
SEPARATORS = re.compile(r"\s*[;·,]\s+|\s*(?<!\\)\|\s+|\s+&&\s+|\s+#|\s+──▶\s+")


def lines(text: str) -> Iterator[str]:
    """The commands of a page, and whatever else its code has."""
    for language, block, inline in CODE.findall(text):
        for line in [] if language == IMAGE else (block or inline).splitlines():
            yield from (words.strip().replace(r"\|", "|") for words in SEPARATORS.split(line))


def commands(text: str) -> set[str]:
    """The calls of make, kennel and cdk that a page shows, as they stand there."""
    called = (re.sub(r"^\S*/kennel ", "kennel ", line) for line in lines(text))
    return {line for line in called if re.match(r"(make|kennel|cdk) [a-z]", line)}


def anchors(page: Path) -> set[str]:
    """GitHub's names of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
