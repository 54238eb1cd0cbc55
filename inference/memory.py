"""A limit on the memory of this process, for one that decodes files which may be hostile."""

import resource
import sys
from pathlib import Path


def limit(more_bytes: int) -> None:
    """Lets this process take so much beyond what it has now (Linux only), and leave no core dump."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
