"""The command that rehearses a stage's whole life: rehearse."""

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from kennel.commands import operations
from kennel.commands.options import Force
from kennel.console import console, step
from kennel.errors import KennelError
from kennel.lazy import lazily
from kennel.stage.deployed import DeployedStage

if TYPE_CHECKING:
    from kennel.jobs import training_jobs
    from kennel.operations import preflight, rehearsal
else:
    training_jobs = lazily("kennel.jobs.training_jobs")
    preflight = lazily("kennel.operations.preflight")
    rehearsal = lazily("kennel.operations.rehearsal")


def rehearse(
    region: Annotated[str, typer.Option(help="AWS region (default: the region of dev).")] = "",
    most_usd: Annotated[
        float,
        typer.Option(
            min=0, metavar="USD", help="Do not start if the estimated maximum cost is higher than this amount."
        ),
    ] = 10.0,
    compare_min: Annotated[
        float, typer.Option(min=0.1, metavar="MINUTES", help="Duration of the load test of both endpoints.")
    ] = 5.0,
    keep_bootstrap: Annotated[
        bool, typer.Option(show_default=False, help="Keep the CDK bootstrap at the end (default: delete it).")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation prompt.")] = False,
    force: Force = False,
) -> None:
    """Test a stage's whole life in a throw-away account: bootstrap, train, deploy, predict, update, load test, destroy.

    The stage is named `rehearsal`; other stages are not changed. The command prints the maximum cost, asks for
    confirmation, and stops at a time limit. It always deletes the stage at the end.

    The report, build/rehearsal/report.md, has the duration of each step and the causes of failures. Account ids and
    secrets are redacted, so that you can attach it to an issue.
    """
    region = region or DeployedStage("dev").region
    most, local = rehearsal.most_usd(region), bool(os.environ.get("AWS_ENDPOINT_URL"))
    where = "on the embedded AWS, free of charge" if local else f"in {region}, for at most {most:.2f} USD"
    console.print(f"A stage from nothing to nothing {where}, within {rehearsal.HOURS:g} hours.")
    if not local and most > most_usd:
        raise KennelError(f"That is over {most_usd:.2f} USD: allow it with --most-usd {most:.0f}.")
    if not yes:
        if not sys.stdin.isatty():
            raise KennelError("Not a terminal: pass --yes to start.")
        if not typer.confirm("Is this a throw-away account?"):
            raise KennelError("Nothing was started.")
    project = rehearsal.prepare(region)
    deployment = rehearsal.rehearsed()
    rehearsal.require_empty(deployment)
    checks = preflight.Preflight(deployment)
    found = [*checks.bootstrap(), *checks.quotas(preflight.Job(training_jobs.Request.instance_type))]
    operations.require(found, force=force)
    there = checks.has_bootstrap()
    deadline = time.monotonic() + 3600 * rehearsal.HOURS
    outcomes: list[rehearsal.Outcome] = []
    try:
        with step("Rehearsed") as progress:
            for outcome in rehearsal.run(project, rehearsal.steps(compare_min), deadline, progress):
                outcomes.append(outcome)
                _show(outcome)
    finally:
        with step("Removed") as progress:
            outcomes.append(rehearsal.remove(project, progress))
            _show(outcomes[-1])
            if not keep_bootstrap and not there and outcomes[-1].state == "done":
                outcomes.append(rehearsal.remove_bootstrap(deployment))
                _show(outcomes[-1])
        file = rehearsal.save(outcomes, region, local=local)
        console.print(
            f"Report: {os.path.relpath(file)}; all that was printed: {os.path.relpath(file.parent)}/rehearsal.log"
        )
    if failed := [item.name for item in outcomes if item.state != "done"]:
        raise KennelError(f"Not done: {', '.join(failed)}.")


def _show(outcome: "rehearsal.Outcome") -> None:
    style = "green" if outcome.state == "done" else "yellow" if outcome.state.startswith("left") else "red"
    console.print(f"  [{style}]{outcome.state:<12}[/{style}] {outcome.seconds:5.0f} s  {outcome.name}")
    for cause in outcome.causes:
        console.print(cause, soft_wrap=True, markup=False)
