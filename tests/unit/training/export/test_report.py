"""The report: one file that needs nothing else, for two classes and for many, with and without mistakes."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from helpers.images import encode, gradient
from training.data.dataset import Sample
from training.data.findings import Finding
from training.export import report
from training.model import evaluation
from training.model.evaluation import Predictions


def story(folder: Path, classes: int, wrong: int) -> report.ReportContext:
    count = 60
    targets = torch.arange(count) % classes
    logits = torch.nn.functional.one_hot(targets, classes).float() * 4
    for row in range(wrong):
        logits[row] = logits[row].roll(1)
    samples = []
    for number in range(count):
        file = folder / f"<image> {number}.jpg"
        file.write_bytes(encode(gradient(50 + number, 40), "JPEG"))
        samples.append(Sample(file, int(targets[number]), str(number)))
    scored = Predictions(logits, targets)
    trials = [
        {
            "number": n,
            "value": 0.9 - n / 100,
            "loss": 0.3,
            "state": state,
            "settings": {"learning_rate": 0.001, "hidden": 0},
        }
        for n, state in enumerate(["complete", "complete", "pruned"])
    ]
    return report.ReportContext(
        name="model",
        facts={"backbone": "tiny"},
        labels=[f"class <{number}>" for number in range(classes)],
        scored={"valid": scored},
        looked_at="valid",
        samples=samples,
        temperature=evaluation.fit_temperature(scored),
        epochs=[{"number": n, "train_loss": 1 / n, "top1": 0.5 + n / 10, "loss": 1 / n} for n in (1, 2, 3)],
        findings=[Finding("warning", "leak", "a.jpg", "the same as <b>")],
        search=report.Search(trials, trials[0]["settings"]),
    )


class Outside(HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe")
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.mark.parametrize(("classes", "wrong"), [(2, 3), (2, 0), (40, 9)])
def test_report_is_self_contained(tmp_path: Path, classes: int, wrong: int) -> None:
    told = story(tmp_path, classes, wrong)
    report.write(tmp_path / "report.html", told)
    page = (tmp_path / "report.html").read_text()
    outside = Outside()
    outside.feed(page)
    assert all(address.startswith("data:image/") for address in outside.fetched)
    assert "url(" not in page
    assert "class <0>" not in page, "labels are not escaped"
    assert len(re.findall("<figcaption><b>", page)) == wrong
    assert ("None: every image" in page) == (wrong == 0)
    low, high = evaluation.interval(60 - wrong, 60)
    assert f"{100 * low:.1f} to {100 * high:.1f}" in page


def test_metrics_match_the_report(tmp_path: Path) -> None:
    told = story(tmp_path, 2, 3)
    metrics = report.metrics(told)
    assert metrics["splits"]["valid"]["top1"] == pytest.approx(57 / 60)
    assert sum(map(sum, metrics["confusion"])) == 60
    assert metrics["temperature"] == told.temperature
