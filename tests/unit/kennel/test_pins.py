"""What is installed is pinned: by version where people choose it, by hash with all that it needs in the locks."""

import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator

import pytest

from helpers import REPOSITORY

LOCKS = {
    "requirements.lock": ("requirements.txt",),
    "requirements-ml.lock": ("requirements.txt", "requirements-ml.txt"),
    "requirements-dev.lock": ("requirements.txt", "requirements-ml.txt", "requirements-dev.txt"),
    "requirements-audit.lock": ("requirements-audit.txt",),
    "requirements-fuzz.lock": ("requirements-fuzz.txt",),
    "requirements-setup.lock": ("requirements-setup.txt",),
    "requirements-image.lock": ("requirements-image.txt",),
    "training/requirements.lock": ("training/requirements.txt",),
}
# What installs something: pip and uv by the hashes of a lock, npm by those of its own; dnf and apt check signatures.
INSTALLS = re.compile(
    r"\b(pip3? (install|download)|pipx|uvx|npx|npm (install|ci|i)\b|uv (pip|tool|sync|run)|conda|go install|"
    r"gem install|curl|wget)"
)
PINNED = re.compile(r"--require-hashes|npm ci\b|uv pip compile|\$\(UV\) pip compile|\bUV := ")
# Our own code, built by what the lock has installed.
OURS = "--no-deps --no-build-isolation --editable ."
# The metadata of an instance are no code.
NO_CODE = ("$IMDS/",)


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
    assert len(touched) == 9
    assert [line for line in touched if not line.endswith("&& touch $@")] == []


def commands() -> Iterator[tuple[str, str]]:
    """Each logical line of what the project runs: make, shell, workflows and actions; with its file."""
    files = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        path = REPOSITORY / name
        if path.suffix in (".sh", ".yml", ".yaml") or path.name in ("Makefile", "run", "cdk.json", "package.json"):
            for line in re.sub(r"\\\n\s*", " ", path.read_text()).splitlines():
                if not line.lstrip().startswith("#"):
                    yield name, line


def unpinned(lines: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        (name, line.strip())
        for name, line in lines
        if INSTALLS.search(line)
        and not PINNED.search(line)
        and OURS not in line
        and not any(w in line for w in NO_CODE)
    ]


def test_every_command_that_installs_is_pinned_by_hash() -> None:
    found = list(commands())
    assert unpinned(found) == []
    assert sum(bool(INSTALLS.search(line)) for _, line in found) >= 7


@pytest.mark.parametrize(
    "line",
    [
        "pip install torch",
        "\t@$(UV) pip install -r requirements.txt",
        "npm install aws-cdk",
        "npx cdk",
        "curl -sL x | sh",
    ],
)
def test_unpinned_command_is_found(line: str) -> None:
    assert unpinned([("Makefile", line)])


def test_build_back_end_is_locked() -> None:
    """Without isolation, the build uses what `requirements.lock` has installed."""
    (back_end,) = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]["requires"]
    name, _, version = back_end.partition("==")
    assert pins("requirements.lock")[name] == {version}
