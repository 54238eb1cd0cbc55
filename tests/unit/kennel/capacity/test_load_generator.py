"""The load is open-loop: nobody's answer delays another request, and a load that comes late is no load."""

import time

import numpy as np
import pytest

from kennel.capacity.load_generator import drive, drive_all
from kennel.errors import KennelError


def test_latency_counts_from_when_a_request_was_due() -> None:
    arrivals = np.array([0.0, 0.01, 0.02])
    answers = drive(arrivals, lambda number: time.sleep(0.1) or 200 + number)
    assert [answer.status for answer in answers] == [200, 201, 202]
    assert [answer.due_s for answer in answers] == arrivals.tolist()
    assert all(0.09 < answer.latency_s < 0.5 for answer in answers)


def test_full_endpoint_does_not_delay_the_other() -> None:
    """Field report: 40 requests/s to an endpoint that never answers made one that answers in 30 ms look like 4.8 s."""
    arrivals = np.arange(0, 2, 1 / 100)

    def hangs(number: int) -> int:
        time.sleep(3)
        return 503

    full, good = drive_all(arrivals, [hangs, lambda number: time.sleep(0.03) or 200])
    assert np.median([answer.latency_s for answer in good]) < 0.2
    assert min(answer.latency_s for answer in full) >= 3
    assert [len(full), len(good)] == [200, 200]


def test_late_arrival_ends_the_load() -> None:
    sent: list[int] = []

    def send(number: int) -> int:
        sent.append(number)
        time.sleep(0.2)
        return 200

    with pytest.raises(KennelError, match=r"sent 0\.[1-9] s too late: this machine does not keep up"):
        drive(np.arange(100) / 1000, send, threads=1, allowed_late_s=0.1)
    assert len(sent) < 10


def test_error_of_a_request_ends_the_load() -> None:
    def send(number: int) -> int:
        raise KennelError("denied")

    begun = time.monotonic()
    with pytest.raises(KennelError, match="denied"):
        drive_all(np.arange(1000) / 100, [lambda number: 200, send])
    assert time.monotonic() - begun < 5
