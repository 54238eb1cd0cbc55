"""Time and memory of a search over many cached features.

    make bench-tuning        50 trials on 10,000 images × 4 views × 1280 features; memory against 1,000 images

The features are drawn, not computed: 133 classes that overlap. Each measurement is a process of its own.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from training import hpo
from training.model.features import TRAIN_VIEWS, Cache, Features

REPOSITORY = Path(__file__).resolve().parents[1]

RESULTS = REPOSITORY / "bench" / "results" / "tuning.json"
CLASSES, WIDTH = 133, 1280
VALID_SHARE = 0.2
console = Console(highlight=False)


def main() -> None:
    """Measures each number of images and writes bench/results/tuning.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--draw", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.draw:
        _draw(Path(arguments.draw[1]), int(arguments.draw[0]))
        return
    if arguments.one:
        print(json.dumps(_measure(arguments.one, arguments.trials)))
        return
    runs = {count: [_in_a_process(count, arguments) for _ in range(arguments.repeats)] for count in arguments.images}
    table = Table(
        "images", "seconds", "peak memory", title=f"{arguments.trials} trials, {WIDTH} features, {CLASSES} classes"
    )
    for count, measured in runs.items():
        seconds = [run["seconds"] for run in measured]
        memory = [run["peak_mib"] for run in measured]
        table.add_row(
            f"{count:,}",
            f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})",
            f"{statistics.median(memory):.0f} MiB ({min(memory):.0f} to {max(memory):.0f})",
        )
    console.print(table)
    peaks = [statistics.median(run["peak_mib"] for run in measured) for measured in runs.values()]
    document = {
        "trials": arguments.trials,
        "cores": len(os.sched_getaffinity(0)),
        "memory_growth": round(max(peaks) / min(peaks) - 1, 3),
        "runs": {str(count): measured for count, measured in runs.items()},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    console.print(f"Memory grows by {document['memory_growth']:.1%}. Written: {RESULTS.relative_to(REPOSITORY)}")


def _in_a_process(count: int, arguments: argparse.Namespace) -> dict[str, float]:
    with console.status(f"{count:,} images"):
        command = [sys.executable, __file__, "--one", str(count), "--trials", str(arguments.trials)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(answer.stdout.strip().splitlines()[-1])
    return measured


def _measure(count: int, trials: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: what writing the features takes is not the search's.
        subprocess.run([sys.executable, __file__, "--draw", str(count), folder], check=True)
        cache = _cache(Path(folder), count)
        sys.argv = ["hpo.py", "--data", folder, "--trials", str(trials)]
        started = time.perf_counter()
        found = hpo.find(cache, Path(folder) / "search.journal", hpo.parse())
        seconds = time.perf_counter() - started
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak_mib": peak_kib / 1024, "top1": found.trials[0]["value"]}


def _parts(count: int) -> Iterator[tuple[str, int, int]]:
    """(split, images, views)."""
    valid = int(count * VALID_SHARE)
    yield from (("train", count - valid, TRAIN_VIEWS), ("valid", valid, 1))


def _draw(folder: Path, count: int) -> None:
    generator = np.random.default_rng(1)
    centres = generator.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    for split, images, views in _parts(count):
        labels = generator.integers(CLASSES, size=images)
        np.save(folder / f"{split}.labels.npy", labels)
        rows = np.lib.format.open_memmap(
            folder / f"{split}.npy", mode="w+", dtype=np.float32, shape=(images, views, WIDTH)
        )
        for row, label in enumerate(labels):
            rows[row] = centres[label] + generator.normal(scale=6, size=(views, WIDTH))
        rows.flush()


def _cache(folder: Path, count: int) -> Cache:
    splits = {
        split: Features(folder / f"{split}.npy", np.load(folder / f"{split}.labels.npy"))
        for split, _, _ in _parts(count)
    }
    return Cache(folder, "drawn", "efficientnet_lite0", [str(label) for label in range(CLASSES)], splits)


if __name__ == "__main__":
    main()
