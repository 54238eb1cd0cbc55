"""Pretrained weights of backbones: stored by hash, the newest found, those of another network refused."""

import io
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from kennel.errors import KennelError
from kennel.models import backbone_weights

SMALL = "test_vit.r160_in1k"


class Stage:
    """A stage with a bucket, its objects by key with their age in days."""

    def __init__(self, **objects: int) -> None:
        self.listed = [
            {"Key": f"weights/{key.replace('__', '/')}", "LastModified": datetime(2026, 1, 31 - age, tzinfo=UTC)}
            for key, age in objects.items()
        ]
        self.stored: dict[str, bytes] = {}

    def output(self, stack: str, name: str) -> str:
        """The bucket."""
        return "bucket"

    def client(self, service: str) -> Any:
        """S3's client."""
        pages = SimpleNamespace(paginate=lambda **_: [{"Contents": self.listed}, {}])
        return SimpleNamespace(get_paginator=lambda _: pages, upload_fileobj=self._upload)

    def _upload(self, file: io.BytesIO, bucket: str, key: str) -> None:
        self.stored[key] = file.read()


def find(stage: Stage, **settings: str) -> str | None:
    given: Any = stage
    return backbone_weights.uri_for(given, settings)


def test_job_gets_the_newest_weights_of_its_backbone() -> None:
    stage = Stage(resnet50__a=3, resnet50__b=1, resnet50__c=2, convnext_atto__d=0)
    assert find(stage, backbone="resnet50") == "s3://bucket/weights/resnet50/b"


def test_backbone_with_weights_of_its_own_gets_none() -> None:
    assert find(Stage()) is None
    assert find(Stage(), backbone="tiny_random") is None
    assert find(Stage(), backbone="resnet50", weights="hub") is None


def test_missing_weights_start_no_job() -> None:
    with pytest.raises(KennelError, match="no weights of resnet50 in the stage: run `kennel weights resnet50`"):
        find(Stage(convnext_atto__d=0), backbone="resnet50")


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_weights_are_stored_by_hash_without_their_classifier(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(1)
    state, file, stage = timm.create_model(SMALL, num_classes=7).state_dict(), tmp_path / "weights.bin", Stage()
    if kind == "pt":
        torch.save(state, file)
    else:
        save_file(state, file)
    network = backbone_weights.loaded(SMALL, file)
    given: Any = stage
    uri = backbone_weights.store(given, SMALL, network)
    ((key, data),) = stage.stored.items()
    assert uri == f"s3://bucket/{key}"
    assert key.startswith(f"weights/{SMALL}/")
    stored = torch.load(io.BytesIO(data), weights_only=True)
    assert stored.keys() == {name for name in state if not name.startswith("head.")}
    assert all(torch.equal(stored[name], state[name]) for name in stored)
    assert backbone_weights.store(given, SMALL, network) == uri


def test_weights_of_another_network_are_not_stored(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_convnext", num_classes=0).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(KennelError, match="does not have the weights of this backbone"):
        backbone_weights.loaded(SMALL, tmp_path / "weights.pt")


def test_hub_out_of_reach_says_how_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise FileNotFoundError("cannot find the requested files") from OSError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", lambda *given, pretrained, **kwargs: refused() if pretrained else MODEL)
    with pytest.raises(KennelError, match=r"could not be downloaded \(Name or service not known\).* FILE` stores it"):
        backbone_weights.loaded(SMALL, None)


MODEL = timm.create_model(SMALL, num_classes=0)
