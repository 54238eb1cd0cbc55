"""The variants of a trained network that could be served: made, measured side by side, and the fastest kept.

A variant is a runtime and a precision. Its speed is the median over a few dozen validation images, one at a time and on
one thread, as it is served. Its accuracy is measured on all of them and on all cores, if it could be served.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from inference import runtimes
from inference.images import Pixels, Preprocessing, decode
from inference.processors import usable
from training.export.gates import NoModel
from training.model.evaluation import Predictions
from training.model.serving_module import ServingModule, quiet, to_onnx

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
CALIBRATION_IMAGES = 100
# Types of nodes that multiply by weights.
LAYERS = ("Conv", "Gemm", "MatMul")
# Enough for a share of correct answers; more would only take longer.
MAX_IMAGES = 2000
# Enough for a median and quartiles, however many images there are.
TIMED_IMAGES = 24
PROBED_IMAGES = 3
CLEARLY_SLOWER = 2.0
# The number of threads that score a candidate: each has a model of its own in memory.
MAX_WORKERS = 8


@dataclass
class Candidate:
    """A candidate and what was measured of it: top-1 share, share of the reference's answers, ms an image (median)."""

    runtime: str
    precision: str
    file: str = ""
    # None where accuracy was not measured, because the candidate could not be served anyway.
    top1: float | None = None
    agreement: float | None = None
    max_logit_difference: float | None = None
    ms: float = 0.0
    ms_quartiles: tuple[float, float] = (0.0, 0.0)
    verdict: str = ""
    logits: list[npt.NDArray[np.float32]] = field(default_factory=list, repr=False)

    def document(self) -> dict[str, Any]:
        """For model.json and the report."""
        return {name: value for name, value in vars(self).items() if name != "logits"}


def export(served: ServingModule, size_px: int, calibration: Sequence[Pixels], folder: Path) -> None:
    """Writes the files of all variants into `folder`; `calibration` are images of shape (size_px, size_px, 3)."""
    program = to_onnx(served, size_px, folder / ONNX)
    # The one thing that torch would pickle.
    program.example_inputs = None
    with quiet():
        torch.export.save(program, folder / TORCH)
        quantise(folder / ONNX, calibration, folder / INT8)


def quantise(source: Path, calibration: Sequence[Pixels], target: Path) -> None:
    """Static int8 quantisation: weights by channel, activations by the range that they have on `calibration`."""
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
    quantization.quantize_static(
        prepared,
        target,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        # Seven bits: with eight, sums saturate on processors that have AVX2 and not VNNI (ONNX Runtime, "Quantize ONNX
        # models", data type selection), and the package may be served on another processor than it was trained on.
        reduce_range=True,
        nodes_to_exclude=_kept_in_fp32(onnx.load(prepared).graph),
    )
    prepared.unlink()


def _kept_in_fp32(graph: Any) -> list[str]:
    """The names of the nodes of a network that are not quantised.

    What comes before the first convolution and after the last one: it takes hardly any time. In a network that mostly
    multiplies by matrices of weights, such as a transformer: the classifier at its end, and all that is neither such a
    multiplication nor a convolution, because attention and normalisation need their precision.
    """
    nodes, weights = graph.node, {one.name for one in graph.initializer}
    convolutions = [place for place, node in enumerate(nodes) if node.op_type == "Conv"]
    layers = [place for place, node in enumerate(nodes) if node.op_type in LAYERS and weights & set(node.input)]
    if len(layers) > 2 * len(convolutions):
        return [node.name for place, node in enumerate(nodes) if place not in layers[:-1]]
    ends = [*nodes[: convolutions[0]], *nodes[convolutions[-1] + 1 :]]
    return [node.name for node in ends if node.op_type not in ("Clip", "Relu")]


def candidates(
    served: ServingModule,
    folder: Path,
    wanted: Preprocessing,
    files: Sequence[Path],
    trained: Predictions,
    progress: Callable[[int, int], None],
) -> list[Candidate]:
    """The reference and all servable variants, timed and compared: the fastest that holds its accuracy is "served".

    `files` are the images that it is validated on, in the order of `trained`, the network's own logits for them. Speed
    is measured on a few dozen; accuracy on all, and only of the variants that could be served (see `choose`). Raises
    NoModel if none of them holds.
    """
    found = [Candidate(REFERENCE, "fp32"), *(Candidate(*kind) for kind in SERVABLE)]
    workers = min(MAX_WORKERS, usable())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runs = [
            _eager(served),
            *(runtimes.load(one.runtime, folder / one.file, one.precision, workers) for one in found[1:]),
        ]
        images = DecodedOnce(files, wanted)
        time_candidates(found, runs, [images[place][None] for place in range(min(TIMED_IMAGES, len(files)))])
        found[0].logits, labels = list(trained.logits.numpy()), trained.targets.numpy()
        judge(found[0], labels, found[0])

        def score(one: Candidate) -> None:
            one.logits = _logits(runs[found.index(one)], images.__getitem__, len(files), workers, progress)
            judge(one, labels, found[0])

        choose(found[1:], score)
    finally:
        torch.set_num_threads(threads)
    return found


