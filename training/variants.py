"""The variants of a trained network that could be served: made, measured side by side, and the fastest kept.

A variant is a runtime and a precision. Each answers every validation picture, one at a time and on one thread, as it is
served: that gives its accuracy and its speed at once, and whatever else the machine does falls on all of them.
"""

import io
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import runtimes
from images import Pixels, decode

TORCH, ONNX, INT8 = "model.pt2", "model.onnx", "model-int8.onnx"
REFERENCE = "torch-eager"
# A variant may lose so much of the reference's top-1 accuracy.
MAX_LOSS = 0.005
# A runtime that the container lacks makes the package larger: it has to be faster than what does without by this.
WORTHWHILE = 1.15
# Runtimes by what they add to a package, the smallest first.
BY_SIZE = ("torch", "onnxruntime", "openvino")
SERVABLE = (
    ("torch", "fp32", TORCH),
    ("torch", "bf16", TORCH),
    ("onnxruntime", "fp32", ONNX),
    ("onnxruntime", "int8", INT8),
    ("openvino", "fp32", ONNX),
    ("openvino", "bf16", ONNX),
    ("openvino", "int8", INT8),
)
CALIBRATION_PICTURES = 200
# Enough for a share of correct answers and a median; more would only take longer.
MAX_PICTURES = 2000
MIN_TIMED = 50
WARM_UP = 3
# One picture at a time, and shapes that are known: OpenVINO loses accuracy in int8 where the batch size is open.
BATCH = 1


@dataclass
class Variant:
    """A candidate and what was measured of it: top-1 share, share of the reference's answers, ms a picture (median)."""

    runtime: str
    precision: str
    file: str = ""
    top1: float = 0.0
    agreement: float = 0.0
    max_logit_difference: float = 0.0
    ms: float = 0.0
    ms_quartiles: tuple[float, float] = (0.0, 0.0)
    verdict: str = ""
    logits: list[npt.NDArray[np.float32]] = field(default_factory=list, repr=False)
    times: list[float] = field(default_factory=list, repr=False)

    def document(self) -> dict[str, Any]:
        """For model.json and the report."""
        return {name: value for name, value in vars(self).items() if name not in ("logits", "times")}


class Served(nn.Module):
    """The network as it is served: RGB pixels (1, size, size, 3) of 0..255 in, logits out; normalisation is in it."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("scale", 1 / (torch.tensor(std).view(1, 3, 1, 1) * 255))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(1, size, size, 3) of uint8 to (1, classes)."""
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)
        logits: torch.Tensor = self.network((planes - self.mean) * self.scale)
        return logits


def export(served: Served, size_px: int, calibration: Sequence[Pixels], folder: Path) -> None:
    """Writes the files of all variants into `folder`; `calibration` are pictures of shape (size_px, size_px, 3)."""
    for values in served.parameters():
        # Training may have left the weights in channels-last order, which torch.export warns of.
        values.data = values.data.contiguous()
    example = torch.zeros(BATCH, size_px, size_px, 3, dtype=torch.uint8)
    with torch.no_grad(), quiet():
        program = torch.export.export(served.eval(), (example,))
        torch.onnx.export(
            program, (example,), folder / ONNX, dynamo=True, input_names=["pixels"], output_names=["logits"],
            external_data=False, verbose=False,
        )  # fmt: skip
        # The one thing that torch would pickle.
        program.example_inputs = None
        torch.export.save(program, folder / TORCH)
        quantise(folder / ONNX, calibration, folder / INT8)


def quantise(source: Path, calibration: Sequence[Pixels], target: Path) -> None:
    """Static int8 quantisation: weights by channel, activations by the range that they have on `calibration`.

    What comes before the first convolution and after the last one stays as it is: it takes hardly any time.
    """
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # it comes without types
        def __init__(self) -> None:
            self._left = iter(calibration)

        def get_next(self) -> dict[str, Pixels] | None:
            pixels = next(self._left, None)
            return None if pixels is None else {"pixels": pixels[None]}

    prepared = target.with_suffix(".prepared")
    quantization.quant_pre_process(source, prepared, skip_symbolic_shape=True)
    nodes = onnx.load(prepared).graph.node
    convolutions = [place for place, node in enumerate(nodes) if node.op_type == "Conv"]
    ends = [*nodes[: convolutions[0]], *nodes[convolutions[-1] + 1 :]]
    quantization.quantize_static(
        prepared,
        target,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=[node.name for node in ends if node.op_type not in ("Clip", "Relu")],
    )
    prepared.unlink()


