"""AWS's PyTorch toolkit on TorchServe with the course's handler against ours, on the same images and the same cores.

    make bench-serving [DATA=folder]      half an hour; images of DATA (train/ and val/), else of the sample set

Both stacks run at the same time, and one of them is loaded at a time, in alternation. The load comes from wrk (one
thread); its share of the CPU time is in the table. Results: bench/results/serving.json, .md and .svg.
"""

import argparse
import io
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import decoding
import serving_report
import stacks
from load import Measured, load
from PIL import Image
from rich.console import Console
from stacks import WORK, Stack, StackError
from steady import overloaded, refusals, saturated

from kennel.datasets import sample
from training.export.model_package import processor
from training.model.serving_module import quiet

REPOSITORY = Path(__file__).resolve().parents[1]

RESULTS = REPOSITORY / "bench" / "results"
CONCURRENCY = (1, 8, 64)
SIZES_KB = (100, 1000, 4000)
MAIN_BYTES = (90_000, 180_000)
console = Console(highlight=False)


def main() -> None:
    """Builds both stacks, measures, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder with train/ and val/")
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--soak-minutes", type=float, default=10)
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("The load comes from wrk: install it, for example with apt-get install wrk")
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        document = measure(arguments)
    except StackError as error:
        sys.exit(str(error))
    serving_report.write(RESULTS, document)
    console.print(f"Written: {(RESULTS / 'serving.json').relative_to(REPOSITORY)}, serving.md, serving.svg")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures, as serving.json has them."""
    data = arguments.data or WORK / "images"
    if not arguments.data:
        shutil.rmtree(data, ignore_errors=True)
        sample.write(data)
    ours, resnet50 = package("efficientnet_lite0", data), package("resnet50", data)
    recipe(ours)
    console.print("Decoding at a reduced scale, and in full")
    decoded = decoding.agreement(ours, data)
    images = requests(data)
    rounds: list[dict[str, Any]] = []
    with ExitStack() as running:
        console.print("Starting the stacks")
        baseline = running.enter_context(stacks.baseline(9080))
        adapter = running.enter_context(stacks.adapter(ours, 9090))
        server = running.enter_context(stacks.server(ours, 9091))
        large = running.enter_context(stacks.adapter(resnet50, 9092))
        every = (baseline, adapter, server, large)
        names = ("baseline", "adapter", "server", "resnet50")
        for stack in every:
            load(stack, images, 8, 3)
        for number in range(arguments.rounds):
            console.print(f"Round {number + 1} of {arguments.rounds}")
            figures: dict[str, Any] = {
                kind: in_process(kind, ours, images, arguments.seconds) for kind in ("recipe", "ours")
            }
            for count in CONCURRENCY:
                for name, stack in zip(names, every, strict=True):
                    if name != "resnet50" or count == 8:
                        figures[f"{name} c{count}"] = load(stack, images, count, arguments.seconds)
            figures["ours resnet50"] = in_process("ours", resnet50, images, arguments.seconds)
            rounds.append(figures)
        sizes = by_size(data, {"baseline": baseline, "adapter": adapter}, arguments.seconds)
        console.print("Overload, and bad images")
        overload = overloaded(server, images)
        bad = refusals(server)
        console.print(f"{arguments.soak_minutes:g} minutes at saturation")
        soak = saturated(adapter, images, arguments.soak_minutes)
        about = {
            name: {"start_to_ready_s": round(stack.start_to_ready_s, 1), "peak_mib": round(stack.peak_mib())}
            for name, stack in zip(names, every, strict=True)
        }
    return {
        **ratios(rounds),
        "stacks": about,
        "rounds": rounds,
        "by_image_size": sizes,
        "decoding": decoded,
        "overload": overload,
        "bad_images": bad,
        "soak": soak,
        "variant": json.loads((ours / "model.json").read_text())["variant"],
        "resnet50_variant": json.loads((resnet50 / "model.json").read_text())["variant"],
        "machine": machine(),
    }


def package(backbone: str, data: Path) -> Path:
    """A package of ours; ResNet50 with random weights, which cost as much as trained ones."""
    folder = WORK / backbone
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = [sys.executable, "-m", "training.train", "--data", str(data), "--epochs", "10"]
    if backbone == "resnet50":
        import torch
        from torchvision.models import resnet50

        torch.manual_seed(1)
        torch.save(resnet50().state_dict(), folder / "weights.pth")
        command += ["--backbone", "resnet50", "--weights", str(folder / "weights.pth")]
    with console.status(f"Training a head on {backbone}"):
        subprocess.run([*command, "--model-dir", str(folder / "model")], check=True, stdout=subprocess.DEVNULL)
    return folder / "model"


