"""Which variant of a model is served: the fastest that holds its accuracy, and is worth its runtime's size."""

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import variants
from drawing import encode
from images import Pixels
from variants import Served, Variant

SIZE_PX, CLASSES = 32, 8
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def pictures(seed: int) -> list[tuple[Pixels, int]]:
    """Noisy pictures of eight colours: the corners of the cube."""
    noise = np.random.default_rng(seed)
    return [
        (
            (noise.integers(40, 90, (SIZE_PX, SIZE_PX, 3)) + 120 * np.array([label & 1, label >> 1 & 1, label >> 2])),
            label,
        )
        for label in [*range(CLASSES)] * 8
    ]


def trained() -> Served:
    """A small network of the layers that backbones are made of; its last one is fitted to the colours."""
    torch.manual_seed(1)
    body = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6(),
        nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), nn.ReLU6(), nn.Conv2d(16, 64, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()  # fmt: skip
    last = nn.Linear(64, CLASSES)
    served = Served(nn.Sequential(body, last), MEAN, STD).eval().requires_grad_(False)
    inputs = torch.stack([torch.from_numpy(pixels.astype(np.float32)) for pixels, _ in pictures(1)]).permute(0, 3, 1, 2)
    features = body((inputs - served.mean) * served.scale)
    wanted = nn.functional.one_hot(torch.tensor([label for _, label in pictures(1)])).float()
    last.bias.zero_()
    last.weight.copy_(10 * torch.linalg.lstsq(features, wanted, driver="gelsd").solution.T)
    return served


@pytest.fixture
def measured(tmp_path: Path) -> Callable[[list[Pixels]], dict[tuple[str, str], Variant]]:
    def measure(calibration: list[Pixels]) -> dict[tuple[str, str], Variant]:
        served = trained()
        variants.export(served, SIZE_PX, calibration, tmp_path)
        samples = []
        for number, (pixels, label) in enumerate(pictures(2)):
            file = tmp_path / f"{number}.png"
            file.write_bytes(encode(Image.fromarray(pixels.astype(np.uint8)), "PNG"))
            samples.append((file, label))
        found = variants.measure(served, tmp_path, SIZE_PX, samples, lambda done, of: None)
        return {(one.runtime, one.precision): one for one in found}

    return measure


def test_given_a_network_when_measured_then_every_variant_answers_as_it_does(
    measured: Callable[[list[Pixels]], dict[tuple[str, str], Variant]],
) -> None:
    found = measured([pixels.astype(np.uint8) for pixels, _ in pictures(3)])
    assert len(found) == 1 + len(variants.SERVABLE)
    assert found[variants.REFERENCE, "fp32"].top1 == 1
    for (runtime, precision), one in found.items():
        assert one.agreement == 1, runtime
        assert not one.verdict.startswith("rejected"), runtime
        assert precision != "fp32" or one.max_logit_difference < 1e-2, runtime
        assert 0 < one.ms_quartiles[0] <= one.ms <= one.ms_quartiles[1]


def test_given_a_network_when_exported_then_nothing_that_is_written_is_a_pickle(tmp_path: Path) -> None:
    variants.export(trained(), SIZE_PX, [pixels.astype(np.uint8) for pixels, _ in pictures(3)], tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {variants.TORCH, variants.ONNX, variants.INT8}
    assert [found for file in tmp_path.iterdir() for found in pickles(file.name, file.read_bytes())] == []


def test_given_what_torch_pickles_when_looked_for_then_it_is_found(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    assert list(pickles("a.pt", (tmp_path / "a.pt").read_bytes())) == ["a.pt/a/data.pkl"]


def pickles(name: str, data: bytes) -> Iterator[str]:
    """The pickles in a file, and in the archives in it."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                yield from pickles(f"{name}/{member}", archive.read(member))
    elif name.endswith(".pkl") or (data[:1] == pickle.PROTO and data.endswith(pickle.STOP)):
        yield name


def test_given_a_sabotaged_calibration_when_measured_then_int8_is_rejected_and_not_served(
    measured: Callable[[list[Pixels]], dict[tuple[str, str], Variant]],
) -> None:
    black = [np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)] * 8
    found = measured(black)
    for runtime in ("onnxruntime", "openvino"):
        assert found[runtime, "int8"].top1 < 0.9
        assert found[runtime, "int8"].verdict.startswith("rejected: it loses")
    found["onnxruntime", "int8"].ms = found["openvino", "int8"].ms = 0.001
    assert variants.choose([*found.values()]).precision != "int8"


def test_given_candidates_when_chosen_then_a_larger_runtime_has_to_be_worth_its_size() -> None:
    reference = candidate(variants.REFERENCE, 1.0, verdict="the reference")
    torch_, onnx, openvino = candidate("torch", 20), candidate("onnxruntime", 10), candidate("openvino", 9)
    assert variants.choose([reference, torch_, onnx, openvino]) is onnx
    assert "not worth its size" in openvino.verdict
    assert (torch_.verdict, onnx.verdict) == ("slower", "served")
    assert variants.choose([candidate("torch", 20), candidate("openvino", 8)]).runtime == "openvino"


def test_given_a_variant_whose_logits_are_no_numbers_when_chosen_then_it_is_not_served() -> None:
    sound, broken = candidate("torch", 20), candidate("onnxruntime", 1)
    for one, values in ((sound, [1.0, 0.0]), (broken, [np.nan, 0.0])):
        one.logits, one.times = [np.array(values, np.float32)] * 2, [one.ms / 1000] * 2
    reference = Variant(variants.REFERENCE, "fp32", logits=sound.logits, times=[0.03, 0.03])
    variants._judge([reference, sound, broken], np.array([0, 0]))
    assert broken.verdict == "rejected: it gives numbers that are none"
    assert variants.choose([reference, sound, broken]) is sound


def test_given_no_variant_that_holds_when_chosen_then_it_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no variant"):
        variants.choose([candidate("torch", 20, verdict="rejected: it loses 3.0 percentage points")])


def candidate(runtime: str, ms: float, verdict: str = "") -> Variant:
    return Variant(runtime, "fp32", "file", ms=ms, verdict=verdict)
