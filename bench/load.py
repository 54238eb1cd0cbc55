"""Load on a stack: from wrk, which is written in C and needs a small share of the cores, and one request at a time."""

import json
import os
import resource
import subprocess
import time
from pathlib import Path

from stacks import Stack, StackError

IDLE_WITHIN_S = 180
Measured = dict[str, float]


def load(stack: Stack, images: Path, concurrency: int, seconds: float, *, settle: bool = True) -> Measured:
    """The results of wrk with so many connections; cpu_ms is the stack's own, for each request."""
    before, own = stack.cpu_s(), _children_s()
    answer = subprocess.run(
        [
            *("wrk", "--threads", "1", "--connections", str(concurrency), "--duration", f"{seconds:g}s"),
            *("--timeout", "60s", "--script", str(Path(__file__).with_name("load.lua")), stack.url),
        ],
        env={**os.environ, "IMAGES": str(images)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    measured: Measured = json.loads(answer.stdout.strip().splitlines()[-1])
    answered = max(1, measured["requests"] - measured["refused"])
    measured["per_s"] = (measured["requests"] - measured["refused"]) / measured["seconds"]
    measured["cpu_ms"] = 1000 * (stack.cpu_s() - before) / answered
    measured["load_cpu_ms"] = 1000 * (_children_s() - own) / answered
    # A stack that was stopped in the middle of its queue would still work on it when the next one is measured.
    if settle:
        until_idle(stack)
    return {name: round(value, 3) for name, value in measured.items()}


def until_idle(stack: Stack) -> None:
    """Waits for the end of what the stack is at work on. Raises StackError."""
    deadline = time.monotonic() + IDLE_WITHIN_S
    while time.monotonic() < deadline:
        before = stack.cpu_s()
        time.sleep(0.5)
        if stack.cpu_s() - before < 0.05:
            return
    raise StackError(f"{stack.name} is still at work {IDLE_WITHIN_S} s after its load has ended")


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
