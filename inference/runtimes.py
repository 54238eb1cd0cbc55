"""What can run a model: one loader for each runtime, from a file to a function from pixels to logits.

A runtime is imported when its loader is called: a package brings along the one that its variant needs.
"""

import vendored  # noqa: F401

# isort: split
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

# Pixels (1, height, width, 3) to logits (1, classes). Normalisation is part of the model.
Run = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def load(runtime: str, file: Path, precision: str, threads: int) -> Run:
    """The model in `file`; any number of threads may call it, of which `threads` compute at the same time.

    Threads within a call would fight over the cores with those of the others.
    """
    # Whatever runs the model: torch resizes every picture.
    torch.set_num_threads(1)
    run, free = RUNTIMES[runtime](file, precision, threads), threading.BoundedSemaphore(threads)

    def run_when_free(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with free:
            return run(pixels)

    return run_when_free


def _torch(file: Path, precision: str, threads: int) -> Run:
    with warnings.catch_warnings():
        # torch warns of its own loader's read-only buffer.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        model = torch.export.load(file).module()

    def run(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits: npt.NDArray[np.float32] = model(torch.from_numpy(pixels)).float().numpy()
        return logits

    return run


def _onnxruntime(file: Path, precision: str, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # A thread that waits for work must not keep a core busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())

    def run(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = session.run(None, {name: pixels})[0]
        return logits

    return run


def _openvino(file: Path, precision: str, threads: int) -> Run:
    # On import, OpenVINO tells Google Analytics of it from a process that it forks, unless this package is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    model = openvino.Core().compile_model(
        file,
        "CPU",
        {
            # What int8 leaves open is computed in it, too; without it, OpenVINO takes bf16 where the processor has it.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        },
    )
    own = threading.local()

    def run(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if not hasattr(own, "request"):
            own.request = model.create_infer_request()
        logits: npt.NDArray[np.float32] = own.request.infer([pixels])[0].copy()
        return logits

    # Two threads that ask at the same time as the first ever wait for each other, holding the interpreter's lock.
    run(np.zeros(tuple(model.input().shape), np.uint8))
    return run


RUNTIMES: dict[str, Callable[[Path, str, int], Run]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
