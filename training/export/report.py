"""The report of a model: one HTML file that needs nothing else, made from its logits and its training."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from PIL import Image

from inference.images import opened
from training.data.dataset import Sample
from training.data.findings import Finding
from training.data.label_issues import LABEL, OUTLIER, Doubt
from training.model import evaluation
from training.model.evaluation import Predictions

MISTAKES = 24
DOUBTFUL = 24
THUMBNAIL_PX = 256
# Beyond this many classes a matrix of numbers cannot be read: it becomes an image, beside the commonest confusions.
MATRIX_CLASSES = 20
CONFUSIONS = 20
TRIALS = 15


@dataclass(frozen=True)
class Search:
    """A hyperparameter search: its trials, best first, each a row of the table; `best` by trial number for the plot."""

    trials: list[dict[str, Any]]
    best: dict[str, Any]


@dataclass(frozen=True)
class ReportContext:
    """The contents of the report: the model, its data, its training."""

    name: str
    facts: dict[str, Any]
    labels: list[str]
    scored: dict[str, Predictions]
    # The images of the split that is looked at closely, in the order of its logits.
    looked_at: str
    samples: list[Sample]
    temperature: float
    epochs: list[dict[str, float]]
    findings: list[Finding] = field(default_factory=list)
    search: Search | None = None
    doubts: list[Doubt] = field(default_factory=list)
    # What could have been served, as training/export/candidates.py measured it.
    variants: list[dict[str, Any]] = field(default_factory=list)


def metrics(story: ReportContext) -> dict[str, Any]:
    """The same as numbers, for programs: metrics.json."""
    matrix = evaluation.confusion(story.scored[story.looked_at])
    return {
        "splits": {split: evaluation.summary(scored, story.temperature) for split, scored in story.scored.items()},
        "temperature": story.temperature,
        "looked_at": story.looked_at,
        "classes": evaluation.by_class(matrix, story.labels),
        "confusion": matrix.tolist(),
        "reliability": evaluation.reliability(story.scored[story.looked_at], story.temperature),
        "epochs": story.epochs,
        "variants": story.variants,
    }


def write(file: Path, story: ReportContext) -> None:
    """Renders report.html.jinja beside this module into `file`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f} %"
    environment.filters["interval"] = lambda ends: (
        "–" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"
    )
    looked_at = story.scored[story.looked_at]
    matrix = evaluation.confusion(looked_at)
    valid = len(story.scored["valid"].targets)
    page = environment.get_template("report.html.jinja").render(
        story=story,
        metrics=metrics(story),
        reliability_before=evaluation.reliability(looked_at, 1.0),
        matrix=matrix.tolist() if len(story.labels) <= MATRIX_CLASSES else None,
        heatmap=_heatmap(matrix) if len(story.labels) > MATRIX_CLASSES else None,
        confusions=_confusions(matrix, story.labels),
        mistakes=_mistakes(story),
        doubtful=_doubtful(story, LABEL),
        outliers=_doubtful(story, OUTLIER),
        interval_of=lambda share: None if share is None else evaluation.interval(round(share * valid), valid),
        trials=story.search.trials[:TRIALS] if story.search else [],
    )
    file.write_text(page)


def _mistakes(story: ReportContext) -> list[dict[str, Any]]:
    return [
        {**_shown(story.samples[row], story.labels), "predicted": story.labels[predicted], "confidence": confidence}
        for row, predicted, confidence in evaluation.mistakes(
            story.scored[story.looked_at], story.temperature, MISTAKES
        )
    ]


def _shown(sample: Sample, labels: list[str]) -> dict[str, str]:
    """An image of the report, with its label."""
    return {
        "image": _image(_thumbnail(sample.path), "JPEG"),
        "name": sample.path.name,
        # By it, `kennel data forget` finds the thumbnail of an image.
        "digest": sample.digest,
        "label": labels[sample.label],
    }


def _doubtful(story: ReportContext, kind: str) -> dict[str, Any]:
    """The number of such images, and a sheet of the first ones."""
    found = [doubt for doubt in story.doubts if doubt.kind == kind]
    sheet = [
        {
            **_shown(doubt.sample, story.labels),
            "split": doubt.split,
            "looks_like": None if doubt.looks_like is None else story.labels[doubt.looks_like],
            "score": doubt.score,
        }
        for doubt in found[:DOUBTFUL]
    ]
    return {"count": len(found), "sheet": sheet}


def _confusions(matrix: npt.NDArray[np.int64], labels: list[str]) -> list[dict[str, Any]]:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [(*np.unravel_index(place, wrong.shape), int(wrong.flat[place])) for place in order]
    return [
        {"label": labels[true], "predicted": labels[predicted], "pictures": count, "of": int(matrix[true].sum())}
        for true, predicted, count in pairs
        if count
    ]


def _heatmap(matrix: npt.NDArray[np.int64]) -> str:
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # The square root lifts the rare confusions out of the white.
    grey = Image.fromarray((255 * (1 - np.sqrt(shares))).astype(np.uint8))
    scale = max(1, 640 // len(matrix))
    return _image(grey.resize((grey.width * scale, grey.height * scale), Image.Resampling.NEAREST), "PNG")


def _thumbnail(file: Path) -> Image.Image:
    image = Image.fromarray(opened(file.read_bytes(), THUMBNAIL_PX))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return image


def _image(image: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
