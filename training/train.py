"""Trains a classifier on a folder of images and writes its model package. Images in, model package out.

    --mode head      trains a new head on the cached features of a frozen backbone: seconds, once they are cached
    --mode finetune  then trains the whole network, on one or more processes

Runs as a SageMaker training job (sagemaker_env.py), on EC2, or by hand:
    python -m training.train --data FOLDER --model-dir OUT
"""

import argparse
import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

# First: the others import what it brings.
from training.export import wheels  # isort: split

wheels.make_importable()

import numpy as np
import torch
from torch import nn

from training import sagemaker_env
from training.data import dataset, label_issues
from training.data.findings import ERROR
from training.export import artifacts, gates, report
from training.model import backbones, distributed, features, finetune, head
from training.model.backbones import HUB, WeightsError
from training.model.checkpoint import Checkpoint
from training.model.distributed import Group
from training.model.evaluation import Predictions
from training.model.features import Cache
from training.progress import log_line, progress
from training.settings import FinetuneSettings, HeadSettings, SettingsError, add_arguments, check, settings_of

FINDINGS_SAID = 10
DOUBTS_SAID = 5


def main() -> int:
    """Returns the exit status; the reason of a failure goes to standard error and where SageMaker looks for it."""
    arguments = parse(parser())
    if arguments.mode == "finetune":
        distributed.launch("training.train", arguments.processes_per_host)
    return run(lambda: train(arguments))


def run(training: Any) -> int:
    """Runs `training` and turns what can go wrong into an exit status and a message."""
    try:
        training()
    except finetune.Interrupted as interruption:
        log_line(f"interrupted: {interruption}; the next run goes on from the checkpoint")
        return 128 + 15  # as a process ended by SIGTERM
    except (dataset.DatasetError, WeightsError, features.CacheError, wheels.WheelError, gates.NoModel) as error:
        message = f"Training failed: {error}"
        sagemaker_env.report_failure(message)
        print(message, file=sys.stderr, flush=True)
        return 1
    return 0


def train(
    arguments: argparse.Namespace, data: dataset.Dataset | None = None, search: report.Search | None = None
) -> None:
    """Loads the images unless they are given, trains, writes the package with its metrics and its report."""
    started = time.perf_counter()
    seed_everything(arguments.seed)
    with distributed.group() as group:
        backbone = backbones.named(arguments.backbone)
        network = backbone.load(weights(arguments))
        data = data or load_data(arguments, group)
        settings = settings_of(HeadSettings, arguments)
        whole = nn.Sequential(network, head.build(backbone.features, len(data.labels), settings.hidden))
        epochs: list[head.EpochMetrics] = []

        def after_epoch(epoch: head.EpochMetrics) -> None:
            epochs.append(epoch)
            if group.first:
                log_line(str(epoch))

        if arguments.mode == "finetune":
            trained = _finetune(arguments, data, whole, group)
        else:
            cache = features.cached(arguments.checkpoint_dir / "features", data, backbone, network, progress())
            whole[1] = head.train(
                cache.splits["train"],
                cache.splits["valid"],
                len(data.labels),
                settings,
                epochs=arguments.epochs,
                seed=arguments.seed,
                after_epoch=after_epoch,
            )
            ordered = {split: features.in_order(samples) for split, samples in data.splits.items()}
            trained = artifacts.TrainResult(
                whole, _scored(whole[1], cache), ordered, epochs, doubts=_doubts(cache, data)
            )
        if group.first:
            artifacts.write(arguments, data, trained, search or _search(arguments, data))
            log_line(f"model package written, {time.perf_counter() - started:.1f} s in all")


def _finetune(
    arguments: argparse.Namespace, data: dataset.Dataset, whole: nn.Sequential, group: Group
) -> artifacts.TrainResult:
    backbone = backbones.named(arguments.backbone)
    settings = settings_of(FinetuneSettings, arguments, prefix="finetune_")
    told = {**vars(arguments), "checkpoint_dir": None, "model_dir": None, "data": data.fingerprint}
    run = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
    checkpoint = Checkpoint(arguments.checkpoint_dir, run)
    start: gates.Start | None = None
    found: list[label_issues.Doubt] = []
    if group.first:
        cache = features.cached(
            arguments.checkpoint_dir / "features", data, backbone, whole[0], progress(), str(group.device)
        )
        found = _doubts(cache, data)
    if group.first and checkpoint.load() is None:
        log_line("the head first, on the features of the frozen backbone")
        whole[1] = head.train(
            cache.splits["train"],
            cache.splits["valid"],
            len(data.labels),
            settings_of(HeadSettings, arguments),
            epochs=arguments.epochs,
            seed=arguments.seed,
        )
        start = gates.Start(*head.score(whole[1], cache.splits["valid"]))
        log_line(f"head: valid_top1={start.top1:.4f}")
    whole[1].load_state_dict(group.from_first(whole[1].state_dict()))
    finetuning = finetune.Finetuning(whole, backbone, data, settings, group, checkpoint, start)
    if group.first:
        log_line(f"then the whole network: {group.size} process(es) on {group.device.type}")
    trained = finetuning.run(lambda epoch: log_line(str(epoch)) if group.first else None)
    scored = {split: finetuning.logits(trained, split) for split in data.splits}
    if group.first:
        checkpoint.remove()
    return artifacts.TrainResult(trained.cpu(), scored, data.splits, finetuning.history, finetuning.start, found)


