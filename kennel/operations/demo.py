"""The whole path on one machine: deploy, train, serve, invoke. Only the endpoint's environment differs from AWS."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from rich.markup import escape
from rich.table import Table

from infra import names
from kennel.client import batch, function_url
from kennel.console import console, step
from kennel.datasets import archives, sample, upload
from kennel.jobs import training_jobs
from kennel.local import control
from kennel.local.sagemaker.s3_transfer import download
from kennel.local.settings import isolate
from kennel.models import promotion
from kennel.operations import account_bootstrap
from kennel.stage.cdk import cdk
from kennel.stage.deployed import REPOSITORY, DeployedStage
from kennel.stage.embedded_aws import TABLES

BUILD = REPOSITORY / "build"
REPORT = BUILD / "demo.json"
CDK_LOG = BUILD / "demo-cdk.log"
SHOWN = 12
CALLS_AT_ONCE = 4
CALLER = "kennel-demo-caller"
SEED = 1


@dataclass(frozen=True)
class Held:
    """An image that training never saw, and its true label."""

    path: Path
    label: str


def run(folder: Path | None, *, keep: bool, stage: str) -> None:
    """Runs the demo on `folder`, which may be an archive, or on the sample set; writes build/demo.json."""
    CDK_LOG.unlink(missing_ok=True)
    seconds: dict[str, float] = {}
    started = time.monotonic()

    with ExitStack() as stack:
        if folder is not None and archives.is_archive(folder):
            with step(f"{folder.name} unpacked", seconds) as progress:
                folder = stack.enter_context(archives.unpacked(folder, _every(50, progress)))
        folder, held, labels = _images(folder, seconds)
        with step("Embedded AWS started", seconds):
            server = stack.enter_context(control.running(tables=TABLES, region=DeployedStage(stage).region, keep=keep))
        isolate(*server.access)
        report = _on(folder, held, stage, seconds)
        if not keep:
            with step("Embedded AWS stopped", seconds):
                stack.close()

    report["seconds"] = {**seconds, "total": round(time.monotonic() - started, 2)}
    report["labels"] = labels
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    _show(report, server, keep)


def _images(folder: Path | None, seconds: dict[str, float]) -> tuple[Path, list[Held], list[str]]:
    """The folder, the images in it that training will not see, and the class names."""
    if folder is None:
        folder = BUILD / "sample"
        with step("Sample dataset generated", seconds):
            sample.write(folder)
    folder = folder.resolve()
    with step("Images checked", seconds):
        # The job's own code decides what is held out.
        loaded = upload.check(folder, SEED)
    for reason in loaded.skipped:
        console.print(f"  [yellow]skipped[/yellow] {escape(reason)}", soft_wrap=True)
    samples = loaded.splits.get("test") or loaded.splits["valid"]
    return folder, [Held(item.path, loaded.labels[item.label]) for item in samples], loaded.labels


def _on(folder: Path, held: list[Held], stage: str, seconds: dict[str, float]) -> dict[str, Any]:
    deployment, env = DeployedStage(stage), dict(os.environ)
    deploy = ["deploy", "--require-approval", "never", "--progress", "events"]
    with step("cdk bootstrap", seconds) as progress:
        target, arguments = account_bootstrap.prepare(deployment)
        cdk("bootstrap", target, *arguments, env=env, log=CDK_LOG, progress=progress)
    with step("cdk deploy Data, Training", seconds) as progress:
        stacks = [names.stack(stage, part) for part in ("Data", "Training")]
        cdk(*deploy, "-c", f"stage={stage}", *stacks, env=env, log=CDK_LOG, progress=progress)
    with step("Images uploaded", seconds) as progress:
        pushed = upload.push(deployment, folder, upload.name_of(folder), _every(50, progress), replace=True)
    with step("Training job", seconds) as progress:
        name = training_jobs.start(deployment, training_jobs.Request(pushed.name, hyperparameters={"seed": str(SEED)}))
        finished = training_jobs.follow(deployment, name, progress)
    with step("Model package promoted", seconds):
        package_uri, _ = promotion.promote(deployment, finished.name)
    with step("cdk deploy Serving, Api, Operations", seconds) as progress:
        stacks = [names.stack(stage, part) for part in ("Serving", "Api", "Operations")]
        # All stacks were synthesized for the first two.
        cdk(*deploy, "--app", "cdk.out", *stacks, env=env, log=CDK_LOG, progress=progress)
    with step(f"{len(held)} signed calls of the function URL", seconds) as progress:
        url = function_url.Url(deployment, _caller(deployment))
        answers = _call(url, held, progress)
    with step("Same images, predictor in process", seconds) as progress:
        direct = _direct(deployment, package_uri, held, progress)

    predictions = [
        {
            "image": item.path.relative_to(folder).as_posix(),
            "label": item.label,
            "predicted": answer.label,
            "probability": answer.document["predictions"][0]["probability"] if answer.status == 200 else None,
            "status": answer.status,
            "direct": same,
        }
        for item, answer, same in zip(held, answers, direct, strict=True)
    ]
    answered = [row for row in predictions if row["status"] == 200]
    return {
        "top1": _share(row["predicted"] == row["label"] for row in answered),
        "agreement": _share(row["predicted"] == row["direct"] for row in answered),
        "refused": len(predictions) - len(answered),
        "metrics": finished.metrics,
        "dataset": str(folder),
        "job": finished.name,
        "package": package_uri,
        "url": url.url,
        "predictions": predictions,
    }


def _caller(deployment: DeployedStage) -> boto3.Session:
    """A user who may call the URL and nothing else: the policy that the Api stack makes for callers, proven in use."""
    iam = deployment.client("iam")
    iam.create_user(UserName=CALLER)
    iam.attach_user_policy(UserName=CALLER, PolicyArn=deployment.output("Api", "CallersPolicyArn"))
    key = iam.create_access_key(UserName=CALLER)["AccessKey"]
    return boto3.Session(aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])


def _call(url: function_url.Url, held: list[Held], progress: Any) -> list[function_url.Answer]:
    def call(item: Held) -> function_url.Answer:
        body = batch.sendable(item.path.read_bytes())
        return url.call(body, str(batch.content_type(body)))

    answers = []
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        for answer in pool.map(call, held):
            answers.append(answer)
            _every(25, progress)(len(answers), len(held))
    return answers


def _direct(deployment: DeployedStage, package_uri: str, held: list[Held], progress: Any) -> list[str]:
    """The labels that the package's own predictor gives, without any server."""
    package = BUILD / "demo-package"
    download(deployment.session, os.environ["AWS_ENDPOINT_URL"], package_uri, package)
    from inference.predictor import Predictor
    from inference.processors import usable

    model, labels = Predictor(package, usable()), list[str]()
    with ThreadPoolExecutor(usable()) as pool:
        for predictions in pool.map(lambda item: model.predict(item.path.read_bytes(), top_k=1), held):
            labels.append(predictions[0]["label"])
            _every(25, progress)(len(labels), len(held))
    return labels


