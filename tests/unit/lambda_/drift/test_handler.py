"""Drift of the answers: what chance makes is no drift, and what is, is found."""

import io
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drift import handler
from drift.handler import Expected, compared, mix_distance

CLASSES = [f"{number:03}" for number in range(133)]
NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)


def sample(shares: list[float], count: int, seed: int) -> dict[str, int]:
    drawn = random.Random(seed).choices(CLASSES[: len(shares)], shares, k=count)
    return {label: drawn.count(label) for label in set(drawn)}


@pytest.mark.parametrize(("classes", "validated", "answered"), [(8, 64, 100), (133, 800, 500), (133, 800, 5000)])
def test_same_distribution_shows_no_drift(classes: int, validated: int, answered: int) -> None:
    beyond = []
    for seed in range(40):
        distance, chance = mix_distance(
            sample([1.0] * classes, validated, seed), sample([1.0] * classes, answered, 1000 + seed)
        )
        beyond.append(distance - chance)
    # On average nothing is left, and never half of what an alarm takes.
    assert abs(sum(beyond) / len(beyond)) < 0.01
    assert max(beyond) < 0.15


def test_single_class_answers_shift_class_mix() -> None:
    expected = Expected("m", 0.9, dict.fromkeys(CLASSES[:8], 8))
    found = compared(expected, [(CLASSES[0], 0.9)] * 200)
    assert found["ConfidenceDrop"] == pytest.approx(0)
    assert 0.75 < found["ClassMixShift"] <= 7 / 8


def test_unseen_class_counts_as_drift() -> None:
    distance, _ = mix_distance({"a": 50, "b": 50}, {"c": 100})
    assert distance == pytest.approx(1)


def test_confidence_drop_is_difference_of_means() -> None:
    expected = Expected("m", 0.9, {"a": 100})
    assert compared(expected, [("a", 0.5)] * 100)["ConfidenceDrop"] == pytest.approx(0.4)


def test_baseline_counts_predicted_classes() -> None:
    report = {
        "reliability": [{"pictures": 3, "confidence": 0.6, "accuracy": 1}, {"pictures": 1, "confidence": 1.0}],
        "classes": [{"label": "a"}, {"label": "b"}],
        "confusion": [[1, 2], [0, 1]],
    }
    expected = Expected.of(report, {"name": "m"})
    assert expected.classes == {"a": 1, "b": 3}
    assert expected.confidence == pytest.approx(0.7)


class Bucket:
    """S3's two calls, on objects in memory."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects

    def get_paginator(self, operation: str) -> "Bucket":
        return self

    def paginate(self, Bucket: str, Prefix: str) -> list[dict[str, Any]]:
        found = [key for key in self._objects if key.startswith(Prefix)]
        return [{"Contents": [{"Key": key, "LastModified": key} for key in found]}]

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        class Body(io.BytesIO):
            def iter_lines(self) -> list[bytes]:
                return self.read().splitlines()

        return {"Body": Body(self._objects[Key])}


def line(model: str, label: str, encoding: str = "JSON") -> bytes:
    answer = json.dumps({"model": model, "predictions": [{"label": label, "probability": 0.8}]})
    return json.dumps({"captureData": {"endpointOutput": {"data": answer, "encoding": encoding}}}).encode()


def at(hours_ago: float, name: str) -> str:
    return f"captures/e/v/{NOW - timedelta(hours=hours_ago):%Y/%m/%d/%H}/{name}.jsonl"


def test_only_last_day_of_deployed_model_counts() -> None:
    bucket = Bucket(
        {
            at(0, "new"): b"\n".join([line("m", "a"), line("other", "b"), line("m", "c", encoding="BASE64")]),
            at(23, "yesterday"): line("m", "d"),
            at(30, "old"): line("m", "e"),
        }
    )
    assert list(handler._answers(bucket, "b", "captures/e/v/", "m", NOW)) == [("a", 0.8), ("d", 0.8)]


def test_answer_limit_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "MOST_ANSWERS", 2)
    bucket = Bucket({at(0, "1"): line("m", "older"), at(0, "2"): line("m", "newest"), at(5, "0"): line("m", "old")})
    assert [label for label, _ in handler._answers(bucket, "b", "captures/e/v/", "m", NOW)] == ["newest", "older"]
