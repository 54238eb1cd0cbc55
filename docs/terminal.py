"""Draws what a command printed as an SVG file, for a page:

TTY_COMPATIBLE=1 TTY_INTERACTIVE=0 COLUMNS=80 make demo | python -m docs.terminal "make demo" > docs/demo.svg
"""

import io
import re
import sys

from rich.console import Console
from rich.text import Text

WIDTH = 80


def svg(title: str, output: str) -> str:
    """The terminal of WIDTH columns with `output`, which may have colours, and the command in its title."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.from_ansi(output), soft_wrap=True)
    # Readers' own monospaced font: no requests to other servers.
    return re.sub(r"@font-face \{.*?\}", "", console.export_svg(title=title), flags=re.S)


if __name__ == "__main__":
    print(svg(sys.argv[1], sys.stdin.read()))
