"""Backbones of timm by name: architecture, preprocessing and layers are timm's own."""

from pathlib import Path

import pytest
import timm
import torch

from inference.images import Preprocessing
from training.model import backbones
from training.model.backbones import WeightsError

SMALL = "test_vit.r160_in1k"


def test_preprocessing_is_that_of_the_weights() -> None:
    found = backbones.named("mobilenetv4_conv_medium.e500_r256_in1k")
    assert found.input == Preprocessing(256, 0.95, "bicubic")
    assert (found.mean, found.features) == ((0.485, 0.456, 0.406), 1280)


def test_weights_with_a_classifier_are_loaded(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(SMALL, num_classes=7).eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    found = backbones.named(SMALL)
    pixels = torch.rand(2, 3, found.size_px, found.size_px)
    with torch.inference_mode():
        features = found.load(str(tmp_path / "weights.pt"))(pixels)
        expected = whole.forward_head(whole.forward_features(pixels), pre_logits=True)
    assert features.shape == (2, found.features)
    assert torch.allclose(features, expected, atol=1e-6)


def test_every_parameter_has_a_stage() -> None:
    """A transformer has some outside of its modules, such as the position embedding."""
    found = backbones.named(SMALL)
    network = timm.create_model(SMALL, num_classes=0)
    stages = found.stages(network)
    assert sum(map(len, stages)) == len(list(network.parameters()))
    assert any(network.pos_embed is value for value in stages[0])
    assert len(stages) == 2 + len(network.blocks) - 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tinny_patch16_224", "there is no backbone 'vit_tinny_patch16_224': did you mean vit_tiny_patch16_224"),
        ("convnext_atto.none", "convnext_atto has no weights 'none': choose one of d2_in1k"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        backbones.named(name)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_convnext", num_classes=0).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match="does not have the weights of this backbone"):
        backbones.named(SMALL).load(str(tmp_path / "weights.pt"))
