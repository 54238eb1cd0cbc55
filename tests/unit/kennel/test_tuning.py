"""Names of tuners."""

from kennel.deployment import Deployment
from kennel.tuning import new_name


def test_name_of_longest_stage_keeps_prefix_within_limit() -> None:
    name = new_name(Deployment("abcdefghijkl"))
    assert name.startswith("kennel-abcdefghijkl-")
    assert len(name) <= 32
