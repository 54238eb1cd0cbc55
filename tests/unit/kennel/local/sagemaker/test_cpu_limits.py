"""Instances that have a part of a core only."""

import subprocess
import time
from pathlib import Path

import psutil
import pytest

from kennel.local import settings
from kennel.local.errors import LocalError
from kennel.local.sagemaker import cpu_limits


@pytest.mark.parametrize(
    ("given", "index", "cores"), [("", 3, None), ("0.5", 3, 0.5), ("0.25,1", 0, 0.25), ("0.25,1", 3, 1)]
)
def test_cores_go_by_place(monkeypatch: pytest.MonkeyPatch, given: str, index: int, cores: float | None) -> None:
    monkeypatch.setenv(settings.CORES_VARIABLE, given)
    assert settings.cores(index) == cores


@pytest.mark.parametrize("given", ["x", "0", "0.5,", "1000"])
def test_odd_cores_are_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(settings.CORES_VARIABLE, given)
    with pytest.raises(LocalError, match=f"{settings.CORES_VARIABLE} is .*give cores"):
        settings.cores(0)


def test_limited_process_gets_no_more_than_its_share() -> None:
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as process:
        group = cpu_limits.limit(process.pid, 0.25)
        try:
            begun, used = time.monotonic(), psutil.Process(process.pid).cpu_times().user
            time.sleep(1)
            share = (psutil.Process(process.pid).cpu_times().user - used) / (time.monotonic() - begun)
        finally:
            process.kill()
    cpu_limits.remove(group)
    assert share < 0.4
    assert not group.exists()


def test_user_without_cgroups_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cpu_limits, "ROOT", tmp_path / "none")
    with pytest.raises(LocalError, match="needs cgroups that you may write to"):
        cpu_limits.limit(1, 0.25)
