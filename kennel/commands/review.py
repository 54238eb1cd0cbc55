"""The command about a change: review."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kennel.commands.options import Stage
from kennel.console import console, errors, step
from kennel.errors import KennelError
from kennel.lazy import lazily
from kennel.stage.deployed import DeployedStage

if TYPE_CHECKING:
    from kennel.pricing import prices
else:
    prices = lazily("kennel.pricing.prices")


# For linting templates of an app that says no region.
DEFAULT_REGION = "us-east-1"


def review(
    base: Annotated[
        str,
        typer.Argument(help="Folder of templates, git revision, or `deployed` (what the stage runs now)."),
    ],
    head: Annotated[str, typer.Argument(help="Folder of templates or git revision.")] = "HEAD",
    output: Annotated[Path | None, typer.Option(help="File for the comment; empty if nothing changes.")] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            "--fail-on", help="Exit with 1 if the change does one of: destroy, replace, widen, block (comma-separated)."
        ),
    ] = "",
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            envvar="KENNEL_LABELS",
            help="Labels of the pull request, by comma; `accept-destroy` allows destroy.",
        ),
    ] = "",
    every_stack: Annotated[
        bool, typer.Option("--every-stack", help="Compare all stacks of two folders: for assemblies of any CDK app.")
    ] = False,
    stage: Stage = "dev",
) -> None:
    """Summarize a change as one Markdown comment: lost resources, access, exposure, cost, files.

        The comment is empty if nothing changes.

    Git revisions are synthesized in a separate work tree, without credentials. `deployed` downloads the templates with
    your credentials.
    Exits with 1 if --fail-on matches and no label accepts it, or if a side cannot be read.
    """
    # CDK's library and cfn-lint take their time to load.
    from kennel.review import change, comment
    from kennel.stage import assemblies, redaction

    wanted = [item.strip() for item in fail_on.split(",") if item.strip()]
    if unknown := [item for item in wanted if item not in change.REFUSALS]:
        raise KennelError(f"--fail-on {', '.join(unknown)}: give {', '.join(change.REFUSALS)}, one or more.")
    if output and output.is_dir():
        raise KennelError(f"--output {output} is a folder: give a file in it.")
    if not Path(head).is_dir() and assemblies.uncommitted(head):
        errors.print(
            f"[yellow]warning:[/yellow] what is not committed is not in {head}: to review it, "
            f"`make synth STAGE={stage}`, then `kennel review {base} cdk.out --stage {stage}`.",
            soft_wrap=True,
        )
    of = None if every_stack else stage
    with (
        step(
            f"{base} against {head}", shown=output is not None or errors.is_terminal, to=console if output else errors
        ) as progress,
        assemblies.side(base, of) as one,
    ):
        progress(f"{len(one.templates)} templates")
        with assemblies.side(head, of) as other:
            title = "this app" if every_stack else stage
            known = [*other.regions.values(), DEFAULT_REGION] if every_stack else [DeployedStage(stage).region]
            found = change.review(one, other, title, known[0], prices.load())
            text = redaction.redacted(comment.comment(found), found.names, found.own)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
    elif text:
        typer.echo(text, nl=False)
    if refused := found.refused(wanted, labels.split(",")):
        errors.print(
            "\n".join(
                f"[red]error:[/red] the change would {what}: accept it with the label {change.LABEL}{what}."
                for what in refused
            ),
            soft_wrap=True,
        )
        raise typer.Exit(1)
