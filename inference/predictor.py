"""Picture bytes to labelled probabilities, from a model package. Knows nothing of servers."""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any, TypedDict

import torch

from images import decode, normalise


class Prediction(TypedDict):
    """One class and how probable it is, 0 to 1."""

    label: str
    probability: float


def damaged_files(package: Path) -> list[str]:
    """What is missing from `package`, or differs from the hashes in its model.json."""
    try:
        hashes: dict[str, str] = json.loads((package / "model.json").read_text())["sha256"]
    except (FileNotFoundError, ValueError, KeyError) as error:
        return [f"model.json cannot be read ({error})"]
    damage = []
    for name, digest in hashes.items():
        if not (package / name).is_file():
            damage.append(f"{name} is missing")
        elif hashlib.sha256((package / name).read_bytes()).hexdigest() != digest:
            damage.append(f"{name} was changed")
    return damage


class Predictor:
    """The model of a package. Use it from one thread at a time."""

    def __init__(self, package: Path) -> None:
        """Loads `package`, the folder that holds model.json; raises FileNotFoundError if a file is missing."""
        self.description: dict[str, Any] = json.loads((package / "model.json").read_text())
        self.labels: list[str] = json.loads((package / "labels.json").read_text())
        self.name: str = self.description["name"]
        self._size: int = self.description["input"]["size_px"]
        self._mean = tuple(self.description["input"]["mean"])
        self._std = tuple(self.description["input"]["std"])
        # Fitted on the validation pictures, so that a probability of 0.8 is right eight times in ten.
        self._temperature: float = self.description["temperature"]
        with warnings.catch_warnings():
            # torch warns of its own loader's read-only buffer.
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            self._model = torch.export.load(package / self.description["variant"]["file"]).module()

    def predict(self, data: bytes, top_k: int = 5) -> list[Prediction]:
        """The `top_k` most probable classes of one picture, best first.

        `data` is a JPEG, PNG or WebP file. Raises UnsupportedImage or UnreadableImage of images.py.
        """
        pixels = normalise(decode(data, self._size), self._mean, self._std)
        with torch.inference_mode():
            logits = self._model(torch.from_numpy(pixels)[None])[0]
            probabilities = (logits / self._temperature).softmax(dim=0)
        best = probabilities.topk(min(top_k, len(self.labels)))
        return [
            {"label": self.labels[index], "probability": round(probability, 6)}
            for index, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
