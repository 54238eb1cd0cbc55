"""The commands that train: train, tune, report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from infra import instance_types
from kennel.commands import operations
from kennel.commands.data import push_folder
from kennel.commands.options import Force, Settings, Stage, pairs
from kennel.console import console, step
from kennel.errors import KennelError
from kennel.lazy import lazily
from kennel.stage.deployed import DeployedStage
from training.settings import DEFAULT_BACKBONE, VENDORED, SettingsError, check_pairs

if TYPE_CHECKING:
    from kennel.datasets import archives, upload
    from kennel.jobs import ec2_runs, training_jobs, tuning_jobs
    from kennel.models import backbone_weights, packages, promotion
    from kennel.operations import preflight
else:
    backbone_weights = lazily("kennel.models.backbone_weights")
    archives = lazily("kennel.datasets.archives")
    upload = lazily("kennel.datasets.upload")
    ec2_runs = lazily("kennel.jobs.ec2_runs")
    training_jobs = lazily("kennel.jobs.training_jobs")
    packages = lazily("kennel.models.packages")
    preflight = lazily("kennel.operations.preflight")
    promotion = lazily("kennel.models.promotion")
    tuning_jobs = lazily("kennel.jobs.tuning_jobs")

SHOWN_TRIALS = 10

Dataset = Annotated[
    str | None,
    typer.Argument(
        metavar="DATASET",
        help="Name of an uploaded dataset, or a folder or archive to upload first (default: the only dataset).",
    ),
]
InstanceType = Annotated[
    str | None, typer.Option(metavar="TYPE", help="Instance type of the SageMaker job (default: ml.m5.xlarge).")
]
# SageMaker ends a job after 28 days at the latest (CreateTrainingJob, StoppingCondition).
MaxHours = Annotated[
    int | None,
    typer.Option(min=1, max=672, metavar="HOURS", help="Time limit of the SageMaker job (default: 24 hours)."),
]
Promote = Annotated[bool, typer.Option("--promote", help="Promote the model package: the next deploy serves it.")]


def train(
    dataset: Dataset = None,
    mode: Annotated[
        str,
        typer.Option(
            metavar="head|finetune",
            help="head: train the last layer, with the backbone frozen; finetune: then the backbone, too, except "
            "batch norm.",
        ),
    ] = "head",
    on: Annotated[
        str,
        typer.Option(
            metavar="sagemaker|ec2",
            help="Where to train. For ec2, instance type, Spot and time limit are set in cdk.json.",
        ),
    ] = "sagemaker",
    instance_type: InstanceType = None,
    instances: Annotated[
        int,
        typer.Option(
            min=1, max=16, metavar="N", help="Instances of the SageMaker job; more than 1 requires --mode finetune."
        ),
    ] = 1,
    spot: Annotated[
        bool, typer.Option("--spot", help="Use SageMaker managed Spot training; interrupted jobs resume.")
    ] = False,
    max_hours: MaxHours = None,
    settings: Settings = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Do not use the best settings that `kennel tune` found.")
    ] = False,
    promote_it: Promote = False,
    force: Force = False,
    stage: Stage = "dev",
) -> None:
    """Train a model on a dataset, on SageMaker or EC2, and print the log until the job ends.

    The value of a setting comes from --set, else from the best trial of `kennel tune` on the dataset, else from its
    default.
    """
    given = _checked(pairs(settings) | ({"mode": mode} if mode != "head" else {}))
    if on not in ("sagemaker", "ec2"):
        raise KennelError(f"--on takes sagemaker or ec2, not {on}.")
    if on == "ec2" and (instance_type or instances > 1 or spot or max_hours):
        raise KennelError("With --on ec2 these are in cdk.json: change instance_type, spot or max_run_h of ec2 there.")
    if instances > 1 and given.get("mode") != "finetune":
        raise KennelError("Multiple instances are only supported with --mode finetune: a head trains in seconds.")
    _usable(instance_type)
    deployment = DeployedStage(stage)
    checks, kind = preflight.Preflight(deployment), instance_type or training_jobs.Request.instance_type
    job = preflight.Job(kind, instances, spot)
    operations.require(checks.ec2() if on == "ec2" else checks.job(job), force=force)
    pretrained = backbone_weights.uri_for(deployment, given)
    name = _pushed(deployment, dataset)
    chosen = {} if defaults else _best(deployment, name, given)
    request = training_jobs.Request(
        name,
        hyperparameters={**chosen, **given},
        instance_type=kind,
        instances=instances,
        spot=spot,
        max_run_s=_seconds(max_hours),
        weights=pretrained,
    )
    run = ec2_runs.start(deployment, request) if on == "ec2" else training_jobs.start(deployment, request)
    console.print(f"{'EC2 run' if on == 'ec2' else 'Training job'} [bold]{run}[/bold]")
    finished = (ec2_runs if on == "ec2" else training_jobs).follow(deployment, run, _dimmed)
    _finish(deployment, finished, promote_it)


def tune(
    dataset: Dataset = None,
    trials: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Total number of trials.")] = 50,
    engine: Annotated[
        str,
        typer.Option(
            metavar="job|sagemaker", help="job: run all trials in one training job; sagemaker: run one job per trial."
        ),
    ] = "job",
    parallel: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="Concurrent trials; only with --engine sagemaker.")
    ] = 2,
    instance_type: InstanceType = None,
    max_hours: Annotated[
        int | None,
        typer.Option(
            min=1, max=672, metavar="HOURS", help="Time limit of the job (default: 24 hours); only with --engine job."
        ),
    ] = None,
    settings: Settings = None,
    promote_it: Annotated[
        bool,
        typer.Option("--promote", help="Promote the model package: the next deploy serves it; only with --engine job."),
    ] = False,
    force: Force = False,
    stage: Stage = "dev",
) -> None:
    """Search for the best hyperparameters of the head (the last layer) on a dataset; `kennel train` then uses them.

    Each trial trains a head on cached features of the frozen backbone. Settings of fine-tuning are not searched, and
    --set mode=... is not valid.

    --engine job computes the features if they are not cached, resumes an earlier search (its trials count towards
    --trials), and writes a model package that is trained with the best settings.

    --engine sagemaker uses SageMaker automatic model tuning. It needs features that an earlier `kennel train --mode
    head` or `kennel tune` cached, and writes no model package.
    """
    given = _checked(pairs(settings))
    if engine not in ("job", "sagemaker"):
        raise KennelError(f"--engine takes job or sagemaker, not {engine}.")
    if "mode" in given:
        raise KennelError("Tuning covers the head only: omit mode, then run kennel train --mode finetune.")
    _usable(instance_type)
    deployment = DeployedStage(stage)
    kind = instance_type or training_jobs.Request.instance_type
    job = preflight.Job(kind, 1 if engine == "job" else parallel)
    operations.require(preflight.Preflight(deployment).job(job), force=force)
    pretrained = backbone_weights.uri_for(deployment, given)
    name = _pushed(deployment, dataset)
    backbone = given.get("backbone", DEFAULT_BACKBONE)
    if engine == "job":
        request = training_jobs.Request(
            name, "hpo", {**given, "trials": str(trials)}, kind, max_run_s=_seconds(max_hours), weights=pretrained
        )
        run = training_jobs.start(deployment, request)
        console.print(f"Training job [bold]{run}[/bold]")
        finished = training_jobs.follow(deployment, run, _dimmed)
        _show_trials(tuning_jobs.result(deployment, name, backbone))
        _finish(deployment, finished, promote_it)
        return
    if max_hours:
        raise KennelError("--max-hours is only valid with --engine job: a trial on cached features takes minutes.")
    if promote_it:
        raise KennelError("Trials on SageMaker write no model package: tune first, then run kennel train --promote.")
    cache = tuning_jobs.cache(deployment, name, backbone)
    if cache is None:
        raise KennelError(f"There are no cached features of {name} yet: run `kennel train {name}` once.")
    run = tuning_jobs.start(
        deployment,
        cache,
        hyperparameters=given,
        trials=trials,
        parallel=min(parallel, trials),
        instance_type=kind,
        seed=int(given.get("seed", 1)),
    )
    console.print(f"Tuning job [bold]{run}[/bold]")
    found = tuning_jobs.follow(deployment, run, _dimmed)
    _show_trials(found)
    if tuning_jobs.keep(deployment, name, cache, found) is not found:
        console.print("An earlier search found better settings: they are kept.")
    console.print(f"Next: kennel train {name}")


def weights(
    backbone: Annotated[
        str | None,
        typer.Argument(
            metavar="BACKBONE", help="resnet50, or the name of a model of timm, such as convnext_tiny.fb_in1k."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="File of torch.save or safetensors (default: download the weights)."),
    ] = None,
    stage: Stage = "dev",
) -> None:
    """Store pretrained weights of a backbone in the stage, for `kennel train --set backbone=BACKBONE`.

    Training jobs have no network. They read the weights that were last stored for their backbone. Weights are checked
    against the backbone before they are stored. Without FILE, they are downloaded from the Hugging Face hub, those of
    resnet50 from PyTorch's server. Check the license of the weights before you use the model.

    Without BACKBONE, list the stored weights.
    """
    deployment = DeployedStage(stage)
    if backbone is None:
        stored = backbone_weights.stored(deployment)
        for name, uri in sorted(stored.items()):
            console.print(f"{name}  [dim]{uri}[/dim]", soft_wrap=True)
        if not stored:
            console.print("No weights are stored. Store some: kennel weights BACKBONE")
        return
    if backbone in VENDORED:
        raise KennelError(f"{backbone} includes its weights.")
    with step(f"the weights of {backbone}"):
        network = backbone_weights.loaded(backbone, file)
        uri = backbone_weights.store(deployment, backbone, network)
    console.print(f"Stored: {uri}", soft_wrap=True)
    console.print(f"Next: kennel train --set backbone={backbone}")


def _usable(instance_type: str | None) -> None:
    if instance_type and (problem := instance_types.problem(instance_type, "training")):
        raise KennelError(f"--instance-type: {problem}.")


def report(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Training job or EC2 run (default: that of the newest model package)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output file (default: build/reports/RUN.html).")] = None,
    stage: Stage = "dev",
) -> None:
    """Download the HTML report of a model: accuracy with confidence intervals, confusions, calibration, mistakes."""
    deployment = DeployedStage(stage)
    run = run or packages.newest(deployment)
    file = packages.save_report(deployment, run, out or Path("build/reports") / f"{run}.html")
    _show_metrics(packages.describe(deployment, run)["metrics"])
    console.print(f"{file}", soft_wrap=True)


def _seconds(max_hours: int | None) -> int:
    return 3600 * max_hours if max_hours else training_jobs.Request.max_run_s


def _checked(settings: dict[str, str]) -> dict[str, str]:
    try:
        check_pairs(settings)
    except SettingsError as error:
        raise KennelError(str(error)) from None
    return settings


def _pushed(deployment: DeployedStage, dataset: str | None) -> str:
    """The name of the dataset, pushed now if it is a folder or an archive."""
    if dataset is not None and (Path(dataset).is_dir() or archives.is_archive(Path(dataset))):
        return push_folder(deployment, Path(dataset), None).name
    names = upload.names(deployment)
    if dataset is None and len(names) == 1:
        return names[0]
    if dataset is None:
        if not names:
            raise KennelError("There is no dataset yet: run `kennel data push FOLDER`.")
        raise KennelError(f"Which dataset? Name one of: {', '.join(names)}.")
    if dataset not in names:
        known = ", ".join(names) or "none yet"
        raise KennelError(f"{dataset} is neither a folder, an archive nor a dataset. Datasets: {known}.")
    return dataset


def _best(deployment: DeployedStage, dataset: str, given: dict[str, str]) -> dict[str, str]:
    """The best settings of the search on the dataset, less those given; says so."""
    found = tuning_jobs.result(deployment, dataset, given.get("backbone", DEFAULT_BACKBONE))
    best = {name: f"{value:g}" for name, value in (found.best if found else {}).items() if name not in given}
    if best and found:
        settings = ", ".join(f"{name}={float(value):.4g}" for name, value in best.items())
        console.print(f"With the best of {len(found.trials)} trials: {settings} [dim](--defaults ignores them)[/dim]")
    return best


def _dimmed(line: str) -> None:
    console.print(f"  [dim]{escape(line)}[/dim]", soft_wrap=True)


def _finish(deployment: DeployedStage, finished: training_jobs.JobResult, promote_it: bool) -> None:
    _show_metrics(finished.metrics)
    console.print(f"Model package: {finished.package_uri}", soft_wrap=True)
    if promote_it:
        promoted(deployment, *promotion.promote(deployment, finished.name))
    else:
        console.print(f"Next: kennel report {finished.name} · kennel promote {finished.name}", soft_wrap=True)


def promoted(deployment: DeployedStage, uri: str, description: dict[str, Any]) -> None:
    """Says what was promoted, and what comes next."""
    top1 = description["metrics"]["valid"]["top1"]
    console.print(f"Promoted [bold]{description['name']}[/bold] (validation top-1 {top1:.4f}): {uri}", soft_wrap=True)
    console.print(f"Next: make deploy STAGE={deployment.stage}")


def _show_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    table = Table("split", "images", "top-1", "95 %", "top-5", "loss", "ECE")
    for split, values in metrics.items():
        low, high = values["top1_interval"]
        table.add_row(
            split,
            str(values["pictures"]),
            f"{values['top1']:.4f}",
            f"{low:.3f} to {high:.3f}",
            f"{values['top5']:.4f}",
            f"{values['loss']:.4f}",
            f"{values['ece_calibrated']:.4f}",
        )
    console.print(table)


def _show_trials(found: tuning_jobs.Search | None) -> None:
    if found is None:
        raise KennelError("The job wrote no search result: see its log (kennel logs job).")
    settings = [Column(name, overflow="fold") for name in found.best]
    table = Table("trial", "top-1", "state", *settings, title=f"The best of {len(found.trials)} trials")
    for trial in found.trials[:SHOWN_TRIALS]:
        values = [f"{trial['settings'][name]:.3g}" for name in found.best]
        table.add_row(str(trial["number"]), f"{trial['value']:.4f}", trial["state"], *values)
    console.print(table)
