"""Options that several commands share."""

from typing import Annotated

import typer

from kennel.errors import KennelError

Stage = Annotated[str, typer.Option("--stage", "-s", envvar="STAGE", help="Name of the stage in cdk.json.")]
Force = Annotated[bool, typer.Option("--force", help="Continue even if the preflight checks find obstacles.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Training setting; can be given several times. training/settings.py lists all settings.",
    ),
]


def pairs(settings: list[str] | None) -> dict[str, str]:
    """The --set options by name; raises KennelError unless each is NAME=VALUE."""
    wrong = [setting for setting in settings or [] if "=" not in setting]
    if wrong:
        raise KennelError(f"--set takes NAME=VALUE, not {', '.join(wrong)}.")
    return {name: value for name, _, value in (setting.partition("=") for setting in settings or [])}
