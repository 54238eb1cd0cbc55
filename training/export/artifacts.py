"""The artifacts of a training: the measured variants of its network, and the package of the one that is served."""

import argparse
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from inference.images import decode
from training.data import dataset
from training.data.label_issues import Doubt
from training.export import candidates, gates, model_package, report
from training.model import backbones, evaluation, head
from training.model.backbones import Backbone
from training.model.evaluation import Predictions
from training.model.serving_module import ServingModule
from training.progress import log_line, progress
from training.settings import FinetuneSettings, HeadSettings, settings_of

NETWORK = "network.pt"


@dataclass(frozen=True)
class TrainResult:
    """A backbone with its head, its logits by split, the samples in the order of the logits, and its epochs.

    `start` is what it was before its backbone was trained, if that was; `doubts` are about the images.
    """

    network: nn.Sequential
    scored: dict[str, Predictions]
    ordered: dict[str, list[dataset.Sample]]
    epochs: list[head.EpochMetrics]
    start: gates.Start | None = None
    doubts: list[Doubt] = field(default_factory=list)


def write(
    arguments: argparse.Namespace, data: dataset.Dataset, trained: TrainResult, search: report.Search | None
) -> None:
    """The package of `trained` in the model folder, with its metrics and its report. Raises gates.NoModel."""
    gates.require_numbers(trained.epochs, trained.scored, arguments.mode)
    gates.require_gain(trained.start, trained.scored["valid"])
    looked_at = "test" if "test" in trained.scored else "valid"
    # Before minutes are spent on its variants; what is served is judged once more.
    gates.require_skill(trained.scored[looked_at], looked_at)
    if gates.too_few(trained.scored[looked_at]):
        log_line(
            f"warning: {len(trained.ordered[looked_at])} images of {looked_at} are too few to tell if the model is good"
        )
    backbone = backbones.named(arguments.backbone)
    used = {**dataclasses.asdict(settings_of(HeadSettings, arguments)), "epochs": arguments.epochs}
    if arguments.mode == "finetune":
        finetuned = settings_of(FinetuneSettings, arguments, prefix="finetune_")
        used |= {f"finetune_{name}": value for name, value in dataclasses.asdict(finetuned).items()}
    used["seed"] = arguments.seed
    arguments.model_dir.mkdir(parents=True, exist_ok=True)
    # As it was trained, for whoever goes on with it: the package has what is served.
    torch.save(trained.network.state_dict(), arguments.checkpoint_dir / NETWORK)
    measured = _candidates(backbone, trained, arguments.model_dir)
    (kept,) = (one for one in measured if one.verdict == "served")
    scored = _as_served(kept, trained, backbone, arguments.model_dir)
    gates.require_skill(scored[looked_at], looked_at)
    temperature = evaluation.fit_temperature(scored["valid"])
    log_line(
        f"served by {kept.runtime} in {kept.precision}: {kept.ms:.1f} ms an image, {measured[0].ms:.1f} as trained"
    )
    story = report.ReportContext(
        name=f"{backbone.name}-{data.fingerprint[:8]}",
        facts={
            "backbone": backbone.name,
            "mode": arguments.mode,
            "dataset": data.fingerprint,
            "images": ", ".join(f"{len(samples)} {split}" for split, samples in data.splits.items()),
            **used,
            "torch": torch.__version__,
        },
        labels=data.labels,
        scored=scored,
        looked_at=looked_at,
        samples=trained.ordered[looked_at],
        temperature=temperature,
        epochs=[dataclasses.asdict(epoch) for epoch in trained.epochs],
        findings=data.findings,
        doubts=trained.doubts,
        search=search,
        variants=[one.document() for one in measured],
    )
    metrics = report.metrics(story)
    for split, values in metrics["splits"].items():
        low, high = values["top1_interval"]
        log_line(
            f"{split}_top1={values['top1']:.4f} (95 %: {low:.4f} to {high:.4f}) {split}_top5={values['top5']:.4f} "
            f"{split}_loss={values['loss']:.4f} {split}_ece={values['ece_calibrated']:.4f}"
        )
    (arguments.model_dir / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    report.write(arguments.model_dir / "report.html", story)
    model_package.write(
        arguments.model_dir,
        data.labels,
        kept,
        {
            "name": story.name,
            "backbone": backbone.name,
            "mode": arguments.mode,
            "input": {**dataclasses.asdict(backbone.input), "mean": backbone.mean, "std": backbone.std},
            "temperature": temperature,
            "dataset": {"fingerprint": data.fingerprint, **{s: len(v) for s, v in data.splits.items()}},
            "skipped": data.skipped,
            "metrics": metrics["splits"],
            "hyperparameters": used,
        },
    )


def _candidates(backbone: Backbone, trained: TrainResult, folder: Path) -> list[candidates.Candidate]:
    """All variants of the network, in `folder`, calibrated on training images and measured on validation images."""
    log_line("exporting and quantising the model")
    served = ServingModule(trained.network.float(), backbone.mean, backbone.std)
    train = trained.ordered["train"]
    calibration = [train[place].path for place in _spread(len(train), candidates.CALIBRATION_IMAGES)]
    candidates.export(
        served, backbone.size_px, [decode(file.read_bytes(), backbone.input) for file in calibration], folder
    )
    valid = _spread(len(trained.ordered["valid"]), candidates.MAX_IMAGES)
    scored, shown = trained.scored["valid"], progress()
    return candidates.candidates(
        served,
        folder,
        backbone.input,
        [trained.ordered["valid"][place].path for place in valid],
        Predictions(scored.logits[valid], scored.targets[valid]),
        lambda done, of: shown("variants of the model measured", done, of),
    )


def _as_served(
    kept: candidates.Candidate, trained: TrainResult, backbone: Backbone, folder: Path
) -> dict[str, Predictions]:
    """The logits by split, those of validation and test images as the variant that is served gives them."""
    scored = dict(trained.scored)
    for split in ("valid", "test"):
        if split not in scored:
            continue
        samples = trained.ordered[split]
        if split == "valid" and len(samples) <= candidates.MAX_IMAGES:
            logits = kept.logits  # it was measured on all of them
        else:
            shown = progress()
            logits = candidates.logits(
                kept, folder, [one.path for one in samples], backbone.input,
                lambda done, of, shown=shown, split=split: shown(f"{split} images classified as served", done, of),
            )  # fmt: skip
        scored[split] = Predictions(torch.from_numpy(np.stack(logits)), scored[split].targets)
    return scored


def _spread(count: int, most: int) -> list[int]:
    """At most so many places of `count`, evenly over all."""
    return list(range(0, count, -(-count // most)))
