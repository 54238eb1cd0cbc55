"""What a training leaves: the variants of its network, measured, and the package of the one that is served."""

import argparse
import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import dataset
import evaluation
import head
import package
import report
import variants
from backbones import BACKBONES, Backbone
from evaluation import Scored
from images import decode
from progress import progress, say
from settings import FinetuneSettings, HeadSettings, settings_of

NETWORK = "network.pt"


@dataclass(frozen=True)
class Trained:
    """A backbone with its head, its logits by split, the samples in the order of the logits, and its epochs."""

    network: nn.Sequential
    scored: dict[str, Scored]
    ordered: dict[str, list[dataset.Sample]]
    epochs: list[head.Epoch]


def write(arguments: argparse.Namespace, data: dataset.Dataset, trained: Trained, search: report.Search | None) -> None:
    """The package of `trained` in the model folder, with its metrics and its report. Raises variants.NoModel."""
    scored = trained.scored
    _require_numbers(trained, arguments.mode)
    backbone = BACKBONES[arguments.backbone]
    looked_at = "test" if "test" in scored else "valid"
    temperature = evaluation.fit_temperature(scored["valid"])
    used = {**dataclasses.asdict(settings_of(HeadSettings, arguments)), "epochs": arguments.epochs}
    if arguments.mode == "finetune":
        finetuned = settings_of(FinetuneSettings, arguments, prefix="finetune_")
        used |= {f"finetune_{name}": value for name, value in dataclasses.asdict(finetuned).items()}
    used["seed"] = arguments.seed
    arguments.model_dir.mkdir(parents=True, exist_ok=True)
    # As it was trained, for whoever goes on with it: the package has what is served.
    torch.save(trained.network.state_dict(), arguments.checkpoint_dir / NETWORK)
    candidates = _candidates(backbone, trained, arguments.model_dir)
    (kept,) = (one for one in candidates if one.verdict == "served")
    say(f"served by {kept.runtime} in {kept.precision}: {kept.ms:.1f} ms a picture, {candidates[0].ms:.1f} as trained")
    story = report.Story(
        name=f"{backbone.name}-{data.fingerprint[:8]}",
        facts={
            "backbone": backbone.name,
            "mode": arguments.mode,
            "dataset": data.fingerprint,
            "pictures": ", ".join(f"{len(samples)} {split}" for split, samples in data.splits.items()),
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
        search=search,
        variants=[one.document() for one in candidates],
    )
    metrics = report.metrics(story)
    for split, values in metrics["splits"].items():
        low, high = values["top1_interval"]
        say(
            f"{split}_top1={values['top1']:.4f} (95 %: {low:.4f} to {high:.4f}) {split}_top5={values['top5']:.4f} "
            f"{split}_loss={values['loss']:.4f} {split}_ece={values['ece_calibrated']:.4f}"
        )
    (arguments.model_dir / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    report.write(arguments.model_dir / "report.html", story)
    package.write(
        arguments.model_dir,
        data.labels,
        kept,
        {
            "name": story.name,
            "backbone": backbone.name,
            "mode": arguments.mode,
            "input": {"size_px": backbone.size_px, "mean": backbone.mean, "std": backbone.std},
            "temperature": temperature,
            "dataset": {"fingerprint": data.fingerprint, **{s: len(v) for s, v in data.splits.items()}},
            "skipped": data.skipped,
            "metrics": metrics["splits"],
            "hyperparameters": used,
        },
    )


def _require_numbers(trained: Trained, mode: str) -> None:
    bad = [epoch.number for epoch in trained.epochs if not math.isfinite(epoch.train_loss + epoch.loss)]
    if bad or not all(bool(scored.logits.isfinite().all()) for scored in trained.scored.values()):
        since = f" since epoch {bad[0]}" if bad else ""
        setting = "finetune_learning_rate" if mode == "finetune" else "learning_rate"
        raise variants.NoModel(f"the loss is not a number{since}: lower {setting} (--set {setting}=VALUE)")


def _candidates(backbone: Backbone, trained: Trained, folder: Path) -> list[variants.Variant]:
    """All variants of the network, in `folder`, calibrated on training pictures and measured on validation pictures."""
    say("exporting and quantising the model")
    served = variants.Served(trained.network.float(), backbone.mean, backbone.std)
    size = backbone.size_px
    calibration = _spread(trained.ordered["train"], variants.CALIBRATION_PICTURES)
    variants.export(served, size, [decode(one.path.read_bytes(), size) for one in calibration], folder)
    pictures = [(one.path, one.label) for one in _spread(trained.ordered["valid"], variants.MAX_PICTURES)]
    shown = progress()
    return variants.candidates(
        served, folder, size, pictures, lambda done, of: shown("variants of the model measured", done, of)
    )


def _spread(samples: list[dataset.Sample], most: int) -> list[dataset.Sample]:
    """At most so many, evenly over all."""
    return samples[:: -(-len(samples) // most)]
