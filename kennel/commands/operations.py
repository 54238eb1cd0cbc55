"""The commands of every day: status, logs, smoke, destroy."""

import re
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from kennel.commands.options import Stage
from kennel.console import console, printable, step
from kennel.errors import KennelError
from kennel.lazy import lazily
from kennel.stage import logs as log
from kennel.stage.deployed import DeployedStage

if TYPE_CHECKING:
    from kennel.client import function_url, smoke_test
    from kennel.jobs import training_jobs
    from kennel.operations import failures, health, preflight, teardown
else:
    function_url = lazily("kennel.client.function_url")
    teardown = lazily("kennel.operations.teardown")
    failures = lazily("kennel.operations.failures")
    training_jobs = lazily("kennel.jobs.training_jobs")
    preflight = lazily("kennel.operations.preflight")
    smoke_test = lazily("kennel.client.smoke_test")
    health = lazily("kennel.operations.health")

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def status(stage: Stage = "dev") -> None:
    """Show the state of a stage: endpoints, model, function, container versions, alarms and cost.

    Exits with 1 if an endpoint or the function does not run as deployed, if the deployed model is not the promoted one,
    or if an alarm fires or is missing. Firing alarms of training jobs and drift do not change the exit status.
    """
    found = health.check(DeployedStage(stage))
    table = Table(Column("part", no_wrap=True), Column("state", overflow="fold"), box=None)
    for finding in found:
        style = "bold red" if finding.fails else "yellow" if finding.remedy else ""
        table.add_row(escape(finding.part), escape(finding.state), style=style)
        if finding.remedy:
            table.add_row("", escape(f"→ {finding.remedy}"))
    console.print(table)
    if any(finding.fails for finding in found):
        raise typer.Exit(1)


def logs(
    part: Annotated[
        str,
        typer.Argument(
            metavar="PART",
            help=f"Part of the stage: {', '.join(log.PARTS)}. job is SageMaker training; ec2 is training on EC2; "
            "drift is the drift check.",
        ),
    ] = "function",
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Name of a job or EC2 run (default: all), or of an endpoint (default: the one behind the URL); not "
            "valid for other parts.",
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="DURATION", help="Start this long ago: 90s, 15m, 6h or 2d, for example.")
    ] = "1h",
    containing: Annotated[
        str, typer.Option("--grep", metavar="TEXT", help="Print only lines that contain this text; case is ignored.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines until Ctrl-C.")] = False,
    stage: Stage = "dev",
) -> None:
    """Print the CloudWatch logs of one part of a stage, oldest line first."""
    begin = _ago(since)
    deployment = DeployedStage(stage)
    source, client = log.source(deployment, part, name), deployment.client("logs")
    if not follow:
        log.require(client, source)
    lines = 0
    for line in log.read(client, source, begin, containing, follow=follow):
        lines += 1
        console.print(f"{line.time:%H:%M:%S}  {printable(line.message)}", soft_wrap=True, markup=False)
    if not lines:
        console.print(f"{source.group} has no such lines in the last {since}.", soft_wrap=True)


def _ago(since: str) -> datetime:
    match = re.fullmatch(r"0*([1-9]\d*)([smhd])", since)
    # A number that is too large for the calendar is none, either.
    with suppress(OverflowError):
        if match:
            return datetime.now(UTC) - timedelta(**{UNITS[match[2]]: int(match[1])})
    raise KennelError(f"--since {since}: give a number and s, m, h or d, as 15m.")


def smoke(
    outputs: Annotated[
        Path | None, typer.Option(help="File of stack outputs that `make release` writes (default: read them on AWS).")
    ] = None,
    stage: Stage = "dev",
) -> None:
    """Test a deploy: send one generated image to the function URL; exit with 1 unless it returns labels."""
    url = function_url.Url(DeployedStage(stage), url=smoke_test.url_of(outputs, stage) if outputs else None)
    answer = smoke_test.smoke(url)
    console.print(f"{url.url} answers: {answer.label}, by {answer.document['model']}", soft_wrap=True, markup=False)


