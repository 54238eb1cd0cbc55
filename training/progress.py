"""The lines of a job's log."""

import time
from collections.abc import Callable

PROGRESS_S = 2.0
# The step, the number done, and the total.
Progress = Callable[[str, int, int], None]


def log_line(message: str) -> None:
    """A line of the job's log."""
    print(f"kennel: {message}", flush=True)


def progress() -> Progress:
    """Logs how far something is, now and then."""
    logged = time.monotonic()

    def show(what: str, done: int, of: int) -> None:
        nonlocal logged
        if time.monotonic() - logged > PROGRESS_S:
            logged = time.monotonic()
            log_line(f"{what}: {done} of {of} images")

    return show
