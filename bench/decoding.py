"""Comparison of a model's results on JPEGs decoded at a reduced scale and in full."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inference import images, runtimes
from training.data import dataset

# Shorter sides (px) that the validation images are enlarged to: most are below twice the crop, and decoded in full.
ENLARGED_PX = (None, 700, 1000, 1400)
FULL_PX = 100_000


def agreement(package: Path, data: Path) -> list[dict[str, Any]]:
    """Top-1 and agreement (shares of 1) on the validation images of `data`, as they are and enlarged."""
    described = json.loads((package / "model.json").read_text())
    variant, wanted = described["variant"], images.Preprocessing.of(described)
    run = runtimes.load(variant["runtime"], package / variant["file"], variant["precision"], 1)

    def logits(body: bytes, shorter_side: int) -> Any:
        return run(images.centre(images.opened(body, shorter_side), wanted)[None])[0]

    found = []
    valid = dataset.load(data.resolve(), seed=0).splits["valid"]
    truth = np.array([sample.label for sample in valid])
    for side in ENLARGED_PX:
        bodies = [_enlarged(sample.path, side) if side else sample.path.read_bytes() for sample in valid]
        reduced, full = (np.stack([logits(body, at) for body in bodies]) for at in (wanted.shorter_side, FULL_PX))
        found.append(
            {
                "shorter_side_px": side,
                "images": len(bodies),
                "top1_reduced": round(float((reduced.argmax(1) == truth).mean()), 4),
                "top1_full": round(float((full.argmax(1) == truth).mean()), 4),
                "agreement": round(float((reduced.argmax(1) == full.argmax(1)).mean()), 4),
                "median_logit_difference": round(float(np.median(np.abs(reduced - full).max(1))), 4),
            }
        )
    return found


def _enlarged(file: Path, shorter_side: int) -> bytes:
    image = Image.open(file).convert("RGB")
    scale, buffer = shorter_side / min(image.size), io.BytesIO()
    image.resize((round(image.width * scale), round(image.height * scale))).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