def _every(count: int, progress: Any) -> Any:
    def show(done: int, total: int) -> None:
        if done % count == 0 or done == total:
            progress(f"{done} of {total}")

    return show


def _share(truths: Any) -> float:
    values: list[bool] = list(truths)
    return round(sum(values) / max(1, len(values)), 4)


def _show(report: dict[str, Any], server: control.Running, keep: bool) -> None:
    rows = report["predictions"]
    table = Table("image", "true label", "predicted", "probability", title="Predictions for unseen images")
    shown = min(SHOWN, len(rows))
    for row in (rows[index * len(rows) // shown] for index in range(shown)):
        colour = "green" if row["predicted"] == row["label"] else "red"
        probability = "" if row["probability"] is None else f"{row['probability']:.3f}"
        table.add_row(
            escape(row["image"]),
            escape(row["label"]),
            f"[{colour}]{escape(row['predicted'])}[/{colour}]",
            probability,
        )
    console.print(table)
    timings = Table("step", "seconds", title="Durations")
    for name, value in report["seconds"].items():
        timings.add_row(name, f"{value:.1f}", end_section=name == list(report["seconds"])[-2])
    console.print(timings)
    answered = len(rows) - report["refused"]
    console.print(
        f"[bold]Top-1 {report['top1']:.1%}[/bold] on {answered} images through the URL; "
        f"same label as the predictor in process: {report['agreement']:.1%}"
    )
    if report["refused"]:
        console.print(f"[red]{report['refused']} image(s) got no prediction[/red]; they are not counted.")
    console.print(f"Results: {os.path.relpath(REPORT)} · CDK's output: {os.path.relpath(CDK_LOG)}")
    if keep:
        console.print(f"The embedded AWS is still running at {server.endpoint}. Next:")
        console.print('  eval "$(.venv/bin/kennel local env)" && .venv/bin/kennel predict IMAGE…', markup=False)
        console.print("  make diff · make down", markup=False)
    else:
        console.print("Next: make demo KEEP=1 to look around, or README.md, to do the same on AWS.")
