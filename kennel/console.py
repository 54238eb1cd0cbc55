"""Output of the commands: tables, steps with their time, one shared console."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

# Without a terminal, as in CI, progress is a line now and then.
LOG_EVERY_S = 5.0

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def printable(text: str) -> str:
    """`text` without what a terminal would obey: file names may have it."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


@contextmanager
def step(
    name: str, timings: dict[str, float] | None = None, *, shown: bool = True, to: Console = console
) -> Generator[Callable[[str], None]]:
    """Shows `name` with a running clock, then a tick and the seconds it took; gives a function that says how far it is.

    `timings` gets the seconds under `name`. Not `shown`, it leaves standard output to what is printed in the meantime.
    """
    if not shown:
        yield lambda message: None
        return
    started = said = time.monotonic()
    with to.status(name) as status:

        def progress(message: str) -> None:
            nonlocal said
            now = time.monotonic()
            line = f"{name} [dim]{now - started:4.0f} s  {escape(message)}[/dim]"
            if to.is_terminal:
                status.update(line)
            elif now - said > LOG_EVERY_S:
                said = now
                to.print(f"  {line}", soft_wrap=True)

        yield progress
    seconds = time.monotonic() - started
    if timings is not None:
        timings[name] = round(seconds, 2)
    to.print(f"[green]✓[/green] {name} [dim]{seconds:.1f} s[/dim]")
