"""What is installed is pinned: by version where people choose it, by hash with all that it needs in the locks."""

import re

import pytest

from helpers import REPOSITORY

LOCKS = {
    "requirements.lock": ("requirements.txt",),
    "requirements-ml.lock": ("requirements.txt", "requirements-ml.txt"),
    "requirements-dev.lock": ("requirements.txt", "requirements-ml.txt", "requirements-dev.txt"),
    "requirements-audit.lock": ("requirements-audit.txt",),
    "requirements-fuzz.lock": ("requirements-fuzz.txt",),
    "requirements-setup.lock": ("requirements-setup.txt",),
}


def pins(name: str) -> dict[str, set[str]]:
    """The versions of each package in a file of requirements; a lock may have more than one, by Python's version."""
    found: dict[str, set[str]] = {}
    for line in (REPOSITORY / name).read_text().splitlines():
        if line and not line.startswith(("#", " ")):
            match = re.match(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==([^ ;]+)", line)
            assert match, f"{name}: {line} is not pinned"
            found.setdefault(re.sub(r"[-_.]+", "-", match[1]).lower(), set()).add(match[2])
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_required_versions(lock: str) -> None:
    locked = pins(lock)
    for name in LOCKS[lock]:
        for package, versions in pins(name).items():
            assert versions <= locked.get(package, set()), f"{package} of {name} is not in {lock}: run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_hashes_and_no_urls(lock: str) -> None:
    text = (REPOSITORY / lock).read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text


def test_locks_agree_on_versions() -> None:
    small, middle, large = (pins(f"requirements{name}.lock") for name in ("", "-ml", "-dev"))
    assert {name: middle[name] for name in small} == small
    assert {name: large[name] for name in middle} == middle


def test_setup_marks_a_step_only_after_success() -> None:
    """A `;` before `touch` would mark a step that failed: GNU make 3.81 of macOS knows no .SHELLFLAGS."""
    lines = (REPOSITORY / "Makefile").read_text().splitlines()
    touched = [line for line in lines if "touch $@" in line]
    assert len(touched) == 8
    assert [line for line in touched if not line.endswith("&& touch $@")] == []
