"""Target tracking: when it acts, by how much, and when it waits."""

import pytest

from kennel.local.sagemaker.target_tracking import Policy, Tracker

POLICY = Policy(target=100, minimum=1, maximum=10)


def follow(policy: Policy, values: list[float | None], instances: int = 1) -> list[int]:
    """The wanted counts after each minute's datapoint; what is wanted is there at once."""
    tracker = Tracker(policy)
    wanted = []
    for minute, value in enumerate(values, 1):
        instances = tracker.observe(60 * minute, value, instances)
        wanted.append(instances)
    return wanted


def test_scale_out_is_proportional_after_three() -> None:
    assert follow(POLICY, [350, 350, 350]) == [1, 1, 4]


@pytest.mark.parametrize("values", [[350, 350, 90], [350, None, 350], [100, 100, 100]])
def test_too_few_breaches_do_not_scale(
    values: list[float | None],
) -> None:
    assert follow(POLICY, values) == [1, 1, 1]


def test_scale_in_is_proportional_after_fifteen() -> None:
    assert follow(POLICY, [30] * 15, instances=8) == [8] * 14 + [3]


def test_slightly_under_target_does_not_scale() -> None:
    assert follow(POLICY, [91] * 30, instances=4) == [4] * 30


def test_missing_datapoint_is_looked_past() -> None:
    # A lone minute without a request: the alarm decides on the fifteen datapoints that there are.
    assert follow(POLICY, [30.0] * 7 + [None] + [30.0] * 8, instances=8) == [8] * 15 + [3]
    assert follow(POLICY, [350, None, 350, 350]) == [1, 1, 1, 4]


def test_too_many_missing_datapoints_do_not_scale() -> None:
    assert follow(POLICY, [30.0, None] * 20, instances=8) == [8] * 40
    assert follow(POLICY, [350, None, 350, None, None, 350]) == [1] * 6


def test_no_traffic_does_not_scale_in() -> None:
    assert follow(POLICY, [None] * 60, instances=4) == [4] * 60


def test_scale_out_waits_for_cooldown() -> None:
    # Two instances from minute 3; the metric stays over the target by as much: again only after 300 s.
    assert follow(POLICY, [150] * 9) == [1, 1, 2, 2, 2, 2, 2, 3, 3]


def test_larger_step_skips_cooldown() -> None:
    assert follow(POLICY, [150, 150, 150, 400]) == [1, 1, 2, 4]


def test_scale_out_after_scale_in_is_immediate() -> None:
    assert follow(POLICY, [30.0] * 15 + [400.0] * 3, instances=4)[-4:] == [2, 2, 2, 8]


def test_bounds_are_respected() -> None:
    assert follow(POLICY, [9000] * 3)[-1] == 10
    assert follow(Policy(100, 3, 10), [1.0] * 15, instances=5)[-1] == 3


def test_ongoing_update_delays_scaling() -> None:
    tracker = Tracker(POLICY)
    assert [tracker.observe(60 * minute, 350, 1, busy=True) for minute in range(1, 6)] == [1] * 5
    assert tracker.observe(360, 350, 1) == 4


def test_changed_bounds_adjust_count() -> None:
    tracker = Tracker(POLICY)
    tracker.bound(4, 8)
    assert tracker.observe(60, None, 1) == 4
    assert tracker.observe(120, 100, 9) == 8
