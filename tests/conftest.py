"""For all tests: how they are spread over processes, and that no variable of the caller's shell decides anything."""

import os
import random
import sys
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

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
# These count what callers get while fleets change: whatever runs beside them takes what they leave of the processors.
URGENT = ("test_rollouts", "test_scaling")
# What takes longest begins first.
FIRST = (*URGENT, *CHECKOUT, "test_rehearsal")
NICE = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the modules in a random order")


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are processors, since tests often wait; each has stages of 2 GB and more."""
    return min(4, (os.cpu_count() or 1) + 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    places: dict[str, float] = {stem: place for place, stem in enumerate(FIRST)}
    if (seed := config.getoption("--shuffle")) is not None:
        places = {stem: random.Random(f"{seed} {stem}").random() for stem in {item.path.stem for item in items}}
    # A process that has been made nice stays so.
    items.sort(key=lambda item: (item.path.stem not in URGENT, places.get(item.path.stem, len(FIRST))))


class Modules(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A module stays in one process. (`--dist=loadgroup` of xdist 3.8 has no effect with pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        together = (group for group in (URGENT, CHECKOUT) if PurePosixPath(path).stem in group)
        return " ".join(next(together, (path,)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Modules:
    config.option.loadscopereorder = False  # end-to-end modules first: they take longest
    return Modules(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.path.stem not in URGENT:
        os.nice(max(0, NICE - os.nice(0)))  # what a test starts inherits it
