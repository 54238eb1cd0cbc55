"""Once an hour: whether the last day's answers are what the model's validation lets one expect.

Two numbers, each a metric with an alarm. ConfidenceDrop: how much less sure the model is of its first answer, on
average, than it was of the validation images. ClassMixShift: the share of answers that would have to be of another
class for the classes to be as frequent as they were there, beyond what chance alone makes of so few answers.
Neither needs the truth; neither proves that the model is wrong: they say that the images are others.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

DAY = timedelta(days=1)
# Fewer say nothing, and more say the same: the newest are read.
LEAST_ANSWERS = 100
MOST_ANSWERS = 5000
REPORT = "metrics.json"
DESCRIPTION = "model.json"


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Compares, publishes, and returns what it published.

    Raises what S3, SSM and CloudWatch raise: the function's errors are then in its log.
    """
    s3, stage = boto3.client("s3"), os.environ["STAGE"]
    package = boto3.client("ssm").get_parameter(Name=os.environ["MODEL_PARAMETER"])["Parameter"]["Value"]
    bucket, prefix = package.removeprefix("s3://").split("/", 1)
    expected = Expected.of(_json(s3, bucket, f"{prefix}{REPORT}"), _json(s3, bucket, f"{prefix}{DESCRIPTION}"))

    answers = list(_answers(s3, bucket, os.environ["CAPTURES"], expected.model, datetime.now(UTC)))
    values = {"Answers": float(len(answers))} | (compared(expected, answers) if len(answers) >= LEAST_ANSWERS else {})
    boto3.client("cloudwatch").put_metric_data(
        Namespace=os.environ["NAMESPACE"],
        MetricData=[{"MetricName": name, "Value": value, "Unit": "None"} for name, value in values.items()],
    )
    log_fields = {"stage": stage, "model": expected.model, **values}
    print(json.dumps(log_fields))
    return log_fields


class Expected:
    """The baseline of a model from validation: its name, mean top-1 probability, and share of each class."""

    def __init__(self, model: str, confidence: float, classes: dict[str, int]) -> None:
        self.model = model
        self.confidence = confidence
        self.classes = classes

    @classmethod
    def of(cls, report: dict[str, Any], description: dict[str, Any]) -> "Expected":
        """Out of a package's metrics.json and model.json."""
        bins = report["reliability"]
        images = sum(part["pictures"] for part in bins)
        labels = [row["label"] for row in report["classes"]]
        given = [sum(column) for column in zip(*report["confusion"], strict=True)]
        return cls(
            description["name"],
            sum(part["pictures"] * part["confidence"] for part in bins) / images,
            dict(zip(labels, given, strict=True)),
        )


def compared(expected: Expected, answers: list[tuple[str, float]]) -> dict[str, float]:
    """ConfidenceDrop and ClassMixShift of `answers`, each a class and its probability."""
    given = Counter(label for label, _ in answers)
    confidence = sum(probability for _, probability in answers) / len(answers)
    distance, chance = mix_distance(expected.classes, given)
    return {
        "ConfidenceDrop": round(expected.confidence - confidence, 4),
        "ClassMixShift": round(max(0.0, distance - chance), 4),
    }


def mix_distance(one: dict[str, int], other: dict[str, int]) -> tuple[float, float]:
    """The total variation distance of two samples, and about what it is if both are of the same classes.

    A difference of two shares of a class is then about normal with variance p(1-p)(1/n + 1/m), and its expected
    amount √(2/π) of its deviation.
    """
    n, m = sum(one.values()), sum(other.values())
    distance = chance = 0.0
    for label in {*one, *other}:
        a, b = one.get(label, 0), other.get(label, 0)
        together = (a + b) / (n + m)
        distance += abs(a / n - b / m) / 2
        chance += math.sqrt(2 / math.pi * together * (1 - together) * (1 / n + 1 / m)) / 2
    return distance, chance


def _answers(s3: Any, bucket: str, captures: str, model: str, now: datetime) -> Iterator[tuple[str, float]]:
    """The first class and its probability of the newest answers of `model` in the last day."""
    left = MOST_ANSWERS
    for key in _newest_files(s3, bucket, captures, now):
        for line in s3.get_object(Bucket=bucket, Key=key)["Body"].iter_lines():
            output = json.loads(line)["captureData"].get("endpointOutput", {})
            answer = json.loads(output["data"]) if output.get("encoding") == "JSON" else {}
            # Before a deploy, and while a canary is tried, others answer, too.
            if answer.get("model") == model and answer.get("predictions"):
                first = answer["predictions"][0]
                yield first["label"], float(first["probability"])
                left -= 1
                if left == 0:
                    return


def _newest_files(s3: Any, bucket: str, captures: str, now: datetime) -> Iterator[str]:
    # SageMaker has a folder for each hour, by UTC.
    for hours in range(int(DAY.total_seconds() // 3600) + 1):
        prefix = f"{captures}{now - timedelta(hours=hours):%Y/%m/%d/%H}/"
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        files = [item for page in pages for item in page.get("Contents", [])]
        yield from (item["Key"] for item in sorted(files, key=lambda item: item["LastModified"], reverse=True))


def _json(s3: Any, bucket: str, key: str) -> dict[str, Any]:
    document: dict[str, Any] = json.load(s3.get_object(Bucket=bucket, Key=key)["Body"])
    return document
