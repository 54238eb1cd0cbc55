"""Backbones of timm by name, such as `convnext_tiny.fb_in1k`: its architectures, with the preprocessing of its weights.

A name is that of timm.list_models(), with or without the tag of pretrained weights after a dot; these are not in timm
itself, and a job has no network: they come from a file (`kennel weights` downloads and stores one).
"""

import difflib
import functools
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.models import group_parameters
from torch import nn

from training.model.backbones import HUB, Backbone, WeightsError, downloading, load_state


@functools.cache
def named(name: str) -> Backbone:
    """The backbone of a name. Raises WeightsError if timm has no such model, or if Kennel cannot use it."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        raise WeightsError(f"there is no backbone {name!r}" + (f": did you mean {', '.join(close)}?" if close else ""))
    if tag and tag not in (tags := _tags(architecture)):
        raise WeightsError(f"{architecture} has no weights {tag!r}: choose one of {', '.join(tags) or 'no tags'}")
    with torch.device("meta"):
        network: Any = _network(name)
    given = network.pretrained_cfg
    channels, height, width = given["input_size"]
    if channels != 3 or height != width:
        raise WeightsError(f"{name} takes {height} × {width} pixels of {channels} channels: choose one for square RGB")
    if given["interpolation"] not in ("bicubic", "bilinear"):
        raise WeightsError(f"{name} was trained with {given['interpolation']} interpolation: choose another backbone")
    return Backbone(
        name,
        height,
        tuple(given["mean"]),
        tuple(given["std"]),
        network.head_hidden_size,
        functools.partial(_load, name),
        _stages,
        given["crop_pct"],
        given["interpolation"],
    )


def _load(name: str, weights: str | None) -> nn.Module:
    if weights == HUB:
        with downloading(name):
            network: Any = timm.create_model(name, pretrained=True, num_classes=0)
        return cast(nn.Module, network)
    if weights is None:
        raise WeightsError(
            f"{name} needs its weights: `kennel weights {name}` stores them for jobs; by hand, give --weights FILE, or "
            "--weights hub with a network"
        )
    network = _network(name)
    classifier = network.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else classifier
    load_state(network, Path(weights), tuple(f"{one}." for one in names))
    return network


def _network(name: str) -> Any:
    """The architecture without its classifier: (N, 3, size, size) to (N, features)."""
    return timm.create_model(name, pretrained=False, num_classes=0)


def _tags(architecture: str) -> list[str]:
    return [name.partition(".")[2] for name in timm.list_pretrained(architecture)]


def _stages(network: Any) -> list[list[nn.Parameter]]:
    """timm's own layers, by which its optimizers decay the learning rate."""
    layers = group_parameters(network, network.group_matcher(coarse=True), reverse=True)
    found: dict[int, list[nn.Parameter]] = {}
    for name, values in network.named_parameters():
        found.setdefault(layers[name], []).append(values)
    return [found[layer] for layer in sorted(found)]
