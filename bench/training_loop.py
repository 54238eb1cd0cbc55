"""Ours against the course's loop, on the same images, backbone and cores, in one run; and the speed of extraction.

    make bench-training DATA=folder      a folder with train/ and val/, one folder per class in each

Both run 8 trials of 5 epochs and a final training, for each seed. Ours starts from nothing each time: it checks the
images, computes the features, searches, trains, evaluates, and writes the model package with its report.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import course_loop
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from inference.processors import usable
from training import hpo
from training.data import dataset
from training.model import backbones, features

REPOSITORY = Path(__file__).resolve().parents[1]

RESULTS = REPOSITORY / "bench" / "results" / "training.json"
BACKBONE = "efficientnet_lite0"
REPEATS = 3
console = Console(highlight=False)


def main() -> None:
    """Runs the comparison and writes bench/results/training.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder with train/ and val/")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    for split in ("train", "val"):
        if not (arguments.data / split).is_dir():
            parser.error(f"{arguments.data} has no folder {split}: give a folder with train/ and val/")

    extraction = [_extraction(arguments.data) for _ in range(REPEATS)]
    _show_extraction(extraction)
    runs = []
    for seed in arguments.seeds:
        ours_s, ours = _timed(lambda seed=seed: _ours(arguments, seed))
        console.print(f"seed {seed}: ours {ours_s:.1f} s, top-1 {ours:.4f}")
        course_s, course = _timed(
            lambda seed=seed: course_loop.tune_and_train(
                arguments.data, BACKBONE, arguments.trials, arguments.epochs, seed
            )
        )
        console.print(f"seed {seed}: the course's loop {course_s:.1f} s, top-1 {course:.4f}")
        runs.append({"seed": seed, "ours_s": ours_s, "ours": ours, "baseline_s": course_s, "baseline": course})
    _show_runs(runs, arguments)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(_document(runs, extraction, arguments), indent=2) + "\n")
    console.print(f"Written: {RESULTS.relative_to(REPOSITORY)}")


def _ours(arguments: argparse.Namespace, seed: int) -> float:
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        sys.argv = [
            "hpo.py",
            *("--data", str(arguments.data), "--model-dir", f"{folder}/model", "--seed", str(seed)),
            *("--trials", str(arguments.trials), "--epochs", str(arguments.epochs), "--backbone", BACKBONE),
        ]
        with contextlib.redirect_stdout(nowhere):
            hpo.search(hpo.parse())
        torch.use_deterministic_algorithms(False)
        metrics = json.loads(Path(folder, "model", "metrics.json").read_text())
        return float(metrics["splits"]["valid"]["top1"])


def _extraction(folder: Path) -> dict[str, float]:
    """Images per second of the extraction, and of its two parts alone on the same cores."""
    data = dataset.load(folder, 1)
    backbone = backbones.named(BACKBONE)
    network = backbone.load(None)
    samples = data.splits["train"]
    count, views = len(samples), features.TRAIN_VIEWS
    batches = [samples[start : start + features.BATCH] for start in range(0, count, features.BATCH)]

    def decode(batch: list[dataset.Sample]) -> None:
        pixels = [features.views_of(s.path.read_bytes(), s.digest, backbone.input, views) for s in batch]
        for view in range(views):
            np.stack([item[view] for item in pixels])

    def infer(run: Callable[[Any], Any]) -> Callable[[list[dataset.Sample]], None]:
        def once(batch: list[dataset.Sample]) -> None:
            for _ in range(views):
                run(np.zeros((len(batch), backbone.size_px, backbone.size_px, 3), np.uint8))

        return once

    def on_all_cores(work: Callable[[Any], None]) -> float:
        with ThreadPoolExecutor(usable(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return count / _timed(lambda: list(pool.map(work, batches)))[0]

    own = infer(features.runner(backbone, network, "cpu", usable()))
    pytorch = infer(features.torch_runner(backbone, network, "cpu"))
    on_all_cores(own)  # the first batches are slower
    decoding, model, by_pytorch = on_all_cores(decode), on_all_cores(own), on_all_cores(pytorch)
    with tempfile.TemporaryDirectory() as root:
        only = dataset.Dataset(data.labels, {"train": samples}, data.fingerprint)
        extracting = count / _timed(lambda: features.cached(Path(root), only, backbone, network))[0]
    limit = 1 / (1 / decoding + 1 / model)
    return {
        "decode_per_s": decoding,
        "model_per_s": model,
        "pytorch_per_s": by_pytorch,
        "limit_per_s": limit,
        "extraction_per_s": extracting,
        "share": extracting / limit,
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def _show_extraction(measured: list[dict[str, float]]) -> None:
    table = Table(
        "images/s", "decode alone", "model alone", "by PyTorch", "limit of both", "extraction", "share",
        title=f"Extraction of {features.TRAIN_VIEWS} views, {len(os.sched_getaffinity(0))} cores",
    )  # fmt: skip
    for number, row in enumerate(measured, start=1):
        values = [
            row[name] for name in ("decode_per_s", "model_per_s", "pytorch_per_s", "limit_per_s", "extraction_per_s")
        ]
        table.add_row(f"run {number}", *(f"{value:.1f}" for value in values), f"{row['share']:.0%}")
    console.print(table)


def _show_runs(runs: list[dict[str, float]], arguments: argparse.Namespace) -> None:
    table = Table(
        "seed", "the course's loop", "top-1", "ours", "top-1", "times less",
        title=f"{arguments.trials} trials × {arguments.epochs} epochs and a final training, {arguments.data.name}",
    )  # fmt: skip
    for run in runs:
        table.add_row(
            str(run["seed"]),
            f"{run['baseline_s']:.1f} s",
            f"{run['baseline']:.4f}",
            f"{run['ours_s']:.1f} s",
            f"{run['ours']:.4f}",
            f"{run['baseline_s'] / run['ours_s']:.1f}",
        )
    table.add_section()
    middle = [statistics.median(run[name] for run in runs) for name in ("baseline_s", "baseline", "ours_s", "ours")]
    speedup = statistics.median(run["baseline_s"] / run["ours_s"] for run in runs)
    table.add_row(
        "median", f"{middle[0]:.1f} s", f"{middle[1]:.4f}", f"{middle[2]:.1f} s", f"{middle[3]:.4f}", f"{speedup:.1f}"
    )
    console.print(table)


def _document(
    runs: list[dict[str, float]], extraction: list[dict[str, float]], arguments: argparse.Namespace
) -> dict[str, Any]:
    speedups = [run["baseline_s"] / run["ours_s"] for run in runs]
    return {
        "speedup": round(statistics.median(speedups), 2),
        "speedup_spread": [round(min(speedups), 2), round(max(speedups), 2)],
        "top1_ours": statistics.median(run["ours"] for run in runs),
        "top1_baseline": statistics.median(run["baseline"] for run in runs),
        "extraction_share_of_limit": round(statistics.median(row["share"] for row in extraction), 3),
        "trials": arguments.trials,
        "epochs": arguments.epochs,
        "backbone": BACKBONE,
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "runs": runs,
        "extraction": extraction,
    }


if __name__ == "__main__":
    main()