def measure(
    served: Served, folder: Path, size_px: int, pictures: Sequence[tuple[Path, int]], say: Callable[[int, int], None]
) -> list[Variant]:
    """The reference and all servable variants, each on the same pictures (file, label) in the same order."""
    # The eager network decides what is right; the class holds its answers as it does those of the others.
    variants = [Variant(REFERENCE, "fp32"), *(Variant(*kind) for kind in SERVABLE)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runs = [_eager(served)]
        runs += [runtimes.load(one.runtime, folder / one.file, one.precision, 1) for one in variants[1:]]
        labels = np.array([label for _, label in pictures])
        for number, (file, _) in enumerate(pictures):
            pixels = decode(file.read_bytes(), size_px)[None]
            for variant, run in zip(variants, runs, strict=True):
                for _ in range(WARM_UP if number == 0 else 0):
                    run(pixels)
                variant.logits.append(_timed(variant, run, pixels))
            say(number + 1, len(pictures))
        while len(variants[0].times) < MIN_TIMED:
            for variant, run in zip(variants, runs, strict=True):
                _timed(variant, run, pixels)
    finally:
        torch.set_num_threads(threads)
    _judge(variants, labels)
    return variants


def _judge(variants: list[Variant], labels: npt.NDArray[np.int64]) -> None:
    reference = np.stack(variants[0].logits)
    for variant in variants:
        logits = np.stack(variant.logits)
        variant.top1 = round(float((logits.argmax(1) == labels).mean()), 4)
        variant.agreement = round(float((logits.argmax(1) == reference.argmax(1)).mean()), 4)
        variant.max_logit_difference = round(float(np.abs(logits - reference).max()), 6)
        milliseconds = [1000 * seconds for seconds in variant.times]
        low, middle, high = statistics.quantiles(milliseconds, n=4)
        variant.ms, variant.ms_quartiles = round(middle, 2), (round(low, 2), round(high, 2))
        if variant.runtime == REFERENCE:
            variant.verdict = "the reference"
        elif not np.isfinite(logits).all():
            variant.verdict = "rejected: it gives numbers that are none"
        elif (loss := variants[0].top1 - variant.top1) > MAX_LOSS:
            variant.verdict = f"rejected: it loses {100 * loss:.1f} percentage points"


def choose(variants: list[Variant]) -> Variant:
    """The fastest variant that was not rejected, if its runtime is worth its size; says the verdict on each."""
    kept: Variant | None = None
    for runtime in BY_SIZE:
        holding = [one for one in variants if one.runtime == runtime and not one.verdict]
        if not holding:
            continue
        fastest = min(holding, key=lambda one: one.ms)
        if kept is None or kept.ms >= WORTHWHILE * fastest.ms:
            kept = fastest
    if kept is None:
        raise RuntimeError("no variant of the model holds its accuracy; the report's table says by how much each fails")
    for one in variants:
        if one is kept:
            one.verdict = "served"
        elif not one.verdict:
            one.verdict = (
                "slower" if one.ms >= kept.ms else f"less than {WORTHWHILE - 1:.0%} faster: not worth its size"
            )
    return kept


def _eager(served: Served) -> runtimes.Run:
    def run(pixels: Pixels) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = served(torch.from_numpy(pixels)).numpy()
        return logits

    return run


def _timed(variant: Variant, run: runtimes.Run, pixels: Pixels) -> npt.NDArray[np.float32]:
    started = time.perf_counter()
    logits = run(pixels)
    variant.times.append(time.perf_counter() - started)
    answer: npt.NDArray[np.float32] = logits[0]
    return answer


@contextmanager
def quiet() -> Iterator[None]:
    """What the exporters say of themselves."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
