"""The command line: an error is one line with its remedy, on standard error, and exit status 1."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from helpers import REPOSITORY
from kennel.commands import data, local, rehearsal, review, training


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
    "command",
    [
        (),
        ("data",),
        ("data", "push"),
        ("data", "check"),
        ("data", "fetch"),
        ("train",),
        ("tune",),
        ("report",),
        ("promote",),
        ("predict",),
        ("demo",),
        ("local",),
    ],
)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    result = kennel(*command, "--help")
    assert result.returncode == 0
    assert "Usage: kennel" in result.stdout


@pytest.mark.parametrize(
    ("command", "function"),
    [
        (("review",), review.review),
        (("tune",), training.tune),
        (("data", "forget"), data.forget),
        (("rehearse",), rehearsal.rehearse),
        (("local", "env"), local.env),
    ],
)
def test_help_wraps_at_terminal_width(command: tuple[str, ...], function: Callable[..., None]) -> None:
    lines = [line.strip() for line in kennel(*command, "--help", COLUMNS="80").stdout.splitlines()]
    for paragraph in textwrap.dedent(f"    {function.__doc__}").strip().split("\n\n"):
        # typer leaves a blank on both sides.
        wrapped = textwrap.wrap(" ".join(paragraph.split()), 78, break_on_hyphens=False)
        assert "\n".join(wrapped) in "\n".join(lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote", "--stage", "test"), "No stage 'test' in cdk.json (known: dev, prod): choose with --stage."),
        (("train", "x", "--set", "epochs"), "--set takes NAME=VALUE, not epochs."),
        (("train", "x", "--set", "lr=1"), "unknown setting lr; known: backbone, batch_size"),
        (("train", "x", "--set", "hidden=-1"), "hidden must be from 0 to 65536, not -1"),
        (("train", "x", "--on", "moon"), "--on takes sagemaker or ec2, not moon."),
        (("train", "x", "--on", "ec2", "--spot"), "change instance_type, spot or max_run_h of ec2 there"),
        (("train", "x", "--on", "ec2", "--max-hours", "2"), "change instance_type, spot or max_run_h of ec2 there"),
        (("train", "x", "--instances", "2"), "Multiple instances are only supported with --mode finetune"),
        (("tune", "x", "--engine", "magic"), "--engine takes job or sagemaker, not magic."),
        (("tune", "x", "--set", "mode=finetune"), "omit mode, then run kennel train --mode finetune"),
        (("data", "fetch", "cats"), "'cats' is not known; known: dogs."),
        (("promote",), "configure credentials as for the AWS CLI, or start the embedded AWS"),
        (("promote", "x", "--previous"), "Pass only one of: a run, --previous, --check."),
        (("data", "sample", "cdk.json"), "choose a new folder"),
        (("data", "sample", "tests"), "choose a new folder"),
        (("local", "status"), "start it with `kennel local up`"),
    ],
)
def test_error_is_one_line_with_remedy(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = kennel(*arguments, KENNEL_LOCAL_DIR=str(tmp_path))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_unreachable_endpoint_is_reported() -> None:
    environment = {"AWS_ENDPOINT_URL": "http://localhost:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    result = kennel("promote", AWS_MAX_ATTEMPTS="1", **environment)
    assert result.returncode == 1
    assert "AWS cannot be reached" in result.stderr


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        (
            "[profile work]\nsso_session = us\nsso_account_id = 1\nsso_role_name = x\n[sso-session us]\n",
            "run `aws sso login`",
        ),
        ("[profile other]\n", "set AWS_PROFILE to one of ~/.aws/config, or unset it"),
    ],
)
def test_profile_error_names_remedy(tmp_path: Path, config: str, remedy: str) -> None:
    file = tmp_path / "config"
    file.write_text(
        config.replace("[sso-session us]\n", "[sso-session us]\nsso_region = us-east-1\nsso_start_url = https://x\n")
    )
    result = kennel("promote", AWS_PROFILE="work", AWS_CONFIG_FILE=str(file), HOME=str(tmp_path))
    assert result.returncode == 1
    assert remedy in result.stderr
    assert result.stderr.count("\n") == 1


def test_data_check_lists_faults_and_fixes_copy(tmp_path: Path) -> None:
    folder, copy = tmp_path / "data", tmp_path / "copy"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            Image.effect_noise((90 + number, 80), 90).save(folder / label / f"{number}.png")
    (folder / "a" / "text.jpg").write_text("text")
    (folder / "empty").mkdir()
    result = kennel("data", "check", str(folder))
    assert result.returncode == 1
    assert "a/text.jpg" in result.stdout
    assert "class 'empty'" in result.stdout
    assert "cannot be trained on: 1 error(s)" in result.stderr
    assert kennel("data", "check", str(folder), "--fix", str(copy)).returncode == 0
    result = kennel("data", "check", str(copy))
    assert result.returncode == 0, result.stdout
    assert "Nothing found" in result.stdout
