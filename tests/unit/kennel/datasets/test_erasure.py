"""An image is erased from all that keeps it, with every version; everything else stays."""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto import mock_aws

from helpers.images import encode, gradient
from infra.settings import StageSettings
from kennel.datasets import erasure
from kennel.errors import KennelError

ONE, OTHER = encode(gradient(90, 70), "JPEG"), encode(gradient(80, 70), "JPEG")
DIGEST, OTHER_DIGEST = (hashlib.sha256(data).hexdigest() for data in (ONE, OTHER))


@dataclass
class Stage:
    """Two versioned buckets, as a deployment has them."""

    s3: Any
    settings: StageSettings

    def client(self, service: str) -> Any:
        return self.s3

    def output(self, stack: str, name: str) -> str:
        return "datasets" if name == "DatasetBucket" else "models"

    def put(self, bucket: str, key: str, *versions: bytes) -> None:
        for data in versions:
            self.s3.put_object(Bucket=bucket, Key=key, Body=data)

    def content(self) -> dict[str, list[bytes]]:
        """Every version of every key, newest first; a delete marker is empty."""
        found: dict[str, list[bytes]] = {}
        for bucket in ("datasets", "models"):
            page = self.s3.list_object_versions(Bucket=bucket)
            for version in page.get("Versions", []):
                body = self.s3.get_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])["Body"]
                found.setdefault(version["Key"], []).append(body.read())
            for marker in page.get("DeleteMarkers", []):
                found.setdefault(marker["Key"], []).append(b"")
        return found


@pytest.fixture
def stage() -> Iterator[Stage]:
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        for bucket in ("datasets", "models"):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield Stage(s3, StageSettings(name="dev", region="us-east-1", log_retention_days=14))


IMAGE = erasure.Image(DIGEST, len(ONE))


def forget(stage: Stage, image: erasure.Image = IMAGE) -> erasure.Erasure:
    found = erasure.search(stage, image, lambda done, of: None)
    erasure.erase(stage, found)
    return found


@pytest.mark.parametrize("size", [len(ONE), None])
def test_dataset_and_inbox_lose_every_version(stage: Stage, size: int | None) -> None:
    stage.put("datasets", "datasets/dogs/train/a/1.jpg", ONE, OTHER)
    stage.put("datasets", "datasets/dogs/train/a/2.jpg", ONE, ONE)
    stage.put("datasets", "inbox/mary.jpg", ONE)
    stage.put("datasets", "inbox/other.jpg", OTHER)
    for key in ("datasets/dogs/train/a/2.jpg", "inbox/mary.jpg"):
        stage.s3.delete_object(Bucket="datasets", Key=key)
    found = forget(stage, erasure.Image(DIGEST, size))
    assert stage.content() == {"datasets/dogs/train/a/1.jpg": [OTHER], "inbox/other.jpg": [OTHER]}
    assert {item.what for item in found.found} == {
        "s3://datasets/datasets/dogs/train/a/1.jpg",
        "s3://datasets/datasets/dogs/train/a/2.jpg",
        "s3://datasets/inbox/mary.jpg",
    }
    assert any("16 days" in what for what in found.remains)


def test_feature_caches_with_its_row_go(stage: Stage) -> None:
    for name, digests in (("with", [DIGEST, OTHER_DIGEST]), ("without", [OTHER_DIGEST])):
        folder = f"checkpoints/features/dogs/{name}"
        stage.put("models", f"{folder}/manifest.json", json.dumps({"splits": {"train": {"digests": digests}}}).encode())
        stage.put("models", f"{folder}/train.npy", b"old", b"new")
    forget(stage)
    assert set(stage.content()) == {
        f"checkpoints/features/dogs/without/{name}" for name in ("manifest.json", "train.npy")
    }


def test_report_keeps_its_other_thumbnails(stage: Stage) -> None:
    figures = {digest: f'<figure data-image="{digest}"><img src="x"></figure>' for digest in (DIGEST, OTHER_DIGEST)}
    key = "packages/run/output/model/report.html"
    stage.put("models", key, f"<h2>{figures[DIGEST]}\n{figures[OTHER_DIGEST]}</h2>".encode())
    stage.put("models", "packages/old/output/model/report.html", b'<figure><img src="x"></figure>')
    found = forget(stage)
    (content,) = stage.content()[key]
    assert DIGEST.encode() not in content
    assert figures[OTHER_DIGEST].encode() in content
    assert any("packages/old/output/model/report.html" in what for what in found.remains)


def test_capture_loses_its_line(stage: Stage) -> None:
    def line(data: bytes) -> str:
        return json.dumps({"captureData": {"endpointInput": {"data": base64.b64encode(data).decode()}}})

    answer = json.dumps({"captureData": {"endpointOutput": {"data": "{}"}}})
    stage.put("models", "captures/e/v/a.jsonl", f"{line(ONE)}\n{answer}\n{line(OTHER)}".encode())
    forget(stage)
    assert stage.content() == {"captures/e/v/a.jsonl": [f"{answer}\n{line(OTHER)}".encode()]}


def test_nothing_found_changes_nothing(stage: Stage) -> None:
    stage.put("datasets", "datasets/dogs/a.jpg", OTHER, OTHER)
    before = stage.content()
    assert forget(stage).found == []
    assert stage.content() == before


def test_image_is_named_by_file_or_digest(tmp_path: Any) -> None:
    (file := tmp_path / "a.jpg").write_bytes(ONE)
    assert erasure.image_of(str(file)) == erasure.Image(DIGEST, len(ONE))
    assert erasure.image_of(DIGEST.upper()) == erasure.Image(DIGEST)
    with pytest.raises(KennelError, match="neither a file nor a SHA-256"):
        erasure.image_of("nothing.jpg")
