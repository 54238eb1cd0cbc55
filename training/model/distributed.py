"""Distributed training on one or more hosts: rank, start of processes, and what they share."""

import ctypes
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from inference.processors import usable
from training import sagemaker_env

MASTER_PORT = 29400
PR_SET_PDEATHSIG = 1
# The others wait while the first one prepares the features.
TIMEOUT = timedelta(hours=12)


@dataclass(frozen=True)
class Group:
    """The processes that train together; `rank` is this one's number among `size`."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """True in the process that prints and writes for all."""
        return self.rank == 0

    def part(self, items: list[Any]) -> list[Any]:
        """This process's share of `items`."""
        return items[self.rank :: self.size]

    def sum(self, values: list[float]) -> list[float]:
        """The sums over all processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return list(tensor.tolist())

    def gather(self, items: Any) -> list[Any]:
        """The items of all processes, by rank."""
        if self.size == 1:
            return [items]
        gathered: list[Any] = [None] * self.size
        distributed.all_gather_object(gathered, items)
        return gathered

    def from_first(self, item: Any) -> Any:
        """The item of the first process."""
        if self.size == 1:
            return item
        box = [item]
        distributed.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def group() -> Generator[Group]:
    """Joins the processes that torchrun started: nccl on GPUs, gloo on CPUs. Alone, it is a group of one."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    if size == 1:
        yield Group(rank, size, device)
        return
    _end_with_torchrun()
    distributed.init_process_group("nccl" if gpu else "gloo", timeout=TIMEOUT)
    try:
        yield Group(rank, size, device)
    finally:
        distributed.destroy_process_group()


def _end_with_torchrun() -> None:
    """Processes that torchrun starts have sessions of their own: without this they would outlive one that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def launch(module: str, processes_per_host: int | None) -> None:
    """Becomes torchrun of `module`, on this host of the job, where more than one process trains; else returns."""
    hosts, host = sagemaker_env.hosts()
    per_host = processes_per_host or max(1, torch.cuda.device_count())
    if "RANK" in os.environ or len(hosts) * per_host == 1:
        return
    # Without it they bind to what the host's name resolves to: on SageMaker that may be loopback, where nobody else is.
    if interface := sagemaker_env.interface():
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", interface)
    # Each process its share of the cores, as torchrun would otherwise give it one.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable() // per_host)))
    command = [
        sys.executable, "-m", "torch.distributed.run",
        "--nnodes", str(len(hosts)),
        "--node-rank", str(hosts.index(host)),
        "--master-addr", hosts[0],
        "--master-port", str(MASTER_PORT),
        "--nproc-per-node", str(per_host),
        "--module", module, *sys.argv[1:],
    ]  # fmt: skip
    os.execv(sys.executable, command)
