"""The command line. Each command is a few lines over the module of its name."""

from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from kennel import calling, data, demo, jobs, promotion, sample
from kennel.console import console, errors, step
from kennel.deployment import Deployment
from kennel.errors import KennelError
from kennel.local.cli import local

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Trains, serves and operates a picture classifier on AWS.\n\n"
    "Every command works on one stage: on AWS with your credentials, or on the embedded AWS where AWS_ENDPOINT_URL "
    'points to it: eval "$(kennel local env)".\n\n'
    "From nothing to a URL: make bootstrap training · kennel train FOLDER --promote · make deploy · kennel predict.",
)
data_app = typer.Typer(no_args_is_help=True, help="Pictures: a sample set, and the dataset bucket.")
app.add_typer(data_app, name="data")
app.add_typer(local, name="local")

Stage = Annotated[str, typer.Option("--stage", "-s", envvar="STAGE", help="The stage of cdk.json.")]


@data_app.command("sample")
def data_sample(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("build/sample"),
) -> None:
    """Draw a small labelled set: eight patterns, split into train, valid and test. The same every time."""
    if folder.exists() and (not folder.is_dir() or {child.name for child in folder.iterdir()} - set(sample.PER_CLASS)):
        raise KennelError(f"{folder} is there already and holds something else: choose a new folder.")
    with step(f"Drawing the sample set into {folder}"):
        count = sample.write(folder)
    console.print(f"{count} pictures of {len(sample.PATTERNS)} classes.")


@data_app.command("push")
def data_push(
    folder: Annotated[Path, typer.Argument(help="train/valid/test, train/val, or one folder per class.")],
    name: Annotated[str | None, typer.Option(help="The dataset's name; the folder's by default.")] = None,
    stage: Stage = "dev",
) -> None:
    """Upload a folder of pictures as a dataset; what is no longer in the folder is removed from the dataset."""
    pushed = _push(Deployment(stage), folder, name)
    console.print(f"Next: kennel train {pushed.name}")


@app.command()
def train(
    dataset: Annotated[
        str | None, typer.Argument(help="A folder to push first, or a pushed dataset; not needed if there is only one.")
    ] = None,
    instance_type: Annotated[str, typer.Option(help="The job's instance.")] = "ml.m5.xlarge",
    hyperparameter: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="NAME=VALUE: epochs, batch_size, learning_rate, weight_decay, label_smoothing, seed."
        ),
    ] = None,
    promote_it: Annotated[bool, typer.Option("--promote", help="Promote the package when the job is done.")] = False,
    stage: Stage = "dev",
) -> None:
    """Run a SageMaker training job on a dataset and follow it to its end."""
    deployment, hyperparameters = Deployment(stage), _pairs(hyperparameter or [])
    if dataset is None:
        dataset = _only_dataset(deployment)
    elif Path(dataset).is_dir():
        dataset = _push(deployment, Path(dataset), None).name
    elif dataset not in (known := data.names(deployment)):
        raise KennelError(
            f"{dataset} is no folder, and no dataset; the datasets are: {', '.join(known) or 'none yet'}."
        )
    name = jobs.start(
        deployment,
        dataset,
        instance_type=instance_type,
        hyperparameters=hyperparameters,
    )
    console.print(f"Training job [bold]{name}[/bold]")
    finished = jobs.follow(deployment, name, lambda line: console.print(f"  [dim]{escape(line)}[/dim]", soft_wrap=True))
    table = Table("metric", "value")
    for metric, value in sorted(finished.metrics.items()):
        table.add_row(metric, f"{value:.4f}")
    console.print(table)
    console.print(f"Model package: {finished.package_uri}", soft_wrap=True)
    if promote_it:
        promote(name, stage=stage)
    else:
        console.print(f"Next: kennel promote {name}")


