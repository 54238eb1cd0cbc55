"""The containers, their Python and what is installed beside it fit each other."""

import re
import subprocess
import sys

from helpers import REPOSITORY
from training.containers import PYTHON, TRAINING_IMAGE, python_version


def test_tag_has_the_torch_and_python_that_are_pinned() -> None:
    _, tag = TRAINING_IMAGE
    for file in ("requirements-ml.txt", "training/requirements.txt"):
        torch = re.search(r"^torch==(\S+)", (REPOSITORY / file).read_text(), re.MULTILINE)
        assert torch
        assert tag == f"{torch[1]}-cpu-py{PYTHON[0]}{PYTHON[1]}"


def test_module_prints_python_for_the_makefile() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "training.containers"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.stdout == f"{python_version()}\n"


def test_wheels_are_those_of_the_containers() -> None:
    wheels = [wheel.name for wheel in (REPOSITORY / "build" / "wheels").glob("*.whl")]
    assert wheels
    assert all(f"cp{PYTHON[0]}{PYTHON[1]}-" in name or "-abi3-" in name or "py3-none" in name for name in wheels)
