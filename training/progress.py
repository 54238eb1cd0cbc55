"""The lines of a job's log."""

import time
from collections.abc import Callable

PROGRESS_S = 2.0
# The step, the number done, and the total.
Say = Callable[[str, int, int], None]


def say(message: str) -> None:
    """A line of the job's log."""
    print(f"kennel: {message}", flush=True)


def progress() -> Say:
    """Says how far something is, now and then."""
    said = time.monotonic()

    def show(what: str, done: int, of: int) -> None:
        nonlocal said
        if time.monotonic() - said > PROGRESS_S:
            said = time.monotonic()
            say(f"{what}: {done} of {of} images")

    return show
