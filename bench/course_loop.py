"""The course project's training, as a baseline: what `hpo.py` and `train_model.py` of the original do, and how.

Frozen backbone and new head in one network, run over every image in every epoch of every trial, in training mode:
batch norm learns from the batches under the frozen weights. No normalisation. Adam on the head, the course's ranges
for learning rate and batch size, one DataLoader without workers. Two things are fixed, or there would be nothing to
compare: an epoch's early stop that ended each trial after the first epoch, and the final score, which is here
measured in evaluation mode on the validation images.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from training.model import backbones

LEARNING_RATES = (0.001, 0.1)
BATCH_SIZES = (32, 64, 128, 256, 512)
HIDDEN = 128
SIZE_PX = 224


@dataclass(frozen=True)
class Settings:
    """The settings that the course's tuner draws."""

    learning_rate: float
    batch_size: int


def tune_and_train(folder: Path, backbone: str, trials: int, epochs: int, seed: int) -> float:
    """Runs the trials and the final training with the best; returns its validation top-1."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    training, valid = _loaders(folder)
    tried = []
    for _ in range(trials):
        low, high = LEARNING_RATES
        settings = Settings(low * (high / low) ** draw.random(), draw.choice(BATCH_SIZES))
        tried.append((_train(backbone, training, valid, settings, epochs), settings))
    _, best = min(tried, key=lambda item: item[0][0])
    return _train(backbone, training, valid, best, epochs)[1]


def _loaders(folder: Path) -> tuple[ImageFolder, ImageFolder]:
    augmented = transforms.Compose(
        [transforms.RandomResizedCrop(SIZE_PX), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    plain = transforms.Compose([transforms.Resize((SIZE_PX, SIZE_PX)), transforms.ToTensor()])
    return ImageFolder(str(folder / "train"), augmented), ImageFolder(str(folder / "val"), plain)


def _train(
    backbone: str, training: ImageFolder, valid: ImageFolder, settings: Settings, epochs: int
) -> tuple[float, float]:
    """Trains again; returns the last validation loss and the top-1."""
    chosen = backbones.named(backbone)
    classes = len(training.classes)
    head = nn.Sequential(nn.Linear(chosen.features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
    network = nn.Sequential(chosen.load(None), head)
    criterion, optimiser = nn.CrossEntropyLoss(), torch.optim.Adam(head.parameters(), lr=settings.learning_rate)
    batches = DataLoader(training, batch_size=settings.batch_size, shuffle=True)
    loss, top1 = 0.0, 0.0
    for _ in range(epochs):
        network.train()
        for inputs, labels in batches:
            optimiser.zero_grad()
            criterion(network(inputs), labels).backward()
            optimiser.step()
        loss, top1 = _score(network, valid, settings.batch_size)
    return loss, top1


def _score(network: nn.Module, valid: ImageFolder, batch_size: int) -> tuple[float, float]:
    network.eval()
    loss, right = 0.0, 0
    with torch.no_grad():
        for inputs, labels in DataLoader(valid, batch_size=batch_size):
            outputs = network(inputs)
            loss += float(nn.functional.cross_entropy(outputs, labels, reduction="sum"))
            right += int((outputs.argmax(1) == labels).sum())
    return loss / len(valid), right / len(valid)
