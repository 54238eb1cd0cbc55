"""Instances of an endpoint: what they use is measured against an instance, not against this machine."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra import instance_types
from kennel.local.sagemaker import fleets


@pytest.mark.parametrize(
    ("instance_type", "gib"),
    [
        ("ml.m5.large", 8),
        ("ml.m5.2xlarge", 32),
        ("ml.c5.xlarge", 8),
        ("ml.r5.large", 16),
        ("ml.g5.xlarge", 16),
        (None, 8),
    ],
)
def test_memory_follows_instance_type(instance_type: str | None, gib: int) -> None:
    assert fleets.memory_bytes(instance_type) == gib * 2**30


@pytest.mark.parametrize("name", ["ml.m5.large", "ml.c5.xlarge", "ml.m5.12xlarge", "ml.t3.medium"])
def test_processors_are_those_that_the_scaling_target_counts(name: str) -> None:
    """kennel.local imports nothing else of Kennel, so that the rule stands in two places."""
    assert fleets.processors(name) == instance_types.vcpus(name)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[fleets.Fleet]:
    """One ready instance, a process that sleeps, of a package of 3 MB; its instance has as many cores as are given."""
    settings = fleets.FleetSettings("config", "primary", "ml.m5.large", 1, None, "s3://b/p/", "role", {})
    made = fleets.Fleet("endpoint", settings, processes=None, folder=tmp_path, service_endpoint="")  # type: ignore[arg-type]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(bytes(3_000_000))
    with subprocess.Popen(["sleep", "60"]) as process:
        made._instances = [fleets._Instance(0, process, 0.5, None, ready=True)]
        yield made
        process.kill()


def test_full_host_disk_is_not_the_instances(fleet: fleets.Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    full = psutil.disk_usage("/")._replace(percent=99.0)
    monkeypatch.setattr(psutil, "disk_usage", lambda path: full)
    (used,) = fleet.uses()
    assert used["DiskUtilization"] == pytest.approx(0.01)
    assert 0 < used["MemoryUtilization"] < 100


@pytest.mark.parametrize(("used_s", "percent"), [(0.0, 0), (0.25, 100), (2.0, 200)])
def test_cpu_utilization_has_100_for_each_processor(
    fleet: fleets.Fleet, monkeypatch: pytest.MonkeyPatch, used_s: float, percent: float
) -> None:
    """An ml.m5.large has two, whatever half a core of this machine is; in one second it can use 0.5 s of it."""
    clock, cpu = iter((10.0, 11.0)), iter((3.0, 3.0 + used_s))
    monkeypatch.setattr(fleets.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(fleets, "_cpu_s", lambda pid: next(cpu))
    fleet.uses()
    (used,) = fleet.uses()
    assert used["CPUUtilization"] == pytest.approx(percent)
