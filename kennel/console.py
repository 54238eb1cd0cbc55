"""How the commands talk: tables, steps with their time, one shared console."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console(highlight=False)


@contextmanager
def step(name: str, timings: dict[str, float] | None = None) -> Iterator[Callable[[str], None]]:
    """Shows `name` with a running clock, then a tick and the seconds it took; gives a function that says how far it is.

    `timings` gets the seconds under `name`.
    """
    started = time.monotonic()
    with console.status(name) as status:

        def progress(message: str) -> None:
            elapsed = time.monotonic() - started
            line = f"{name} [dim]{elapsed:4.0f} s  {message}[/dim]"
            if console.is_terminal:
                status.update(line)
            else:
                console.print(f"  {line}")

        yield progress
    seconds = time.monotonic() - started
    if timings is not None:
        timings[name] = round(seconds, 2)
    console.print(f"[green]✓[/green] {name} [dim]{seconds:.1f} s[/dim]")
