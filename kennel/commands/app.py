"""The `kennel` command: registration of all subcommands, and how errors are shown."""

import inspect
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from infra.names import DELIVERY_STACK
from kennel.commands import capacity, data, operations, rehearsal, review, training
from kennel.commands.local import local
from kennel.commands.options import Force, Stage
from kennel.console import console, errors, printable, step
from kennel.errors import KennelError
from kennel.lazy import lazily
from kennel.local.errors import LocalError
from kennel.stage.cdk import CDK, cdk
from kennel.stage.deployed import REPOSITORY, DeployedStage

if TYPE_CHECKING:
    from kennel.client import batch, function_url
    from kennel.models import promotion
    from kennel.operations import account_bootstrap, delivery, demo, preflight
else:
    account_bootstrap = lazily("kennel.operations.account_bootstrap")
    function_url = lazily("kennel.client.function_url")
    delivery = lazily("kennel.operations.delivery")
    demo = lazily("kennel.operations.demo")
    batch = lazily("kennel.client.batch")
    preflight = lazily("kennel.operations.preflight")
    promotion = lazily("kennel.models.promotion")

BOOTSTRAP_LOG = REPOSITORY / "build" / "bootstrap.log"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, serve and operate an image classifier on AWS.\n\n"
    "A stage is one complete deployment, such as dev or prod; its settings are in cdk.json. Commands run on AWS with "
    "your credentials. To run them on this machine, start the embedded AWS, an emulation, with `kennel local up`; then "
    'run eval "$(kennel local env)", which sets AWS_ENDPOINT_URL.\n\n'
    "For a first deploy, run in this order:\n"
    "  make bootstrap training          bootstrap; deploy the stacks for training\n"
    "  kennel train FOLDER --promote    upload the images, train, select the model\n"
    "  make deploy                      deploy the model with its endpoint and URL\n"
    "  kennel predict IMAGE             classify an image through the URL",
)
app.add_typer(data.app, name="data")
app.command()(training.train)
app.command()(training.tune)
app.command()(training.weights)
app.command()(training.report)
app.command()(capacity.plan)
app.command()(capacity.compare)
app.add_typer(capacity.app, name="prices")
app.command()(review.review)
app.command()(operations.status)
app.command()(operations.logs)
app.command()(operations.smoke)
app.command()(operations.destroy)
app.command("preflight")(operations.check_first)
app.command()(operations.explain)
app.command()(rehearsal.rehearse)
app.add_typer(local, name="local")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"kennel {version('kennel')}")
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command line itself."""


@app.command()
def bootstrap(force: Force = False, stage: Stage = "dev") -> None:
    """Create or update the stage's CDK bootstrap, whose roles can deploy this stage and nothing else.

    Run it before the first deploy, and when a preflight check asks for it. Bootstraps of other stages and of other CDK
    apps are not changed.
    """
    deployment = DeployedStage(stage)
    place = account_bootstrap.target(deployment)
    console.print(
        f"In account {place.account}, region {place.region}, separate from other CDK apps: the stack "
        f"{account_bootstrap.toolkit_stack(stage)} (a bucket for code, roles that deploy), and the policies "
        f"{', '.join(arn.rpartition('/')[2] for arn in place.policies)}.",
        soft_wrap=True,
    )
    operations.require(preflight.Preflight(deployment).bootstrap(), force=force)
    target, arguments = account_bootstrap.prepare(deployment)
    with step("cdk bootstrap") as progress:
        cdk("bootstrap", target, *arguments, env=dict(os.environ), log=BOOTSTRAP_LOG, progress=progress)


@app.command("delivery")
def deliver(
    repository: Annotated[
        str,
        typer.Argument(
            metavar="REPOSITORY",
            help="GitHub repository: OWNER/NAME, or OWNER@ID/NAME@ID if GitHub's tokens contain ids "
            "(docs/delivery.md).",
        ),
    ],
    stage: Stage = "dev",
) -> None:
    """Deploy the IAM roles that the GitHub workflows assume, once per account.

    Run it with administrator credentials, and again after you add a stage to cdk.json. It uses the account's OIDC
    provider for GitHub, or creates one.
    """
    from infra.config import ConfigurationError
    from infra.github_repository import parse

    try:
        parse(repository)
    except ConfigurationError as error:
        raise KennelError(str(error)) from None
    deployment = DeployedStage(stage)
    command = ["cdk", "deploy", "-c", f"repository={repository}", DELIVERY_STACK]
    if provider := delivery.provider_of_others(deployment.client("iam"), deployment.client("cloudformation")):
        console.print(f"Using the account's provider for GitHub: {provider}", soft_wrap=True)
        command[2:2] = ["-c", f"provider={provider}"]
    # Its question is for whoever called this.
    os.execvp(CDK, command)


@app.command()
def promote(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="Training job or EC2 run that wrote the package (default: the newest package)."
        ),
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="Promote the package that was promoted before the current one.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only print the promoted package; exit with 1 if there is none or if it cannot be deployed."
        ),
    ] = False,
    stage: Stage = "dev",
) -> None:
    """Promote a model package: the next deploy of the stage serves it."""
    deployment = DeployedStage(stage)
    if sum([bool(run), previous, check]) > 1:
        raise KennelError("Pass only one of: a run, --previous, --check.")
    if check:
        if problem := promotion.problem(deployment):
            raise KennelError(": ".join(problem))
        console.print(f"Promoted: {promotion.promoted(deployment)}", soft_wrap=True)
        return
    chosen = promotion.promote_previous(deployment) if previous else promotion.promote(deployment, run)
    training.promoted(deployment, *chosen)


@app.command()
def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Image file, folder of images, https:// URL, s3:// URI below inbox/ of the dataset bucket, or - for "
            "standard input.",
        ),
    ],
    top_k: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Number of classes to print for each image.")
    ] = 3,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON per image instead of a table.")
    ] = False,
    at_once: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Number of concurrent requests.")] = 4,
    original: Annotated[
        bool,
        typer.Option(
            "--original",
            help="Send files unchanged. By default, files that are too large or in a format that the URL rejects are "
            "sent as smaller JPEGs.",
        ),
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            "--url", help="Function URL (default: read from the stack outputs). Required if you may not read them."
        ),
    ] = None,
    stage: Stage = "dev",
) -> None:
    """Classify images through the function URL.

    Requests are signed with your AWS credentials. Responses 429 (throttled) and 503 (overloaded) are retried for up to
    two minutes.
    """
    found = batch.sources(images, lambda line: typer.echo(printable(line), err=True))
    url = function_url.Url(DeployedStage(stage), url=address)
    table = Table(Column("image", overflow="fold"), Column("predictions", overflow="fold"))
    failed = 0
    try:
        with step("Classified", shown=not as_json) as progress:
            answers = batch.predict(
                url, found, top_k, at_once, lambda done, of: progress(f"{done} of {of}"), original=original
            )
            for image, answer in answers:
                failed += answer.status != 200
                name = escape(printable(image.name))
                if as_json:
                    print(json.dumps(batch.document(image, answer)), flush=True)
                elif answer.status == 200:
                    best = [f"{item['label']} {item['probability']:.3f}" for item in answer.document["predictions"]]
                    table.add_row(name, escape(" · ".join(best)))
                else:
                    table.add_row(name, f"[red]{escape(answer.label)}[/red]")
    finally:
        # On Ctrl-C too: what was answered was paid for.
        if not as_json:
            console.print(url.url, soft_wrap=True)
            console.print(table)
    if failed:
        raise KennelError(f"{failed} of {len(found)} image(s) got no prediction.")


@app.command("demo")
def run_demo(
    folder: Annotated[
        Path | None, typer.Option("--data", help="Folder or archive of labelled images (default: a generated dataset).")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", envvar="KEEP", help="Keep the embedded AWS running at the end.")
    ] = False,
    stage: Stage = "dev",
) -> None:
    """Run all steps on the embedded AWS: deploy, train, serve, and classify images that the training has not seen.

    Starts the embedded AWS and stops it at the end. Writes the results to build/demo.json.
    """
    demo.run(folder, keep=keep, stage=stage)


def _rewrap(commands: typer.Typer) -> None:
    """Joins the lines of each paragraph of the help texts: typer wraps only the first one at the terminal's width."""
    for command in commands.registered_commands:
        paragraphs = (command.help or inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for group in commands.registered_groups:
        if group.typer_instance:
            _rewrap(group.typer_instance)


_rewrap(app)

# Errors for requests signed with an expired session.
SIGNED_OUT = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")


def run() -> int:
    """Runs the command line on the arguments of the process; returns its exit status."""
    try:
        app(prog_name="kennel")
    except (KennelError, LocalError) as error:
        message = str(error)
    except Exception as error:
        message = _of_aws(error)
        if not message:
            raise
    errors.print(f"[red]error:[/red] {escape(message)}", soft_wrap=True)
    return 1


def _of_aws(error: Exception) -> str:
    """An error of the AWS SDK in a line, with the remedy; empty for any other error."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", error)
        remedy = " Sign in again, as with `aws sso login`." if code in SIGNED_OUT else ""
        return f"AWS refused {error.operation_name}: {message}{remedy}"
    if isinstance(error, (exceptions.SSOError, exceptions.SSOTokenLoadError, exceptions.TokenRetrievalError)):
        return f"Your sign-in to AWS is missing or has expired: run `aws sso login`. ({error})"
    if isinstance(error, exceptions.ProfileNotFound):
        return f"{error}: set AWS_PROFILE to one of ~/.aws/config, or unset it."
    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        return f"{error}: configure credentials as for the AWS CLI, or start the embedded AWS (kennel local up)."
    if isinstance(error, exceptions.BotoCoreError):
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        remedy = f" AWS_ENDPOINT_URL is {endpoint}: is the embedded AWS up (kennel local status)?" if endpoint else ""
        return f"AWS cannot be reached: {error}.{remedy}"
    return ""
