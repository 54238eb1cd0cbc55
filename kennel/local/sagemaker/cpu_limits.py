"""Limits of the processor time of instances, so that some of this machine are as slow as small or busy ones of AWS.

The kernel's cgroups do it (Documentation/scheduler/sched-bwc.rst for version 1, admin-guide/cgroup-v2.rst for 2).
"""

import os
from contextlib import suppress
from pathlib import Path

import psutil

from kennel.local.errors import LocalError
from kennel.local.settings import CORES_VARIABLE

ROOT = Path("/sys/fs/cgroup")
# A tenth of the kernel's own: an instance that is over its share waits for milliseconds.
PERIOD_US = 10_000


def limit(pid: int, cores: float) -> Path:
    """Limits a process, and all that it starts from then on; returns the group, for `remove`.

    Raises LocalError if this user may not.
    """
    unified = (ROOT / "cgroup.controllers").exists()
    folder = ROOT if unified else ROOT / "cpu"
    for old in folder.glob("kennel-*"):
        # Left over from an embedded AWS that was killed.
        if not psutil.pid_exists(int(old.name.split("-")[1])):
            remove(old)
    group = folder / f"kennel-{os.getpid()}-{pid}"
    quota_us = round(cores * PERIOD_US)
    try:
        if unified:
            (ROOT / "cgroup.subtree_control").write_text("+cpu")
        group.mkdir()
        if unified:
            (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise LocalError(f"{CORES_VARIABLE} needs cgroups that you may write to: {error}.") from None
    return group


def remove(group: Path) -> None:
    """Removes the group of processes that have ended."""
    with suppress(OSError):  # the kernel may take a moment longer, and an empty group costs nothing
        group.rmdir()