def destroy(
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation prompt.")] = False,
    stage: Stage = "dev",
) -> None:
    """Delete a stage: its running jobs, stacks, parameters and log groups.

    Lists what will be deleted and what will be kept, then asks for confirmation. If `retain_data` is set for the stage,
    the KMS key, the buckets, parameters and log groups are kept. The CDK bootstrap, and records and logs of past jobs,
    are always kept.
    """
    deployment = DeployedStage(stage)
    found = teardown.inventory(deployment)
    if not found:
        console.print(f"Stage {stage} has no resources in {deployment.region}.")
        return
    _show(found)
    if not yes:
        if not sys.stdin.isatty():
            raise KennelError("Not a terminal: pass --yes to delete it.")
        if typer.prompt(f"Type {stage} to confirm") != stage:
            raise KennelError("Nothing was deleted.")
    with step(f"Stage {stage} deleted") as progress:
        try:
            teardown.destroy(deployment, found, progress)
        except KeyboardInterrupt:
            again = f"kennel destroy --stage {stage}"
            console.print(
                f"CloudFormation completes what it has started; run `{again}` again to delete the rest.", soft_wrap=True
            )
            raise
    left = teardown.inventory(deployment)
    if left.stacks or (not left.retains and left):
        raise KennelError(f"Not deleted: {', '.join([*left.stacks, *left.parameters, *left.log_groups])}. Try again.")
    for name in found.kept:
        console.print(f"Kept: {name}", soft_wrap=True, markup=False)


def explain(stage: Stage = "dev") -> None:
    """Show why the last deploys of a stage failed: the root cause for each failed stack, and how to fix it.

    Resources that CloudFormation cancelled because of another failure are omitted. For a denied API call, the output
    has the role and the IAM statement that would allow the call. Resources that the deploys left behind are listed at
    the end.
    """
    found = failures.explain(DeployedStage(stage))
    if not found.failures:
        console.print(f"No stack of {stage} has failed.")
        return
    for failure in found.failures:
        console.print(failures.text(failure), soft_wrap=True, markup=False)
    for left in found.left:
        console.print(f"Left behind: {left}", soft_wrap=True, markup=False)


def check_first(
    action: Annotated[
        str,
        typer.Argument(
            metavar="ACTION",
            help="bootstrap, training (deploy Data and Training), deploy (deploy all stacks), train (run a SageMaker "
            "training job) or ec2 (train on EC2).",
        ),
    ] = "deploy",
    assembly: Annotated[
        Path, typer.Option(help="Folder of synthesized templates, for the check of names that are in use.")
    ] = Path("cdk.out"),
    force: Annotated[bool, typer.Option("--force", help="Exit with 0 even if obstacles are found.")] = False,
    stage: Stage = "dev",
) -> None:
    """Check in advance whether AWS would accept an action: account, bootstrap, quotas, names, promoted model.

    Makes read-only calls, and lists all obstacles at once, each with its remedy. Exits with 1 if one blocks the action.
    """
    checks = preflight.Preflight(DeployedStage(stage), assembly)
    actions = {
        "bootstrap": checks.bootstrap,
        "training": checks.training,
        "deploy": checks.deploy,
        "train": lambda: checks.job(preflight.Job(training_jobs.Request.instance_type)),
        "ec2": checks.ec2,
    }
    if action not in actions:
        raise KennelError(f"No preflight for {action!r}: choose {', '.join(actions)}.")
    found = actions[action]()
    require(found, force=force)
    if not found:
        console.print(f"No obstacles to {action}.")


def require(found: "list[preflight.Finding]", *, force: bool) -> None:
    """Shows the findings; raises KennelError if one blocks, unless `force`."""

    def progress(finding: "preflight.Finding") -> None:
        style = "red" if finding.blocks else "yellow"
        console.print(f"[{style}]{'✗' if finding.blocks else '!'}[/{style}] {escape(finding.what)}.", soft_wrap=True)
        console.print(f"  → {escape(finding.remedy)}", soft_wrap=True)

    preflight.require(found, progress, force=force)


def _show(found: teardown.Inventory) -> None:
    for name, resources in found.stacks.items():
        console.print(f"Deletes: {name}, {sum(not item.kept for item in resources)} resources")
    if not found.retains:
        for name in (*found.parameters, *found.log_groups):
            console.print(f"Deletes: {name}", soft_wrap=True, markup=False)
    for name in found.kept:
        console.print(f"Keeps: {name}", soft_wrap=True, markup=False)
    for name in found.scheduled:
        console.print(f"Key {name}: AWS deletes it after 30 days; data encrypted with it is lost then.", soft_wrap=True)
    console.print("Keeps: the stage's CDK bootstrap with its assets, and records and logs of past jobs.")
