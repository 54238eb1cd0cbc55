"""Trains a classifier on a folder of pictures: frozen backbone, new head. Pictures in, model package out.

Runs as a SageMaker training job (contract.py), on EC2, or by hand:
    python training/train.py --data FOLDER --model-dir OUT
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CODE = Path(__file__).resolve().parent.parent
# The served code decodes pictures for training too; vendor/ is there in the asset, with what the container lacks.
sys.path[:0] = [str(CODE / "inference"), str(CODE / "vendor")]

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import contract
import dataset
import package
from backbones import BACKBONES, HUB, Backbone, WeightsError
from images import decode, normalise

FEATURE_BATCH = 16
PROGRESS_S = 2.0


def main() -> int:
    """Returns the exit status; the reason of a failure goes to standard error and where SageMaker looks for it."""
    arguments = _parse()
    try:
        train(arguments)
    except (dataset.DatasetError, WeightsError) as error:
        message = f"Training failed: {error}"
        contract.report_failure(message)
        print(message, file=sys.stderr, flush=True)
        return 1
    return 0


def train(arguments: argparse.Namespace) -> None:
    """Loads the pictures, computes their features once, trains the head on them, writes metrics and package."""
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    np.random.seed(arguments.seed)
    torch.use_deterministic_algorithms(True)
    started = time.perf_counter()

    backbone = BACKBONES[arguments.backbone]
    network = backbone.load(_weights(arguments))
    data = dataset.load(arguments.data, arguments.seed, arguments.valid_fraction)
    counts = ", ".join(f"{len(samples)} {split}" for split, samples in data.splits.items())
    _say(f"{len(data.labels)} classes, pictures: {counts}; dataset {data.fingerprint[:12]}")
    for reason in data.skipped:
        _say(f"skipped {reason}")
    if data.skipped:
        _say(f"skipped {len(data.skipped)} unreadable picture(s)")

    features = {
        split: _features(split, samples, backbone, network, flipped=split == "train")
        for split, samples in data.splits.items()
    }
    head = _train_head(features["train"], features["valid"], backbone.features, len(data.labels), arguments)

    metrics = {split: _evaluate(head, *features[split]) for split in features}
    for split, values in metrics.items():
        _say(" ".join(f"{split}_{name}={value:.4f}" for name, value in values.items()))
    package.write(
        arguments.model_dir,
        nn.Sequential(network, head),
        data.labels,
        {
            "name": f"{backbone.name}-{data.fingerprint[:8]}",
            "backbone": backbone.name,
            "input": {"size_px": backbone.size_px, "mean": backbone.mean, "std": backbone.std},
            "dataset": {"fingerprint": data.fingerprint, **{s: len(v) for s, v in data.splits.items()}},
            "skipped": data.skipped,
            "metrics": metrics,
            "hyperparameters": {name: getattr(arguments, name) for name in HYPERPARAMETERS},
        },
    )
    _say(f"model package written, {time.perf_counter() - started:.1f} s in all")


def _features(
    split: str, samples: list[dataset.Sample], backbone: Backbone, network: nn.Module, flipped: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The features (N, backbone.features) and labels (N,) of a split, mirrored pictures included if `flipped`."""
    rows, labels, said = [], [], time.monotonic()
    for batch, pixels in _batches(samples, backbone.size_px):
        views = [pixels, pixels[:, :, ::-1]] if flipped else [pixels]
        for view in views:
            inputs = torch.from_numpy(normalise(view, backbone.mean, backbone.std))
            with torch.inference_mode():
                rows.append(network(inputs.to(memory_format=torch.channels_last)))
            labels += [sample.label for sample in batch]
        if time.monotonic() - said > PROGRESS_S:
            said = time.monotonic()
            _say(f"features of {split}: {len(labels) // len(views)} of {len(samples)} pictures")
    return torch.cat(rows).clone(), torch.tensor(labels)


def _batches(samples: list[dataset.Sample], size_px: int) -> Iterator[tuple[list[dataset.Sample], np.ndarray]]:
    """Batches of decoded pixels (n, size_px, size_px, 3), the next one decoded while one is in use."""
    batches = [samples[start : start + FEATURE_BATCH] for start in range(0, len(samples), FEATURE_BATCH)]

    def read(batch: list[dataset.Sample]) -> np.ndarray:
        return np.stack([decode(sample.path.read_bytes(), size_px) for sample in batch])

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, batches[0])
        for index, batch in enumerate(batches):
            pixels = coming.result()
            if index + 1 < len(batches):
                coming = reader.submit(read, batches[index + 1])
            yield batch, pixels


def _train_head(
    train_set: tuple[torch.Tensor, torch.Tensor],
    valid_set: tuple[torch.Tensor, torch.Tensor],
    features: int,
    classes: int,
    arguments: argparse.Namespace,
) -> nn.Module:
    inputs, targets = train_set
    head = nn.Linear(features, classes)
    optimiser = torch.optim.AdamW(head.parameters(), lr=arguments.learning_rate, weight_decay=arguments.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, arguments.epochs)
    for epoch in range(1, arguments.epochs + 1):
        total = 0.0
        for rows in torch.split(torch.randperm(len(inputs)), arguments.batch_size):
            loss = F.cross_entropy(head(inputs[rows]), targets[rows], label_smoothing=arguments.label_smoothing)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            total += loss.item() * len(rows)
        schedule.step()
        valid = _evaluate(head, *valid_set)
        _say(f"epoch={epoch} train_loss={total / len(inputs):.4f} valid_top1={valid['top1']:.4f}")
    return head.eval().requires_grad_(False)


def _evaluate(head: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    with torch.no_grad():
        logits = head(inputs)
    return {
        "top1": float((logits.argmax(1) == targets).float().mean()),
        "loss": float(F.cross_entropy(logits, targets)),
    }


def _weights(arguments: argparse.Namespace) -> str | None:
    """The weights asked for; by default those in the channel of that name."""
    if arguments.weights is None and (folder := contract.channel("weights")):
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        if len(files) != 1:
            raise WeightsError(f"the channel weights must hold one file, it holds {len(files)}")
        return str(files[0])
    return arguments.weights if arguments.weights in (None, HUB) else str(Path(arguments.weights).resolve())


def _say(message: str) -> None:
    print(f"kennel: {message}", flush=True)


HYPERPARAMETERS = ("epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing", "seed")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=contract.channel("training"), help="the channel `training`")
    parser.add_argument("--model-dir", type=Path, default=contract.model_dir(), help="where the package is written")
    parser.add_argument("--backbone", choices=sorted(BACKBONES), default="efficientnet_lite0")
    parser.add_argument("--weights", help="a file with a state dict, or `hub`; default: vendored, or channel `weights`")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--valid-fraction", type=float, default=0.2, help="held out if the folder has no split")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(contract.arguments())
    if arguments.data is None:
        parser.error("no pictures: give --data FOLDER, or a channel named training")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
