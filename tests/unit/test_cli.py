"""The command line: an error is one line with its remedy, on standard error, and exit status 1."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def kennel(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    isolated = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull, "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "kennel", *arguments],
        cwd=REPOSITORY,
        env={**kept, **isolated, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "command", [(), ("data",), ("data", "push"), ("train",), ("promote",), ("predict",), ("demo",), ("local",)]
)
def test_given_help_when_asked_for_then_each_command_explains_itself(command: tuple[str, ...]) -> None:
    result = kennel(*command, "--help")
    assert result.returncode == 0
    assert "Usage: kennel" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote", "--stage", "test"), "No stage 'test' in cdk.json (known: dev, prod): choose with --stage."),
        (("train", "x", "--set", "epochs"), "--set takes NAME=VALUE, not epochs."),
        (("promote",), "Configure credentials, or start the embedded AWS"),
        (("promote", "x", "--previous"), "Give a job, --previous or --check: one of them."),
        (("data", "sample", "cdk.json"), "choose a new folder"),
        (("data", "sample", "tests"), "choose a new folder"),
        (("local", "env"), "start it with `kennel local up`"),
    ],
)
def test_given_a_mistake_when_run_then_the_error_is_one_line_with_its_remedy(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = kennel(*arguments, KENNEL_LOCAL_DIR=str(tmp_path))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_given_an_endpoint_that_does_not_answer_when_run_then_it_says_so() -> None:
    environment = {"AWS_ENDPOINT_URL": "http://localhost:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    result = kennel("promote", AWS_MAX_ATTEMPTS="1", **environment)
    assert result.returncode == 1
    assert "AWS cannot be reached" in result.stderr
