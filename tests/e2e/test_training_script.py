"""Training: the same trained from the same seed; the trained answers as the trained model did."""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from helpers import REPOSITORY
from helpers.images import encode, gradient
from inference.predictor import Predictor
from training.data import dataset

IMAGE = encode(gradient(), "JPEG")
CLASSES = ("disc", "star", "stripes")
HEAD = ("--epochs", "2")
FINETUNE = ("--mode", "finetune", "--finetune-epochs", "1", "--finetune-randaugment", "0")


def train(data: Path, out: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(out.parent / "ml")}
    if "--backbone" not in arguments:
        arguments = ("--backbone", "tiny_random", *arguments)
    command = [sys.executable, "-m", "training.train", "--data", str(data), "--model-dir", str(out)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "model"
    result = train(images, folder, "--epochs", "10")
    assert result.returncode == 0, result.stderr
    assert "valid_top1=" in result.stdout
    return folder


def test_package_is_complete_with_valid_hashes(trained: Path) -> None:
    description = json.loads((trained / "model.json").read_text())
    assert json.loads((trained / "labels.json").read_text()) == list(CLASSES)
    served = {f"inference/{file.name}" for file in (REPOSITORY / "inference").glob("*.py")} | {"config.yaml"}
    made = {"labels.json", description["variant"]["file"], "metrics.json"}
    brought = {name for name in description["sha256"] if name.startswith("code/cp313/")}
    assert served | made | brought == set(description["sha256"])
    for name, digest in description["sha256"].items():
        assert hashlib.sha256((trained / name).read_bytes()).hexdigest() == digest
    assert description["backbone"] == "tiny_random"
    assert description["metrics"]["valid"]["top1"] >= 0
    assert description["variant"]["verdict"] == "served"
    assert {item["name"] for item in description["vendored"]} <= {"simplejpeg", "onnxruntime", "openvino"}
    assert "code/cp313/simplejpeg/__init__.py" in brought


def test_numbers_are_those_of_what_is_served(trained: Path, images: Path) -> None:
    data = dataset.load(images, seed=1)  # the default
    predictor = Predictor(trained)
    losses = []
    for sample in data.splits["valid"]:
        answers = {item["label"]: item["probability"] for item in predictor.predict(sample.path.read_bytes(), top_k=3)}
        losses.append(-math.log(answers[data.labels[sample.label]]))
    told = json.loads((trained / "model.json").read_text())["metrics"]["valid"]
    assert told["loss_calibrated"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)


def test_model_that_tells_nothing_fails_the_job(images: Path, tmp_path: Path) -> None:
    """The classes of the validation images are swapped."""
    swapped = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
    for label in CLASSES:
        shutil.copytree(images / label, tmp_path / "data" / "train" / label)
        for file in sorted((images / label).iterdir())[:3]:
            target = tmp_path / "data" / "valid" / swapped[label] / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    (tmp_path / "ml").mkdir()
    result = train(tmp_path / "data", tmp_path / "model", "--epochs", "40")
    assert result.returncode == 1
    reason = (tmp_path / "ml" / "output" / "failure").read_text()
    assert "on the 9 images of valid the model is not better than predicting one class" in reason
    assert not (tmp_path / "model" / "model.json").exists()


def test_probabilities_are_sorted_and_sum_to_one(trained: Path) -> None:
    predictions = Predictor(trained).predict(IMAGE, top_k=10)
    assert {item["label"] for item in predictions} == set(CLASSES)
    values = [item["probability"] for item in predictions]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1, abs=1e-4)


def test_same_seed_yields_identical_model(images: Path, trained: Path, tmp_path: Path) -> None:
    assert train(images, tmp_path / "model", "--epochs", "10").returncode == 0
    again, first = (json.loads((folder / "model.json").read_text()) for folder in (tmp_path / "model", trained))
    assert again["metrics"] == first["metrics"]
    one, other = (
        torch.load(folder / "checkpoints" / "network.pt", weights_only=True) for folder in (tmp_path, trained.parent)
    )
    assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


def resnet50() -> torch.nn.Module:
    from torchvision import models

    return models.resnet50()


def of_timm(name: str) -> torch.nn.Module:
    import timm

    return timm.create_model(name, num_classes=1000)


@pytest.mark.parametrize(
    ("backbone", "build", "crop", "mode"),
    [
        ("resnet50", resnet50, 0.875, HEAD),
        ("mobilenetv4_conv_small", partial(of_timm, "mobilenetv4_conv_small"), 0.875, FINETUNE),
        ("convnext_atto.d2_in1k", partial(of_timm, "convnext_atto"), 0.875, FINETUNE),
        ("vit_tiny_patch16_224", partial(of_timm, "vit_tiny_patch16_224"), 0.9, FINETUNE),
    ],
)
def test_backbone_is_trained_exported_and_served(
    images: Path,
    tmp_path: Path,
    backbone: str,
    build: Callable[[], torch.nn.Module],
    crop: float,
    mode: tuple[str, ...],
) -> None:
    """With weights from a file, which has a classifier of its own, as published weights have."""
    torch.manual_seed(3)
    torch.save(build().state_dict(), tmp_path / "weights.pth")
    weights = ("--weights", str(tmp_path / "weights.pth"))
    result = train(images, tmp_path / "model", "--backbone", backbone, *weights, *mode)
    assert result.returncode == 0, result.stdout + result.stderr
    description = json.loads((tmp_path / "model" / "model.json").read_text())
    assert (description["backbone"], description["input"]["crop"]) == (backbone, crop)
    predictions = Predictor(tmp_path / "model").predict(IMAGE, top_k=3)
    assert sum(item["probability"] for item in predictions) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backbone", "resnet50"), "resnet50 needs its weights"),
        (("--backbone", "convnext_atto"), "convnext_atto needs its weights: `kennel weights convnext_atto`"),
        (("--backbone", "convnext_ato"), "there is no backbone 'convnext_ato': did you mean convnext_atto"),
        (("--backbone", "resnet50", "--weights", "nowhere.pth"), "no weights at"),
        (("--weights", "hub"), "omit --weights"),
        (("--backbone", "efficientnet_lite0", "--weights", "hub"), "omit --weights"),
    ],
)
def test_weights_error_is_in_failure_file(
    images: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "ml").mkdir()
    result = train(images, tmp_path / "model", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert message in (tmp_path / "ml" / "output" / "failure").read_text()
    assert "Traceback" not in result.stderr


def test_settings_error_is_in_failure_file(images: Path, tmp_path: Path) -> None:
    (tmp_path / "ml").mkdir()
    result = train(images, tmp_path / "model", "--epochs", "0", "--hidden", "-1")
    assert result.returncode == 2
    reason = (tmp_path / "ml" / "output" / "failure").read_text()
    assert "epochs must be from 1 to 10000, not 0" in reason
    assert "hidden must be from 0 to 65536, not -1" in reason


def test_dataset_errors_are_reported_before_training(images: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(images, broken)
    (broken / "empty").mkdir()
    first = next((broken / "star").iterdir())
    shutil.copy(first, broken / "disc" / "copy.png")
    (broken / "disc" / "cut.png").write_bytes(first.read_bytes()[:100])
    (tmp_path / "ml").mkdir()
    result = train(broken, tmp_path / "model")
    assert result.returncode == 1
    reason = (tmp_path / "ml" / "output" / "failure").read_text()
    for wrong in ("class 'empty': no images", "disc/cut.png: ", "which has another class"):
        assert wrong in reason
        assert wrong in result.stderr
    assert not (tmp_path / "checkpoints").exists()
    assert "train: " not in result.stdout
