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
    region: Annotated[str, typer.Option(help="Region (default: that of dev).")] = "",
    most_usd: Annotated[
        float, typer.Option(min=0, help="Maximum cost in USD; the run stops when it is reached.")
    ] = 10.0,
    compare_min: Annotated[float, typer.Option(min=0.1, help="Minutes of load on each endpoint.")] = 5.0,
    keep_bootstrap: Annotated[bool, typer.Option(help="Keep the bootstrap for later deploys.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation prompt.")] = False,
    force: Force = False,
) -> None:
    """Take a stage through its life on a throw-away account: bootstrap, train, deploy, call, update, compare, destroy.

    The stage is named `rehearsal` and does not touch others. The maximum cost is printed first; the run stops when it
    is reached. build/rehearsal/report.md lists every step, denied call and duration, without account ids: attach it to
    an issue.
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
