"""A command that a page shows is run by a test, and a test's command is on a page."""

import pytest

from helpers import REPOSITORY
from helpers.shown import SHOWN, As, Here, There, is_known, shown


def test_every_documented_command_is_covered() -> None:
    assert {command for command in shown() if not is_known(command)} == set()
    assert {known for known in SHOWN if known not in shown()} == set(), "no page shows it any more"
    assert not is_known("kennel nothing")


@pytest.mark.parametrize("command", [how.command for how in SHOWN.values() if isinstance(how, As)])
def test_command_that_stands_for_another_is_run(command: str) -> None:
    assert isinstance(SHOWN[command], Here)


@pytest.mark.parametrize("command", [command for command, how in SHOWN.items() if isinstance(how, There)])
def test_command_tested_elsewhere_is_found(command: str) -> None:
    how = SHOWN[command]
    assert isinstance(how, There)
    assert how.words in (REPOSITORY / how.file).read_text()
