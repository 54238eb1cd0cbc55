"""An open-loop load: requests are sent when they are due, however long the others take, as users do."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from kennel.capacity.system import Floats


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
    threads: int = 64,
    progress: Callable[[int], None] = lambda sent: None,
) -> list[Answer]:
    """Calls `send` with 0, 1, … at the seconds of `arrivals` and returns the answers in that order.

    `send` returns a status; what it raises is raised when all are sent. Latency counts from when a request was due:
    one that found no thread free has waited, too.
    """
    begun = time.monotonic()

    def one(number: int, due: float) -> Answer:
        status = send(number)
        return Answer(due, status, time.monotonic() - begun - due)

    futures: list[Future[Answer]] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        for number, due in enumerate(arrivals.tolist()):
            wait = due - (time.monotonic() - begun)
            if wait > 0:
                time.sleep(wait)
            futures.append(pool.submit(one, number, due))
            progress(number + 1)
        return [future.result() for future in futures]