def recipe(ours: Path) -> None:
    """The network of the usual recipe: the same backbone with its own head, without normalisation, in fp32."""
    import torch

    from training.model import backbones

    labels = len(json.loads((ours / "labels.json").read_text()))
    network = torch.nn.Sequential(
        backbones.named("efficientnet_lite0").load(None), torch.nn.Linear(1280, labels)
    ).eval()
    with quiet():
        torch.onnx.export(
            network, (torch.zeros(1, 3, 224, 224),), ours.parent / "recipe.onnx", dynamo=True, input_names=["pixels"],
            external_data=False, verbose=False,
        )  # fmt: skip


def requests(data: Path) -> Path:
    """A folder of the images that are posted: of `data`, those of a photograph's usual size on the web."""
    folder = WORK / "requests"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = sorted(data.rglob("*.jpg"))
    usual = [file for file in files if MAIN_BYTES[0] <= file.stat().st_size <= MAIN_BYTES[1]]
    for number, file in enumerate(random.Random(1).sample(usual or files, min(32, len(usual or files)))):
        shutil.copy(file, folder / f"{number:02d}.jpg")
    return folder


def in_process(kind: str, ours: Path, images: Path, seconds: float) -> float:
    """Images per second of a predictor, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("in_process.py")), kind, str(ours), str(images)]
    answer = subprocess.run([*command, str(seconds)], capture_output=True, text=True, check=True)
    return round(float(answer.stdout.strip().splitlines()[-1]), 1)


def by_size(data: Path, both: dict[str, Stack], seconds: float) -> dict[str, dict[str, Measured]]:
    """Eight connections with images of each size, made from one photograph."""
    found = {}
    for size_kb in SIZES_KB:
        folder = WORK / f"requests-{size_kb}"
        folder.mkdir(exist_ok=True)
        (folder / "0.jpg").write_bytes(image_of(max(data.rglob("*.jpg"), key=lambda f: f.stat().st_size), size_kb))
        found[f"{size_kb} KB"] = {name: load(stack, folder, 8, seconds) for name, stack in both.items()}
    return found


def image_of(file: Path, size_kb: int) -> bytes:
    """The photograph, enlarged or reduced until its JPEG has about so many bytes."""
    image, scale = Image.open(file).convert("RGB"), 1.0
    while True:
        buffer = io.BytesIO()
        image.resize((round(image.width * scale), round(image.height * scale))).save(buffer, "JPEG", quality=92)
        share = size_kb * 1000 / len(buffer.getvalue())
        if 0.9 < share < 1.1:
            return buffer.getvalue()
        scale *= share**0.5


def ratios(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures that the goals are in, each a median over the rounds with its spread."""

    def per_s(name: str) -> list[float]:
        return [figures[name]["per_s"] for figures in rounds]

    def share(upper: list[float], lower: list[float]) -> tuple[float, list[float]]:
        values = [one / other for one, other in zip(upper, lower, strict=True)]
        return round(statistics.median(values), 3), [round(min(values), 3), round(max(values), 3)]

    ours = [figures["ours"] for figures in rounds]
    both = {
        "throughput_ratio_c8": share(per_s("adapter c8"), per_s("baseline c8")),
        "p50_ratio_c1": share(
            [figures["adapter c1"]["p50_ms"] for figures in rounds],
            [figures["baseline c1"]["p50_ms"] for figures in rounds],
        ),
        "resnet50_throughput_ratio_c8": share(per_s("resnet50 c8"), per_s("baseline c8")),
        "http_share_of_in_process": share(per_s("adapter c8"), ours),
        "server_share_of_in_process": share(per_s("server c8"), ours),
        "resnet50_http_share_of_in_process": share(
            per_s("resnet50 c8"), [figures["ours resnet50"] for figures in rounds]
        ),
        "predictor_ratio": share(ours, [figures["recipe"] for figures in rounds]),
        "c64_share_of_c8": share(per_s("server c64"), per_s("server c8")),
        "c64_share_of_c8_at_adapter": share(per_s("adapter c64"), per_s("adapter c8")),
    }
    return {name: value for name, (value, _) in both.items()} | {
        "spread": {name: spread for name, (_, spread) in both.items()}
    }


def machine() -> dict[str, Any]:
    """The machine of the measurements."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
