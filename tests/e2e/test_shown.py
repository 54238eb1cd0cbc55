"""The commands that the pages show are run as they stand there: those that helpers/shown.py gives to this module."""

import re
import sys
from pathlib import Path

import pytest

from helpers import REPOSITORY
from helpers.images import encode, gradient
from helpers.shown import MEASURED, SHOWN, Here
from helpers.stage import OTHER_VENV, TINY, Environment
from helpers.workday import check_drift, fail_a_job, until_quiet
from kennel.local.ports import free_port

pytestmark = pytest.mark.own_stage


@pytest.fixture(scope="module")
def places(deployed: Environment, dataset: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a reader puts of his own where a page has a word for it."""
    own = tmp_path_factory.mktemp("own")
    for label in "ab":
        (own / "images" / label).mkdir(parents=True)
        for number in range(4):
            image = gradient(100 + 10 * number, 100 if label == "a" else 60)
            (own / "images" / label / f"{number}.jpg").write_bytes(encode(image, "JPEG"))
    (own / "counts.csv").write_text("time,requests\n" + "".join(f"{60 * n},{60 + n}\n" for n in range(30)))
    answer = deployed.url().call(deployed.image(), "image/jpeg")
    # There is something to be seen of everything that has a log, and a model to go back to.
    fail_a_job(deployed)
    deployed.run("kennel", "train", dataset, "--on", "ec2", "--set", "epochs=1", *TINY)
    check_drift(deployed)
    deployed.copy_package("second")
    deployed.run("kennel", "promote", "second")
    # What is promoted is not deployed, and that is no state to start from.
    deployed.deploy("Serving")
    until_quiet(deployed)
    return {
        "FOLDER": str(own / "images"),
        "COPY": str(own / "copy"),
        "IMAGE…": str(next((own / "images" / "a").iterdir())),
        "REQUEST_ID": answer.document["request_id"],
        "counts.csv": str(own / "counts.csv"),
        "old/cdk.out": "cdk.out",
        "--port N": f"--port {free_port()}",
        "owner/name": "acme/kennel",
    }


def filled(text: str, places: dict[str, str]) -> str:
    for place, own in places.items():
        text = text.replace(place, own)
    return text


@pytest.mark.parametrize("command", [command for command, how in SHOWN.items() if isinstance(how, Here)])
def test_documented_command_works_as_written(
    deployed: Environment, places: dict[str, str], tmp_path: Path, command: str
) -> None:
    how = SHOWN[command]
    assert isinstance(how, Here)
    line = filled(f"{how.before} {command} {how.more}", places)
    # Another embedded AWS than the one that everything here runs on; and nobody is there to approve.
    other = {"KENNEL_LOCAL_DIR": str(tmp_path)} if "local up" in command or command == "make down" else {}
    environment = {**OTHER_VENV, "CDK_REQUIRE_APPROVAL": "never", **other}
    settings = [f"{name}={value}" for name, value in environment.items()]
    try:
        result = deployed.run("env", *settings, "MAKEFLAGS=-e", "bash", "-c", line, check=False)
    finally:
        if "local up" in command:
            deployed.run("env", *settings, "kennel", "local", "down")
    assert result.returncode == how.status, result.stdout
    assert filled(how.says, places) in result.stdout
    # A line of a log begins with its time: what a training that was stopped printed is no fault of the command.
    assert not re.search("^Traceback", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", [command for command, how in SHOWN.items() if how == MEASURED])
def test_measurement_program_is_available(deployed: Environment, command: str) -> None:
    venv = [f"{name}={value}" for name, value in OTHER_VENV.items()]
    recipe = deployed.run(*command.split(), "--dry-run", *venv, "DATA=folder").stdout
    programs = re.findall(r"python ((?:bench|tests/fuzz|tests/attack)/\w+\.py)", recipe)
    assert programs
    for program in programs:
        if program == "tests/fuzz/fuzz_images.py":
            assert (REPOSITORY / program).is_file()  # its library is installed by the target alone
        else:
            path = "PYTHONPATH=tests:lambda"
            assert "usage: " in deployed.run("env", path, sys.executable, program, "--help").stdout
