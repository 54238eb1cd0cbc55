"""kennel local: up, down, status, env."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from kennel.commands.options import Stage
from kennel.console import console, step
from kennel.errors import KennelError
from kennel.lazy import lazily
from kennel.local.settings import ACCOUNT_KINDS, isolate, nowhere, state_dir
from kennel.stage.deployed import DeployedStage

if TYPE_CHECKING:
    from kennel.client import function_url
    from kennel.local import cloudfront, control
    from kennel.local.ec2 import spot
    from kennel.stage import embedded_aws
else:
    function_url = lazily("kennel.client.function_url")
    control = lazily("kennel.local.control")
    embedded_aws = lazily("kennel.stage.embedded_aws")
    cloudfront = lazily("kennel.local.cloudfront")
    spot = lazily("kennel.local.ec2.spot")

local = typer.Typer(no_args_is_help=True, help="Run the embedded AWS, an emulation of AWS on this machine.")


@local.command()
def up(
    port: Annotated[int | None, typer.Option(help="Port (default: 4566, or a free port if it is in use).")] = None,
    account: Annotated[
        str,
        typer.Option(
            metavar="|".join(ACCOUNT_KINDS),
            help="Kind of AWS account to emulate; a new one has low quotas and no service-linked roles.",
        ),
    ] = ACCOUNT_KINDS[0],
    stage: Stage = "dev",
) -> None:
    """Start the embedded AWS in the background, in the region of a stage.

    Alarms, scaling and rollouts run 60 times as fast as on AWS; the environment variable KENNEL_LOCAL_SPEED sets
    another factor, from 1 to 60.
    """
    if account not in ACCOUNT_KINDS:
        raise KennelError(f"--account takes {' or '.join(ACCOUNT_KINDS)}, not {account}.")
    with step("Starting the embedded AWS"):
        running = control.up(port, tables=embedded_aws.TABLES, region=DeployedStage(stage).region, account=account)
    console.print(f"Up at {running.endpoint}, region {running.region} (log: {os.path.relpath(control.log_file())})")
    console.print('Use it:  eval "$(kennel local env)"')


@local.command()
def down() -> None:
    """Stop the embedded AWS, its jobs and its model servers."""
    console.print("Stopped." if control.down() else "The embedded AWS was not running.")


@local.command()
def status() -> None:
    """Show whether the embedded AWS is running; exit with 1 if it is not."""
    running = control.status()
    if running is None:
        raise KennelError("The embedded AWS is not running: start it with `kennel local up`.")
    console.print(f"Up at {running.endpoint}, region {running.region}, process {running.pid}")


@local.command()
def interrupt() -> None:
    """Simulate a Spot interruption of all EC2 Spot instances and managed Spot jobs, with two minutes' notice."""
    names = spot.interrupt(state_dir())
    console.print(
        f"Interrupted: {', '.join(names)}." if names else "No EC2 instance and no managed spot job is running."
    )


@local.command()
def page(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0 for a free one.")
    ] = 8088,
    stage: Stage = "dev",
) -> None:
    """Serve the web page of a stage on localhost, as CloudFront does on AWS, until Ctrl-C."""
    running = control.status()
    if running is None:
        raise KennelError("The embedded AWS is not running: start it with `kennel local up`.")
    isolate(*running.access)
    url = function_url.Url(DeployedStage(stage))
    with cloudfront.listen(port) as listening:
        at = listening.getsockname()[1]
        console.print(f"The page of stage {stage}: http://localhost:{at}/  (Ctrl-C ends it)")
        cloudfront.serve(url, KennelError, listening)


@local.command()
def env() -> None:
    """Print shell commands that point the AWS SDKs, the CDK CLI and kennel to the embedded AWS.

    Use it as: eval "$(kennel local env)"

    All other variables that start with AWS_ are unset. If the embedded AWS is not running, the eval fails and
    AWS_ENDPOINT_URL is set to an address that does not exist, so that later commands of the shell cannot reach a real
    account by mistake.
    """
    running = control.status()
    if running is None:
        print("\n".join(nowhere()))
        raise KennelError("The embedded AWS is not running: start it with `kennel local up`.")
    print("\n".join(control.shell_environment(running)))