def time_candidates(found: list[Candidate], runs: list[runtimes.Run], images: Sequence[Pixels]) -> None:
    """Times each variant on each of `images`, (1, size, size, 3) each, in turn and on one thread.

    So whatever else the machine does falls on all of them. One that is clearly slower than the reference, which is the
    first, is dropped after PROBED_IMAGES: bf16 takes sixteen times as long where the processor cannot compute in it.
    """
    times: list[list[float]] = [[] for _ in found]
    timed = list(range(len(found)))
    for number, pixels in enumerate(itertools.islice(itertools.cycle(images), TIMED_IMAGES)):
        for place in timed:
            if number == 0:
                runs[place](pixels)  # the first call makes what the later ones use again
            started = time.perf_counter()
            runs[place](pixels)
            times[place].append(1000 * (time.perf_counter() - started))
        if number + 1 == PROBED_IMAGES:
            limit = CLEARLY_SLOWER * statistics.median(times[0])
            slow = [place for place in timed if statistics.median(times[place]) > limit]
            timed = [place for place in timed if place not in slow]
            for place in slow:
                found[place].verdict = f"dropped after {PROBED_IMAGES} images: over {CLEARLY_SLOWER:g} times as slow"
    for one, milliseconds in zip(found, times, strict=True):
        low, middle, high = statistics.quantiles(milliseconds, n=4)
        one.ms, one.ms_quartiles = round(middle, 2), (round(low, 2), round(high, 2))
    found[0].verdict = "the reference"


class DecodedOnce:
    """The pixels of images, (size_px, size_px, 3) each: decoded when first asked for, then in a temporary file."""

    def __init__(self, files: Sequence[Path], wanted: Preprocessing) -> None:
        self._files, self._wanted, size_px = files, wanted, wanted.size_px
        with tempfile.TemporaryFile() as file:
            self._pixels = np.memmap(file, np.uint8, "w+", shape=(len(files), size_px, size_px, 3))
        self._decoded = np.zeros(len(files), bool)

    def __getitem__(self, place: int) -> Pixels:
        """The image at `place`."""
        if not self._decoded[place]:
            self._pixels[place] = decode(self._files[place].read_bytes(), self._wanted)
            self._decoded[place] = True
        pixels: Pixels = self._pixels[place]
        return pixels


def logits(
    one: Candidate, folder: Path, files: Sequence[Path], wanted: Preprocessing, progress: Callable[[int, int], None]
) -> list[npt.NDArray[np.float32]]:
    """The logits of a variant, whose file is in `folder`, for each image: (classes,) each."""
    workers = min(MAX_WORKERS, usable())
    run = runtimes.load(one.runtime, folder / one.file, one.precision, workers)
    # There may be many, and each is used once: they are not kept.
    return _logits(run, lambda place: decode(files[place].read_bytes(), wanted), len(files), workers, progress)


def _logits(
    run: runtimes.Run, image: Callable[[int], Pixels], count: int, workers: int, progress: Callable[[int, int], None]
) -> list[npt.NDArray[np.float32]]:
    def answer(place: int) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = run(image(place)[None])[0]
        return logits

    found: list[npt.NDArray[np.float32]] = []
    # torch counts the threads of an operation for each thread that calls one.
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for logits in pool.map(answer, range(count)):
            found.append(logits)
            progress(len(found), count)
    return found


def judge(one: Candidate, labels: npt.NDArray[np.int64], reference: Candidate) -> None:
    """Compares the logits of a variant with the labels and with those of the reference."""
    logits, trusted = np.stack(one.logits), np.stack(reference.logits)
    one.top1 = round(float((logits.argmax(1) == labels).mean()), 4)
    one.agreement = round(float((logits.argmax(1) == trusted.argmax(1)).mean()), 4)
    one.max_logit_difference = round(float(np.abs(logits - trusted).max()), 6)
    if not np.isfinite(logits).all():
        one.verdict = "rejected: it gives numbers that are none"
    elif reference.top1 is not None and (loss := reference.top1 - one.top1) > MAX_LOSS:
        one.verdict = f"rejected: it loses {100 * loss:.1f} percentage points"


def choose(variants: list[Candidate], score: Callable[[Candidate], None]) -> Candidate:
    """The fastest variant that holds its accuracy, if its runtime is worth its size; states the verdict on each.

    `score` measures the accuracy of one, and rejects it by a verdict; only of those that would be served is it asked.
    Raises NoModel if no variant holds.
    """
    kept = _choice(variants, BY_SIZE, score)
    if kept is None:
        verdicts = "; ".join(f"{one.runtime} in {one.precision} {one.verdict}" for one in variants)
        raise NoModel(f"no candidate for serving keeps the model's accuracy: {verdicts}")
    for one in variants:
        if one is kept:
            one.verdict = "served"
        elif not one.verdict:
            one.verdict = (
                "slower" if one.ms >= kept.ms else f"less than {WORTHWHILE - 1:.0%} faster: not worth its size"
            )
    return kept


def _choice(variants: list[Candidate], runtimes: Sequence[str], score: Callable[[Candidate], None]) -> Candidate | None:
    """The choice among some runtimes: the largest one's if it is worth its size, or else that of the smaller ones.

    A variant that is worth it beside each smaller one is scored first: if it holds, they need not be.
    """
    if not runtimes:
        return None
    *smaller, largest = runtimes
    known, kept = False, None
    for one in sorted((one for one in variants if one.runtime == largest and not one.verdict), key=lambda one: one.ms):
        rivals = [other.ms for other in variants if other.runtime in smaller and not other.verdict]
        if not known and any(ms < WORTHWHILE * one.ms for ms in rivals):
            known, kept = True, _choice(variants, smaller, score)
        if kept and kept.ms < WORTHWHILE * one.ms:
            return kept
        score(one)
        if not one.verdict:
            return one
    return kept if known else _choice(variants, smaller, score)


def _eager(served: ServingModule) -> runtimes.Run:
    def run(pixels: Pixels) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = served(torch.from_numpy(pixels)).numpy()
        return logits

    return run
