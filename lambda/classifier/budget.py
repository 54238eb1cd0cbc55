"""The remaining time of one request: every step takes its time limit from here, and none adds one of its own."""

import time


class Budget:
    """So many seconds, from now on."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def left_s(self, at_most: float = float("inf")) -> float:
        """Seconds that are left, `at_most` of them; 0 when it is spent."""
        return max(0.0, min(at_most, self._ends - time.monotonic()))
