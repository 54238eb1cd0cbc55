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
        typer.Argument(
            metavar="BASE",
            help="Before the change: a folder of synthesized templates, a git revision, or `deployed` for the deployed "
            "templates of the stage.",
        ),
    ],
    head: Annotated[
        str,
        typer.Argument(metavar="HEAD", help="After the change: a folder of synthesized templates, or a git revision."),
    ] = "HEAD",
    output: Annotated[
        Path | None, typer.Option(help="File to write the comment to (default: standard output).")
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            "--fail-on",
            metavar="EFFECT,...",
            help="Exit with 1 if the change has one of these effects (comma-separated list): destroy or replace "
            "(resources), widen (access), block (the deploy would fail).",
        ),
    ] = "",
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            envvar="KENNEL_LABELS",
            metavar="LABEL,...",
            help="Labels of the pull request (comma-separated list). accept-destroy, accept-replace, accept-widen and "
            "accept-block accept the effect of the same name.",
        ),
    ] = "",
    every_stack: Annotated[
        bool,
        typer.Option(
            "--every-stack",
            help="Compare all stacks of two folders of templates, of any CDK app; --stage is ignored.",
        ),
    ] = False,
    stage: Stage = "dev",
) -> None:
    """Summarize a change of the CDK app as a Markdown comment: lost resources, access, exposure, cost, code.

    The comment is empty if nothing changes. Exits with 1 if the change has an effect of --fail-on that no label
    accepts, or if BASE or HEAD cannot be read.

    Git revisions are synthesized in separate work trees, without credentials. The deployed templates are read with your
    AWS credentials.
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
