"""Training: the same package from the same seed; the package answers as the trained model did."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from drawing import encode, gradient
from kennel import sample
from predictor import Predictor

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = encode(gradient(), "JPEG")
CLASSES = ("disc", "star", "stripes")


def train(data: Path, out: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(out.parent / "ml")}
    command = [sys.executable, str(REPOSITORY / "training" / "train.py"), "--data", str(data), "--model-dir", str(out)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of the sample set, a few pictures of each, in one folder of classes."""
    whole, few = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("few")
    sample.write(whole)
    for label in CLASSES:
        (few / label).mkdir()
        for file in sorted((whole / "train" / label).iterdir())[:6]:
            file.rename(few / label / file.name)
    return few


@pytest.fixture(scope="module")
def package(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "model"
    result = train(pictures, folder, "--epochs", "10")
    assert result.returncode == 0, result.stderr
    assert "valid_top1=" in result.stdout
    return folder


@pytest.mark.slow
def test_given_pictures_when_trained_then_the_package_is_complete_and_its_hashes_hold(package: Path) -> None:
    description = json.loads((package / "model.json").read_text())
    assert json.loads((package / "labels.json").read_text()) == list(CLASSES)
    served = {file.name for file in (REPOSITORY / "inference").iterdir() if file.suffix in (".py", ".yaml")}
    made = {"labels.json", description["variant"]["file"], "metrics.json", "report.html"}
    brought = {name for name in description["sha256"] if name.startswith("code/cp313/")}
    assert served | made | brought == set(description["sha256"])
    for name, digest in description["sha256"].items():
        assert hashlib.sha256((package / name).read_bytes()).hexdigest() == digest
    assert description["backbone"] == "efficientnet_lite0"
    assert description["metrics"]["valid"]["top1"] >= 0
    assert description["variant"]["verdict"] == "served"
    assert {item["name"] for item in description["vendored"]} <= {"simplejpeg", "onnxruntime", "openvino"}
    assert "code/cp313/simplejpeg/__init__.py" in brought


@pytest.mark.slow
def test_given_a_package_when_asked_then_probabilities_are_of_known_labels_best_first(package: Path) -> None:
    predictions = Predictor(package).predict(PICTURE, top_k=10)
    assert {item["label"] for item in predictions} == set(CLASSES)
    values = [item["probability"] for item in predictions]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_given_the_same_seed_when_trained_again_then_the_model_is_the_same(
    pictures: Path, package: Path, tmp_path: Path
) -> None:
    assert train(pictures, tmp_path / "model", "--epochs", "10").returncode == 0
    again, first = (json.loads((folder / "model.json").read_text()) for folder in (tmp_path / "model", package))
    assert again["metrics"] == first["metrics"]
    one, other = (
        torch.load(folder / "checkpoints" / "network.pt", weights_only=True) for folder in (tmp_path, package.parent)
    )
    assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


@pytest.mark.slow
def test_given_resnet50_weights_in_a_file_when_trained_then_they_are_used(pictures: Path, tmp_path: Path) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(3)
    torch.save(resnet50().state_dict(), tmp_path / "weights.pth")
    weights = ("--weights", str(tmp_path / "weights.pth"))
    result = train(pictures, tmp_path / "model", "--backbone", "resnet50", *weights, "--epochs", "2")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "model" / "model.json").read_text())["backbone"] == "resnet50"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backbone", "resnet50"), "resnet50 needs its weights"),
        (("--backbone", "resnet50", "--weights", "nowhere.pth"), "no weights at"),
        (("--weights", "hub"), "leave --weights out"),
    ],
)
def test_given_no_weights_when_trained_then_the_reason_is_where_sagemaker_looks(
    pictures: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "ml").mkdir()
    result = train(pictures, tmp_path / "model", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert message in (tmp_path / "ml" / "output" / "failure").read_text()
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_given_a_wrong_setting_when_trained_then_the_reason_is_where_sagemaker_looks(
    pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "ml").mkdir()
    result = train(pictures, tmp_path / "model", "--epochs", "0", "--hidden", "-1")
    assert result.returncode == 2
    reason = (tmp_path / "ml" / "output" / "failure").read_text()
    assert "epochs must be from 1 to 10000, not 0" in reason
    assert "hidden must be from 0 to 65536, not -1" in reason


@pytest.mark.slow
def test_given_a_broken_dataset_when_trained_then_all_that_is_wrong_is_said_before_anything_is_computed(
    pictures: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(pictures, broken)
    (broken / "empty").mkdir()
    first = next((broken / "star").iterdir())
    shutil.copy(first, broken / "disc" / "copy.png")
    (broken / "disc" / "cut.png").write_bytes(first.read_bytes()[:100])
    (tmp_path / "ml").mkdir()
    result = train(broken, tmp_path / "model")
    assert result.returncode == 1
    reason = (tmp_path / "ml" / "output" / "failure").read_text()
    for wrong in ("class 'empty': no pictures", "disc/cut.png: ", "which has another class"):
        assert wrong in reason
        assert wrong in result.stderr
    assert not (tmp_path / "checkpoints").exists()
    assert "train: " not in result.stdout
