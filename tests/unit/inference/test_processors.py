"""The processors that may be used, on Linux and where no process is bound to some."""

import os

import pytest

from inference.processors import usable


def test_bound_processors_are_counted() -> None:
    assert usable() == len(os.sched_getaffinity(0))


def test_all_processors_count_where_none_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable() == 7
