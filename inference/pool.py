"""The model threads of one server, and the bounded queue before them."""

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from inference.predictor import Prediction


class Predicts(Protocol):
    """The work of the threads, which call it at the same time."""

    def predict(self, data: bytes, top_k: int) -> list[Prediction]:
        """The best classes of one image."""


class QueueFull(Exception):
    """The queue has no room: an answer now is worth more than an answer late."""


class DeadlineExceeded(Exception):
    """The deadline came before the answer."""


@dataclass(frozen=True)
class Result:
    """The result for one image, and the time of each step."""

    predictions: list[Prediction]
    queue_ms: float
    model_ms: float


class Pool:
    """`threads` model threads and a queue of at most `capacity` images. Use it from one event loop."""

    def __init__(self, predictor: Predicts, threads: int, capacity: int) -> None:
        self.threads, self.capacity = threads, capacity
        self.unfinished = 0
        self.last_answer = 0.0
        self._predictor = predictor
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._lock = threading.Lock()
        # By thread: when it took the image that it is at work on.
        self._begun: dict[int, float] = {}

    @property
    def waiting(self) -> int:
        """Images in the queue, without those that a thread is at work on."""
        return max(0, self.unfinished - self.threads)

    @property
    def full(self) -> bool:
        """True if the queue has no room for another image."""
        return self.waiting >= self.capacity

    def longest_s(self) -> float:
        """For how long the slowest thread has been at work on its image; 0 if all are free."""
        return max((time.monotonic() - begun for begun in list(self._begun.values())), default=0.0)

    async def predict(self, data: bytes, top_k: int, deadline_s: float) -> Result:
        """Waits for a thread and for its answer. Raises Full, Expired, or what the predictor raises."""
        if self.full:
            raise QueueFull
        arrived = time.monotonic()
        with self._lock:
            self.unfinished += 1
        future = self._executor.submit(self._work, data, top_k, arrived)
        future.add_done_callback(self._finished)
        try:
            # An image that is still in the queue then leaves it; one that a thread is at work on cannot be stopped.
            return await asyncio.wait_for(asyncio.wrap_future(future), deadline_s)
        except TimeoutError:
            raise DeadlineExceeded from None

    def _work(self, data: bytes, top_k: int, arrived: float) -> Result:
        begun = time.monotonic()
        thread = threading.get_ident()
        self._begun[thread] = begun
        try:
            predictions = self._predictor.predict(data, top_k)
        finally:
            del self._begun[thread]
        self.last_answer = ended = time.monotonic()
        return Result(predictions, (begun - arrived) * 1000, (ended - begun) * 1000)

    def _finished(self, _: "Future[Result]") -> None:
        with self._lock:
            self.unfinished -= 1

    def close(self) -> None:
        """Lets the threads end."""
        self._executor.shutdown(wait=False, cancel_futures=True)
