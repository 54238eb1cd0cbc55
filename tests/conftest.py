"""For all tests: how they are spread over processes, and that no variable of the caller's shell decides anything."""

import fcntl
import os
import random
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from helpers.kept import CACHE
from kennel.local.settings import LOOPBACK_NAMES

# CDK's validation of templates takes longer than the synthesis; tests/infra/test_rules.py runs it, once for each stage.
os.environ["CDK_VALIDATION"] = "false"
# The caller's profiles, regions and endpoints decide nothing, and no proxy is asked for what is on this machine.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {"NO_PROXY": ",".join(LOOPBACK_NAMES), "no_proxy": ",".join(LOOPBACK_NAMES)}
# A thousand Python processes are started: each would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# These use the checkout itself, its cdk.out and its build folder, one after the other.
CHECKOUT = ("test_demo", "test_shown")
# These count what callers get while fleets change: nothing else runs in the meantime.
ALONE = ("test_capacity", "test_rollouts", "test_scaling")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="run the modules in a random order, but those that are alone first"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (seed := config.getoption("--shuffle")) is not None:
        terminalreporter.write_line(f"Modules in the order of seed {seed}: again with make test SEED={seed}")


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are processors, since tests often wait; each has stages of 2 GB and more."""
    return min(4, (os.cpu_count() or 1) + 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def module(item: pytest.Item) -> str:
        return item.nodeid.partition("::")[0]

    if (seed := config.getoption("--shuffle")) is not None:
        # By names below the checkout: the same seed is the same order in every folder.
        places = {name: random.Random(f"{seed} {name}").random() for name in {module(item) for item in items}}
        items.sort(key=lambda item: places[module(item)])
        # What must be alone begins before the others are at a long test.
        items.sort(key=lambda item: item.path.stem not in ALONE)
        return
    # Then what takes longest.
    first = (*ALONE, *CHECKOUT)
    items.sort(key=lambda item: first.index(item.path.stem) if item.path.stem in first else len(first))


class Modules(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A module stays in one process. (`--dist=loadgroup` of xdist 3.8 has no effect with pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "checkout" if PurePosixPath(path).stem in CHECKOUT else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Modules:
    config.option.loadscopereorder = False  # end-to-end modules first: they take longest
    return Modules(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Lets a test of ALONE run when no other test process is at a test."""
    alone = item.path.stem in ALONE
    # Whoever wants to be alone keeps the others from starting, and waits for those that run.
    with _locked("next-test", exclusive=alone) as turn, _locked("running-tests", exclusive=alone):
        if not alone:
            fcntl.flock(turn, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture(scope="module", autouse=True)
def same_environment() -> Generator[None]:
    """A module leaves no endpoint, folder or other variable of ours behind for those after it in its process."""
    before = _variables()
    yield
    assert _variables() == before


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "KENNEL_"))}


@contextmanager
def _locked(name: str, *, exclusive: bool) -> Generator[int]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield file.fileno()
