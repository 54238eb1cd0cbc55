"""The number of processors that this process may use."""

import os


def usable() -> int:
    """Those that it is bound to on Linux; elsewhere, where a process is not bound, all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
