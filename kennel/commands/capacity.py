"""The commands about capacity: plan, compare, prices."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from kennel.capacity import START_S
from kennel.commands.options import Stage
from kennel.console import console, step
from kennel.errors import KennelError
from kennel.lazy import lazily
from kennel.stage.deployed import REPOSITORY, DeployedStage

if TYPE_CHECKING:
    from inference import photograph
    from kennel.capacity import cloudwatch_counts, comparison, planning, published, report, traffic
    from kennel.pricing import prices
else:
    photograph = lazily("inference.photograph")
    comparison = lazily("kennel.capacity.comparison")
    planning = lazily("kennel.capacity.planning")
    published = lazily("kennel.capacity.published")
    prices = lazily("kennel.pricing.prices")
    cloudwatch_counts = lazily("kennel.capacity.cloudwatch_counts")
    report = lazily("kennel.capacity.report")
    traffic = lazily("kennel.capacity.traffic")

REPORTS = REPOSITORY / "build" / "reports"
CLOUDWATCH = "cloudwatch"

app = typer.Typer(
    no_args_is_help=True, help="Show or update the dated table of AWS list prices for the cost estimates."
)


def plan(
    shape: Annotated[
        str,
        typer.Argument(
            metavar="TRAFFIC",
            help="Traffic profile: constant, step, daily or spike; a CSV file with columns time and requests; or "
            "cloudwatch: the invocations of the deployed endpoint in the last --hours.",
        ),
    ] = "step",
    low: Annotated[float, typer.Option(min=0, help="Requests per second in quiet times; unused by constant.")] = 1.0,
    high: Annotated[float, typer.Option(min=0, help="Requests per second at the peak.")] = 20.0,
    hours: Annotated[
        float | None,
        typer.Option(help="Duration in hours (default: constant 1, step and spike 1.5, daily and cloudwatch 24)."),
    ] = None,
    goal_ms: Annotated[float, typer.Option(min=1, help="Latency objective in ms.")] = 500.0,
    goal_share: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Fraction of responses that must meet the latency objective.")
    ] = 0.95,
    goal_failed: Annotated[
        float, typer.Option(min=0, max=1, help="Maximum fraction of failed requests: rejected, throttled or timed out.")
    ] = 0.001,
    requests_per_s: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Throughput of one instance in requests/s (default: the newest that the stage's instances measured).",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Requests that one instance processes concurrently.")] = 2,
    start_s: Annotated[
        float, typer.Option(min=0, help="Seconds from the decision to scale out until the instance is in service.")
    ] = START_S,
    seed: Annotated[int, typer.Option(help="Random seed for the arrival times of requests.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    output: Annotated[Path | None, typer.Option(help="Report file (default: build/reports/plan-….html).")] = None,
    stage: Stage = "dev",
) -> None:
    """Simulate the stage under a traffic profile, with different numbers of instances and concurrency limits.

    Shows the latency, error rate and cost of each option, and recommends one.
    """
    deployment = DeployedStage(stage)
    endpoint, function = deployment.settings.endpoint, deployment.settings.function
    profile = _profile(shape, low, high, hours, deployment)
    throughput, source = _throughput(requests_per_s, deployment)
    assumptions = planning.Assumptions(throughput, source, workers=workers, instance_start_s=start_s, seed=seed)
    goal = planning.Goal(goal_ms / 1000, goal_share, goal_failed)
    fewest = 2 if deployment.settings.retain_data else 1
    with step(f"Simulating {profile.requests:,.0f} requests", shown=not as_json) as progress:
        found = planning.plan(profile, goal, endpoint, function, assumptions, prices.load(), fewest, progress)
    file = output or REPORTS / f"plan-{stage}-{Path(shape).stem}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(report.html(found))
    if as_json:
        typer.echo(json.dumps({**report.numbers(found), "report": str(file)}, indent=2))
        return
    console.print(f"Throughput of one instance: {throughput:g} requests/s, {source}.", soft_wrap=True)
    console.print(_table("Endpoint", found.endpoints, found))
    console.print(_table("Function", found.functions, found))
    console.print(report.advice(found))
    if wanted := report.settings(found):
        console.print_json(json.dumps(wanted))
    console.print(f"Report: {file}", soft_wrap=True)


def compare(
    shape: Annotated[str, typer.Argument(metavar="TRAFFIC", help="Traffic profile, as for `kennel plan`.")] = "step",
    low: Annotated[float, typer.Option(min=0, help="Requests per second and endpoint in quiet times.")] = 1.0,
    high: Annotated[float, typer.Option(min=0, help="Requests per second at the peak.")] = 20.0,
    minutes: Annotated[float, typer.Option(min=0.1, help="Duration of a generated profile in minutes.")] = 90.0,
    image: Annotated[Path | None, typer.Option(help="Image to send (default: a generated one).")] = None,
    period_s: Annotated[
        int, typer.Option("--period", help="Seconds per row: at least 60 on AWS, 1 on the embedded AWS.")
    ] = 60,
    seed: Annotated[int, typer.Option(help="Random seed for the arrival times of requests.")] = 1,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the cost without confirmation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    output: Annotated[Path | None, typer.Option(help="Report file (default: build/reports/compare-….html).")] = None,
    stage: Stage = "dev",
) -> None:
    """Compare the autoscaled endpoint with the one of fixed size (endpoint.fixed), under the same load.

    Reports client latencies and CloudWatch metrics.
    """
    deployment = DeployedStage(stage)
    if period_s not in (1, 5, 10, 30) and (period_s < 60 or period_s % 60):
        raise KennelError(f"--period {period_s}: CloudWatch has 1, 5, 10, 30 and multiples of 60 seconds.")
    profile = _profile(shape, low, high, minutes / 60, deployment)
    body = image.read_bytes() if image else photograph.photograph()
    names = comparison.endpoints(deployment)
    if not yes:
        _confirm(comparison.warning(deployment, profile))
    words = f"{profile.name} for {profile.duration_s / 60:g} minutes to {' and '.join(names)}"
    with step(words, shown=not as_json) as progress:
        found = comparison.compare(deployment, profile, body, period_s=period_s, seed=seed, progress=progress)
    file = output or REPORTS / f"compare-{stage}-{Path(shape).stem}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(report.comparison_html(found))
    if as_json:
        typer.echo(json.dumps({**report.comparison_numbers(found), "report": str(file)}, indent=2))
        return
    console.print(_table("Endpoint", found.rows))
    for policy in found.policies:
        console.print(f"{policy['PolicyName']} {report.policy_in_words(policy)}.", soft_wrap=True)
    for done in found.steps:
        console.print(f"After {done.second:.0f} s: {done.description} {done.cause}.", soft_wrap=True)
    console.print(f"Report: {file}", soft_wrap=True)


@app.command("show")
def show() -> None:
    """Show the table: instances per hour, Lambda, storage."""
    table = prices.load()
    shown = Table(Column("what"), Column("USD", justify="right"), Column("per"), box=None)
    for usage in prices.USAGES:
        for name, usd in getattr(table, f"{usage}_usd_h").items():
            shown.add_row(f"{name}, {usage}", f"{usd:g}", "hour")
    for name, usd in table.lambda_usd.items():
        shown.add_row(f"Lambda, {name.replace('_', ' ')}", f"{usd:.3g}", "request" if name == "request" else "unit")
    for prices_of, per in (
        (table.cloudfront_usd, "request, CloudFront"),
        (table.storage_usd_gb_month, "GB and month"),
        (table.fixed_usd_month, "month"),
        (table.network_usd_h, "hour"),
    ):
        for name, usd in prices_of.items():
            shown.add_row(name.replace("_", " "), f"{usd:g}", per)
    console.print(shown)
    console.print(f"{table.region}, {table.date}: {table.source}.", soft_wrap=True)


@app.command()
def refresh(
    types: Annotated[
        list[str] | None, typer.Argument(help="Instance types to add: ml.… for endpoints, others for EC2.")
    ] = None,
) -> None:
    """Update the table from the AWS Price List API, with your credentials."""
    with step("Reading the Price List API"):
        import boto3

        client = boto3.client("pricing", region_name=prices.API_REGION)
        before = prices.load()
        table, missing = prices.refreshed(client, before, types or [])
    if missing:
        raise KennelError("Nothing was changed: the price list has no single price for " + ", ".join(missing) + ".")
    prices.save(table)
    for usage in prices.USAGES:
        old, new = (getattr(one, f"{usage}_usd_h") for one in (before, table))
        for name in new:
            if old.get(name) != new[name]:
                console.print(f"{name}, {usage}: {old.get(name, 'new')} → {new[name]}")
    console.print(f"{prices.TABLE.relative_to(REPOSITORY)} is of {table.date}.", soft_wrap=True)


def _confirm(cost: str) -> None:
    if not sys.stdin.isatty():
        raise KennelError(f"{cost} Not a terminal: pass --yes to accept it.")
    console.print(cost, soft_wrap=True)
    if not typer.confirm("Send them?"):
        raise KennelError("Nothing was sent.")


def _throughput(given: float | None, deployment: DeployedStage) -> tuple[float, str]:
    """The requests/s of one instance, and where they are from."""
    if given:
        return given, "as given"
    from botocore.exceptions import BotoCoreError, ClientError

    unknown = "no instance of the stage has measured itself yet"
    try:
        if capacity := published.capacity(deployment):
            return capacity.requests_per_s, f"{capacity.source}, published at {capacity.time:%Y-%m-%d %H:%M} UTC"
    except (BotoCoreError, ClientError) as error:  # a stage is planned before there is an account, too
        unknown = f"CloudWatch cannot be read ({error})"
    return planning.UNMEASURED_REQUESTS_PER_S, f"assumed, because {unknown}: deploy it, or pass --requests-per-s"


def _profile(shape: str, low: float, high: float, hours: float | None, deployment: DeployedStage) -> "traffic.Profile":
    if shape == CLOUDWATCH:
        return cloudwatch_counts.invocations(deployment, hours or 24)
    if shape not in traffic.SHAPES and (Path(shape).suffix or Path(shape).exists()):
        if hours is not None:
            raise KennelError("--hours is for generated profiles: a CSV file has its own times.")
        return traffic.from_csv(Path(shape))
    return traffic.shaped(shape, low, high, hours)


def _table(title: str, rows: "list[planning.Row]", plan: "planning.Plan | None" = None) -> Table:
    names = ("p50", "p95", "p99 ms", "failed", "most", "USD a day")
    table = Table(
        Column(title, no_wrap=True), *(Column(name, justify="right", no_wrap=True) for name in names), box=None
    )
    for row in rows:
        outcome = row.outcome
        cells = (
            row.option.name,
            *(f"{1000 * outcome.latency_s(share):,.0f}" for share in (0.5, 0.95, 0.99)),
            f"{outcome.failed:.2%}",
            str(row.most_instances) if row.option.hourly_usd else "",
            f"{row.usd_per_day:,.2f}",
        )
        good = plan is None or plan.goal.met(outcome)
        table.add_row(*cells, style="bold" if plan and row is plan.chosen else "" if good else "dim")
    return table