def _doubts(cache: Cache, data: dataset.Dataset) -> list[label_issues.Doubt]:
    """Images with label issues by their features; logs their number, and the first ones."""
    found = label_issues.of(cache, data)
    for kind, what in (
        (label_issues.LABEL, "has a likely wrong label"),
        (label_issues.OUTLIER, "is unlike all others"),
    ):
        same = [one for one in found if one.kind == kind]
        for one in same[:DOUBTS_SAID]:
            like = "" if one.looks_like is None else f": it looks like {data.labels[one.looks_like]!r}"
            log_line(f"doubtful: {one.split} {data.labels[one.sample.label]!r} {one.sample.path.name} {what}{like}")
        if len(same) > DOUBTS_SAID:
            log_line(f"doubtful: {len(same)} in all; the report shows more")
    return found


def _scored(trained: nn.Module, cache: Cache) -> dict[str, Predictions]:
    return {
        split: Predictions(
            torch.cat([values for _, values in head.logits(trained, rows)]), torch.from_numpy(rows.labels)
        )
        for split, rows in cache.splits.items()
    }


def _search(arguments: argparse.Namespace, data: dataset.Dataset) -> report.Search | None:
    """The search that these settings come from, where the checkpoints have one of the same data and backbone."""
    file = search_file(arguments, data)
    if not file.is_file():
        return None
    document = json.loads(file.read_text())
    return report.Search(document["trials"], document["best"])


def search_file(arguments: argparse.Namespace, data: dataset.Dataset) -> Path:
    """The file with the result of the search over this data and backbone."""
    folder: Path = arguments.checkpoint_dir / "tuning"
    return folder / f"{arguments.backbone}-{data.fingerprint[:16]}.json"


def load_data(arguments: argparse.Namespace, group: Group | None = None) -> dataset.Dataset:
    """Reads and checks the images, and says what was found."""
    speaks = group is None or group.first
    shown = progress()
    data = dataset.load(
        arguments.data,
        arguments.seed,
        arguments.valid_fraction,
        (lambda done, count: shown("checked", done, count)) if speaks else None,
    )
    if speaks:
        counts = ", ".join(f"{len(samples)} {split}" for split, samples in data.splits.items())
        log_line(f"{len(data.labels)} classes, images: {counts}; dataset {data.fingerprint[:12]}")
        for reason in data.skipped:
            log_line(f"skipped {reason}")
        if data.skipped:
            log_line(f"skipped {len(data.skipped)} unreadable image(s)")
        other = [item for item in data.findings if item.severity != ERROR and item.kind != "unreadable"]
        for finding in other[:FINDINGS_SAID]:
            log_line(f"{finding.severity}: {finding}")
        if len(other) > FINDINGS_SAID:
            log_line(f"{len(other) - FINDINGS_SAID} more findings; `kennel data check` shows all")
    return data


def seed_everything(seed: int) -> None:
    """The same seed gives the same model, bit by bit, on the same machine."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    # cuBLAS needs this to be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def weights(arguments: argparse.Namespace) -> str | None:
    """The requested weights; by default those in the channel of that name."""
    if arguments.weights is None and (folder := sagemaker_env.channel("weights")):
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        if len(files) != 1:
            raise WeightsError(f"the channel weights must have one file, it has {len(files)}")
        return str(files[0])
    return arguments.weights if arguments.weights in (None, HUB) else str(Path(arguments.weights).resolve())


def parser() -> argparse.ArgumentParser:
    """The arguments that training and search share."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = _Parser(description=sys.modules["__main__"].__doc__, formatter_class=formatter)
    parser.add_argument("--data", type=Path, default=sagemaker_env.channel("training"), help="the channel `training`")
    parser.add_argument(
        "--model-dir", type=Path, default=sagemaker_env.model_dir(), help="where the package is written"
    )
    parser.add_argument(
        "--checkpoint-dir", type=Path, default=sagemaker_env.checkpoint_dir(),
        help="features, searches and checkpoints are kept here; by default beside the package",
    )  # fmt: skip
    add_arguments(parser)
    return parser


class _Parser(argparse.ArgumentParser):
    """Leaves its errors where SageMaker looks for the reason of a failed job, too."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with status 2."""
        sagemaker_env.report_failure(f"Training failed: {message}")
        super().error(message)


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, from the command line and from the job's hyperparameters."""
    arguments = parser.parse_args(sagemaker_env.arguments())
    try:
        check(arguments)
    except SettingsError as error:
        parser.error(str(error))
    # A trial of the tuner trains on features alone.
    if arguments.data is None and not getattr(arguments, "trial", 0):
        parser.error("no images: give --data FOLDER, or a channel named training")
    if arguments.checkpoint_dir is None:
        arguments.checkpoint_dir = arguments.model_dir.parent / "checkpoints"
    return arguments


if __name__ == "__main__":
    sys.exit(main())
