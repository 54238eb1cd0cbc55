"""Runtimes for models: one loader each, from a file to a function from pixels to logits.

A runtime is imported when its loader is called: a package brings along the one that its variant needs.
"""

from inference import vendor_path  # noqa: F401

# isort: split
import queue
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

# Pixels (1, height, width, 3) to logits (1, classes). Normalisation is part of the model.
Run = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def load(runtime: str, file: Path, precision: str, threads: int) -> Run:
    """The model in `file`, for `threads` threads; of more that call it at the same time, some wait.

    Each call is computed by the thread that makes it: threads within a call would fight over the cores with the others.
    """
    # Whatever runs the model: torch resizes every image.
    torch.set_num_threads(1)
    return RUNTIMES[runtime](file, precision, threads)


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
    modules: dict[str, Any] = sys.modules  # None makes its import fail
    modules.setdefault("openvino_telemetry", None)
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    # One of several streams would have threads of its own, and cores wait while one thread hands over to another.
    settings = {
        # What int8 leaves open is computed in it, too; without it, OpenVINO takes bf16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    free: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
    for _ in range(threads):
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        # Two threads that ask at the same time as the first ever wait for each other, holding the interpreter's lock.
        request.infer()
        free.put(request)

    def run(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        request = free.get()
        try:
            # Its tensors themselves: infer(pixels) looks at what it is given in Python, for 1 % of the time.
            request.get_input_tensor().data[:] = pixels
            request.infer()
            logits: npt.NDArray[np.float32] = request.get_output_tensor().data.copy()
        finally:
            free.put(request)
        return logits

    return run


RUNTIMES: dict[str, Callable[[Path, str, int], Run]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
