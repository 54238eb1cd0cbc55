"""Instances of an endpoint: what they use is measured against an instance, not against this machine."""

import os
from pathlib import Path

import psutil
import pytest

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


def test_full_host_disk_is_not_the_instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = psutil.disk_usage(str(tmp_path))._replace(percent=99.0)
    monkeypatch.setattr(psutil, "disk_usage", lambda path: full)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(bytes(3_000_000))
    used = fleets._uses(os.getpid(), 8 * 2**30, tmp_path)
    assert used["DiskUtilization"] == pytest.approx(0.01)
    assert 0 < used["MemoryUtilization"] < 100
