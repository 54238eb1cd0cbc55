"""Image bytes to labelled probabilities, from a model package. Knows nothing of servers."""

import functools
import io
import json
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

from inference import runtimes
from inference.images import Preprocessing, decode


class Prediction(TypedDict):
    """One class and how probable it is, 0 to 1."""

    label: str
    probability: float


@functools.cache
def example() -> bytes:
    """A small image that every package can answer."""
    image = io.BytesIO()
    Image.new("RGB", (320, 240), "grey").save(image, "JPEG")
    return image.getvalue()


class Predictor:
    """The model of a package, for `threads` threads to use at the same time."""

    def __init__(self, package: Path, threads: int = 1) -> None:
        """Loads `package`, the folder that holds model.json; raises FileNotFoundError if a file is missing."""
        description: dict[str, Any] = json.loads((package / "model.json").read_text())
        self.labels: list[str] = json.loads((package / "labels.json").read_text())
        self.name: str = description["name"]
        variant = description["variant"]
        self.variant = f"{variant['runtime']} {variant['precision']}"
        self._input = Preprocessing.of(description)
        # Fitted on the validation images, so that a probability of 0.8 is right eight times in ten.
        self._temperature: float = description["temperature"]
        self._run = runtimes.load(variant["runtime"], package / variant["file"], variant["precision"], threads)

    def predict(self, data: bytes, top_k: int = 5) -> list[Prediction]:
        """The `top_k` most probable classes of one image, best first.

        `data` is a file in a format of formats.py. Raises UnsupportedImage or UnreadableImage of image_file.py.
        """
        probabilities = _softmax(self._run(decode(data, self._input)[None])[0] / self._temperature)
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        return [{"label": self.labels[index], "probability": round(float(probabilities[index]), 6)} for index in best]


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    powers = np.exp(logits - logits.max())
    shares: npt.NDArray[np.float32] = powers / powers.sum()
    return shares
