"""Names of tuners."""

from kennel.jobs.tuning_jobs import new_name
from kennel.stage.deployed import DeployedStage


def test_name_of_longest_stage_keeps_prefix_within_limit() -> None:
    name = new_name(DeployedStage("abcdefghijkl"))
    assert name.startswith("kennel-abcdefghijkl-")
    assert len(name) <= 32
