"""An open-loop load: requests are sent when they are due, however long the others take, as users do."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from kennel.capacity.system import Floats
from kennel.errors import KennelError

# Requests that wait for an answer at the same time: more than the instances of a stage hold.
THREADS = 1000
# A request that is sent so much later than it is due means that this machine measures itself.
LATE_S = 1.0


@dataclass(frozen=True)
class Answer:
    """One request: when it was due, the status of the answer, and how long after that moment it came, in s."""

    due_s: float
    status: int
    latency_s: float


def drive(
    arrivals: Floats,
    send: Callable[[int], int],
    *,
    threads: int = THREADS,
    allowed_late_s: float = LATE_S,
    begin: float | None = None,
    stopped: threading.Event | None = None,
    progress: Callable[[int], None] = lambda sent: None,
) -> list[Answer]:
    """Calls `send` with 0, 1, … at the seconds of `arrivals` and returns the answers in that order.

    `begin` is time.monotonic() of second 0: now, if it is not given. `send` returns a status; what it raises ends the
    load, sets `stopped`, and is raised. So does a request that is sent more than `allowed_late_s` too late,
    with KennelError: a load that waits for answers is another load. If somebody else sets `stopped`, requests that were
    not sent have the status 0.
    """
    begun = time.monotonic() if begin is None else begin
    stopped = stopped or threading.Event()

    def one(number: int, due: float) -> Answer:
        if stopped.is_set():
            return Answer(due, 0, 0.0)
        late_s = time.monotonic() - begun - due
        try:
            if late_s > allowed_late_s:
                raise KennelError(
                    f"Request {number + 1:,} of {len(arrivals):,} was sent {late_s:.1f} s too late: this machine does "
                    "not keep up with the load. Lower --high, or use a larger machine that does nothing else."
                )
            return Answer(due, send(number), time.monotonic() - begun - due)
        except BaseException:
            stopped.set()
            raise

    futures: list[Future[Answer]] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        for number, due in enumerate(arrivals.tolist()):
            if stopped.wait(max(0.0, due - (time.monotonic() - begun))):
                break
            futures.append(pool.submit(one, number, due))
            progress(number + 1)
        return [future.result() for future in futures]


def drive_all(
    arrivals: Floats, sends: list[Callable[[int], int]], progress: Callable[[int], None] = lambda sent: None
) -> list[list[Answer]]:
    """The same load through each of `sends` at the same time, each with threads of its own: none waits for another.

    The first error ends all of them.
    """
    begin, stopped = time.monotonic(), threading.Event()

    def load(number: int) -> list[Answer]:
        report = progress if number == 0 else lambda sent: None
        return drive(arrivals, sends[number], begin=begin, stopped=stopped, progress=report)

    with ThreadPoolExecutor(len(sends)) as pool:
        loads = [pool.submit(load, number) for number in range(len(sends))]
        return [answers.result() for answers in loads]
