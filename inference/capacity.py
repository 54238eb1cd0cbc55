"""The capacity of one server: measured at its start with a generated image, and observed when it is saturated.

Both are in requests per second. Scaling does not need them, as it follows CPU utilization; `kennel status` and
`kennel plan` read them.
"""

import asyncio
import time

from inference.photograph import photograph
from inference.pool import Pool

MEASURED_S = 2.0
# Model threads that were busy for this share of a period were saturated.
SATURATED = 0.9
DEADLINE_S = 30.0


async def measured(pool: Pool) -> float:
    """The throughput of the pool in requests/s, all of its threads at work for MEASURED_S."""
    begun, done = time.monotonic(), 0

    async def work() -> None:
        nonlocal done
        while time.monotonic() < begun + MEASURED_S:
            await pool.predict(photograph(), 1, DEADLINE_S)
            done += 1

    await asyncio.gather(*(work() for _ in range(pool.threads)))
    return done / (time.monotonic() - begun)


class Load:
    """The work of the model threads since the last period."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._begin()

    def _begin(self) -> None:
        self._begun = time.monotonic()
        self._busy_s = 0.0
        self._answers = 0

    def add(self, model_ms: float) -> None:
        """One more answer, and how long its thread was at work on it."""
        self._busy_s += model_ms / 1000
        self._answers += 1

    def period(self) -> tuple[float, float | None]:
        """Ends a period: the share of the threads' time at work, and the capacity in requests/s if all of it was."""
        seconds = max(time.monotonic() - self._begun, 1e-9)
        utilization, throughput = self._busy_s / seconds / self._threads, self._answers / seconds
        self._begin()
        return min(1.0, utilization), throughput if utilization >= SATURATED else None