@app.command()
def promote(
    job: Annotated[str | None, typer.Argument(help="A completed training job; the newest package by default.")] = None,
    previous: Annotated[bool, typer.Option("--previous", help="Go back to the package promoted before.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say what is promoted; fails if nothing is.")] = False,
    stage: Stage = "dev",
) -> None:
    """Choose the model package that the next deploy of the Serving stack serves."""
    deployment = Deployment(stage)
    if sum([bool(job), previous, check]) > 1:
        raise KennelError("Give a job, --previous or --check: one of them.")
    if check:
        uri = promotion.promoted(deployment)
        if uri is None:
            raise KennelError(
                f"No model is promoted for stage {stage}, so Serving and Api cannot be deployed: "
                f"run `make training STAGE={stage}`, "
                f"then `kennel train FOLDER --promote --stage {stage}`, then try again."
            )
        console.print(f"Promoted: {uri}", soft_wrap=True)
        return
    uri, description = promotion.promote_previous(deployment) if previous else promotion.promote(deployment, job)
    top1 = description["metrics"]["valid"]["top1"]
    console.print(f"Promoted [bold]{description['name']}[/bold] (validation top-1 {top1:.4f}): {uri}", soft_wrap=True)
    console.print(f"Next: make deploy STAGE={stage}")


@app.command()
def predict(
    pictures: Annotated[list[Path], typer.Argument(help="JPEG, PNG or WebP files.", exists=True, dir_okay=False)],
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to ask for.")] = 3,
    stage: Stage = "dev",
) -> None:
    """Call the Lambda URL with each picture, signed with your credentials."""
    url = calling.Url(Deployment(stage))
    table = Table(Column("picture", overflow="fold"), "predictions")
    failed = 0
    for path in pictures:
        content_type = calling.CONTENT_TYPES.get(path.suffix.lower(), "application/octet-stream")
        answer = url.call(path.read_bytes(), content_type, top_k=top_k)
        if answer.status == 200:
            best = [f"{item['label']} {item['probability']:.3f}" for item in answer.document["predictions"]]
            table.add_row(escape(str(path)), escape(" · ".join(best)))
        else:
            failed += 1
            table.add_row(escape(str(path)), f"[red]{escape(answer.label)}[/red]")
    console.print(url.url, soft_wrap=True)
    console.print(table)
    if failed:
        raise KennelError(f"{failed} of {len(pictures)} picture(s) got no prediction.")


@app.command("demo")
def run_demo(
    folder: Annotated[Path | None, typer.Option("--data", help="Pictures; the sample set by default.")] = None,
    keep: Annotated[bool, typer.Option("--keep", envvar="KEEP", help="Leave the embedded AWS up.")] = False,
    stage: Stage = "dev",
) -> None:
    """Deploy, train, serve and invoke on the embedded AWS, from nothing to a table of predictions."""
    demo.run(folder, keep=keep, stage=stage)


def _push(deployment: Deployment, folder: Path, name: str | None) -> data.Pushed:
    with step("Checking the pictures"):
        loaded = data.check(folder, seed=1)
    for reason in loaded.skipped:
        console.print(f"[yellow]will be skipped:[/yellow] {escape(reason)}", soft_wrap=True)
    with Progress(
        TextColumn("Uploading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        pushed = data.push(deployment, folder, data.name_of(folder) if name is None else name, progress)
    console.print(f"Dataset [bold]{pushed.name}[/bold]: {pushed.uploaded} pictures at {pushed.uri}", soft_wrap=True)
    if pushed.removed:
        console.print(f"{pushed.removed} object(s) that the folder no longer has were removed.")
    for path in pushed.left_out:
        console.print(f"[yellow]left out, not a picture:[/yellow] {escape(str(path))}")
    return pushed


def _only_dataset(deployment: Deployment) -> str:
    names = data.names(deployment)
    if len(names) == 1:
        return names[0]
    if not names:
        raise KennelError("There is no dataset yet: run `kennel data push FOLDER`.")
    raise KennelError(f"Which dataset? Name one of: {', '.join(names)}.")


def _pairs(settings: list[str]) -> dict[str, str]:
    wrong = [setting for setting in settings if "=" not in setting]
    if wrong:
        raise KennelError(f"--set takes NAME=VALUE, not {', '.join(wrong)}.")
    return {name: value for name, _, value in (setting.partition("=") for setting in settings)}


def run() -> int:
    """Runs the command line on the arguments of the process; returns its exit status."""
    try:
        app(prog_name="kennel")
    except KennelError as error:
        message = str(error)
    except ClientError as error:
        message = f"AWS refused {error.operation_name}: {error.response['Error'].get('Message', error)}"
    except BotoCoreError as error:
        message = f"AWS cannot be reached: {error}. Configure credentials, or start the embedded AWS (kennel local up)."
    errors.print(f"[red]error:[/red] {escape(message)}", soft_wrap=True)
    return 1
