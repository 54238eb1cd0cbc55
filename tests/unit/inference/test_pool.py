"""The queue before the model: bounded, with a deadline, and honest about threads that hang."""

import asyncio
import threading

import pytest

from inference.pool import DeadlineExceeded, Pool, QueueFull, Result


class Held:
    """A predictor that answers once it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.seen: list[bytes] = []

    def predict(self, data: bytes, top_k: int) -> list[dict[str, object]]:
        self.seen.append(data)
        assert self.go.wait(10)
        if data == b"bad":
            raise ValueError("bad")
        return [{"label": data.decode(), "probability": 1.0}]


DEADLINE_S = 10


@pytest.fixture
def held() -> Held:
    return Held()


def test_full_queue_rejects_only_the_excess(held: Held) -> None:
    async def scenario() -> list[Result]:
        pool = Pool(held, threads=2, capacity=3)
        accepted = [asyncio.create_task(pool.predict(str(number).encode(), 1, DEADLINE_S)) for number in range(5)]
        await asyncio.sleep(0.05)
        assert pool.waiting == 3
        with pytest.raises(QueueFull):
            await pool.predict(b"one more", 1, DEADLINE_S)
        held.go.set()
        answers = await asyncio.gather(*accepted)
        assert (pool.unfinished, pool.waiting) == (0, 0)
        assert (await pool.predict(b"again", 1, DEADLINE_S)).predictions[0]["label"] == "again"
        return answers

    answers = asyncio.run(scenario())
    assert [answer.predictions[0]["label"] for answer in answers] == ["0", "1", "2", "3", "4"]
    # The last waited until the first two were let go, and says so.
    assert answers[0].queue_ms < answers[4].queue_ms


def test_waiting_request_is_dropped_at_deadline(held: Held) -> None:
    async def scenario() -> None:
        pool = Pool(held, threads=1, capacity=3)
        both = await asyncio.gather(
            pool.predict(b"running", 1, 0.2), pool.predict(b"waiting", 1, 0.2), return_exceptions=True
        )
        assert [type(outcome) for outcome in both] == [DeadlineExceeded, DeadlineExceeded]
        # The thread is still at work on the first, and counts until it ends.
        assert pool.unfinished == 1
        assert pool.longest_s() >= 0.2
        held.go.set()
        assert (await pool.predict(b"next", 1, DEADLINE_S)).predictions[0]["label"] == "next"
        assert pool.longest_s() == 0
        assert pool.unfinished == 0

    asyncio.run(scenario())
    assert held.seen == [b"running", b"next"]


def test_failed_prediction_frees_its_slot(held: Held) -> None:
    async def scenario() -> None:
        pool = Pool(held, threads=1, capacity=1)
        held.go.set()
        with pytest.raises(ValueError, match="bad"):
            await pool.predict(b"bad", 1, DEADLINE_S)
        assert pool.unfinished == 0

    asyncio.run(scenario())
