"""Target tracking: when it acts, by how much, and when it waits."""

import pytest

from kennel.capacity.tracking import Policy, Tracker

POLICY = Policy(target=100, minimum=1, maximum=10)


def follow(policy: Policy, values: list[float | None], instances: int = 1) -> list[int]:
    """The wanted counts after each minute's datapoint; what is wanted is there at once."""
    tracker = Tracker(policy)
    wanted = []
    for minute, value in enumerate(values, 1):
        instances = tracker.observe(60 * minute, value, instances)
        wanted.append(instances)
    return wanted


def test_given_too_much_when_three_datapoints_say_so_then_it_scales_out_in_proportion() -> None:
    assert follow(POLICY, [350, 350, 350]) == [1, 1, 4]


@pytest.mark.parametrize("values", [[350, 350, 90], [350, None, 350], [100, 100, 100]])
def test_given_fewer_datapoints_or_the_target_itself_when_observed_then_nothing_happens(
    values: list[float | None],
) -> None:
    assert follow(POLICY, values) == [1, 1, 1]


def test_given_too_little_when_fifteen_datapoints_say_so_then_it_scales_in_in_proportion() -> None:
    assert follow(POLICY, [30] * 15, instances=8) == [8] * 14 + [3]


def test_given_a_little_under_the_target_when_observed_then_it_stays() -> None:
    assert follow(POLICY, [91] * 30, instances=4) == [4] * 30


def test_given_no_traffic_when_observed_then_nothing_is_scaled_in() -> None:
    assert follow(POLICY, [None] * 60, instances=4) == [4] * 60


def test_given_a_step_out_when_it_was_enough_then_the_next_waits_for_the_cooldown() -> None:
    # Two instances from minute 3; the metric stays over the target by as much: again only after 300 s.
    assert follow(POLICY, [150] * 9) == [1, 1, 2, 2, 2, 2, 2, 3, 3]


def test_given_a_cooldown_when_a_larger_step_is_needed_then_it_is_taken_at_once() -> None:
    assert follow(POLICY, [150, 150, 150, 400]) == [1, 1, 2, 4]


def test_given_a_step_in_when_more_comes_then_it_scales_out_without_waiting() -> None:
    assert follow(POLICY, [30.0] * 15 + [400.0] * 3, instances=4)[-4:] == [2, 2, 2, 8]


def test_given_bounds_when_exceeded_then_they_hold() -> None:
    assert follow(POLICY, [9000] * 3)[-1] == 10
    assert follow(Policy(100, 3, 10), [1.0] * 15, instances=5)[-1] == 3


def test_given_an_update_that_goes_on_when_observed_then_it_waits_for_its_end() -> None:
    tracker = Tracker(POLICY)
    assert [tracker.observe(60 * minute, 350, 1, busy=True) for minute in range(1, 6)] == [1] * 5
    assert tracker.observe(360, 350, 1) == 4


def test_given_other_bounds_when_an_hour_begins_then_the_count_follows_them() -> None:
    tracker = Tracker(POLICY)
    tracker.bound(4, 8)
    assert tracker.observe(60, None, 1) == 4
    assert tracker.observe(120, 100, 9) == 8
