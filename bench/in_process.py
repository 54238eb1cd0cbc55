"""Images per second of a predictor in its own process, on all cores: ours, or the usual recipe beside it.

    python bench/in_process.py ours|recipe PACKAGE IMAGES SECONDS

The recipe: EfficientNet-Lite0 on ONNX Runtime in fp32 with one thread a worker, OpenCV's half-scale decode, and
normalisation in numpy. Prints images per second, at the number of callers that is best for it.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
CORES = len(os.sched_getaffinity(0))
WARM_UP = 20


def main() -> None:
    """Measures and prints."""
    kind, package, images, seconds = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
    predict = {"ours": _ours, "recipe": _recipe}[kind](package)
    data = [file.read_bytes() for file in sorted(images.glob("*.jpg"))]
    callers = (CORES, CORES + 1)
    print(json.dumps(max(rate(predict, data, count, seconds / len(callers)) for count in callers)))


def rate(predict: Callable[[bytes], Any], data: list[bytes], callers: int, seconds: float) -> float:
    """Images per second with so many threads that call."""
    turn = itertools.cycle(data)
    for _ in range(WARM_UP):
        predict(next(turn))
    started = time.perf_counter()

    def work() -> int:
        done = 0
        while time.perf_counter() - started < seconds:
            predict(next(turn))
            done += 1
        return done

    with ThreadPoolExecutor(callers) as pool:
        done = sum(future.result() for future in [pool.submit(work) for _ in range(callers)])
    return done / (time.perf_counter() - started)


def _ours(package: Path) -> Callable[[bytes], Any]:
    sys.path.insert(0, str(package))
    from inference.predictor import Predictor

    return Predictor(package, CORES + 1).predict


def _recipe(package: Path) -> Callable[[bytes], Any]:
    import cv2
    import numpy as np
    import onnxruntime

    cv2.setNumThreads(1)
    described = json.loads((package / "model.json").read_text())["input"]
    mean, std = np.float32(described["mean"]), np.float32(described["std"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(package.parent / "recipe.onnx", options)

    def predict(data: bytes) -> Any:
        half = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)
        pixels = cv2.cvtColor(cv2.resize(half, (224, 224)), cv2.COLOR_BGR2RGB).astype(np.float32) / 255
        planes = np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1)[None])
        return session.run(None, {"pixels": planes})[0].argmax()

    return predict


if __name__ == "__main__":
    main()
