"""A training that gave no model ends with the reason, and not with a package."""

import pytest
import torch

from training.export import gates
from training.model.evaluation import Predictions
from training.model.head import EpochMetrics

NAN = float("nan")


def scored(answers: list[int], targets: list[int], sure: float = 2.0) -> Predictions:
    logits = torch.zeros(len(answers), max(*answers, *targets) + 1)
    logits[range(len(answers)), answers] = sure
    return Predictions(logits, torch.tensor(targets))


@pytest.mark.parametrize(
    ("logit", "losses", "mode", "message"),
    [
        (1.0, (0.5, NAN, NAN), "head", r"not a number since epoch 2: lower learning_rate \(--set"),
        (1.0, (float("inf"),), "finetune", "since epoch 1: lower finetune_learning_rate"),
        (NAN, (0.5,), "head", "the loss is not a number: lower learning_rate"),
    ],
)
def test_loss_that_is_no_number_is_the_reason(logit: float, losses: tuple[float, ...], mode: str, message: str) -> None:
    epochs = [EpochMetrics(number, loss, 0.5, loss) for number, loss in enumerate(losses, start=1)]
    with pytest.raises(gates.NoModel, match=message):
        gates.require_numbers(epochs, {"valid": Predictions(torch.tensor([[logit, 0.0]]), torch.tensor([0]))}, mode)


def test_numbers_pass() -> None:
    gates.require_numbers([EpochMetrics(1, 0.5, 0.5, 0.4)], {"valid": scored([0, 1], [0, 1])}, "head")


@pytest.mark.parametrize(
    ("answers", "targets"),
    [
        ([0] * 8, [0] * 6 + [1] * 2),  # always the commonest class: top-1 of 0.75
        ([1] * 8, [0] * 6 + [1] * 2),
        ([0, 1] * 4, [0, 0, 1, 1] * 2),  # chance
        ([1, 1, 0, 0] * 2, [0, 0, 1, 1] * 2),
        ([2] * 9, [0, 1, 2] * 3),
    ],
)
def test_model_no_better_than_one_answer_is_refused(answers: list[int], targets: list[int]) -> None:
    with pytest.raises(gates.NoModel, match="images of test the model is not better than predicting one class"):
        gates.require_skill(scored(answers, targets), "test")


@pytest.mark.parametrize(
    ("answers", "targets"),
    [
        ([0, 1] * 4, [0, 1] * 4),
        # Nine of ten right always; this one finds the rare class, and is right on eight.
        ([0] * 7 + [1] * 3, [0] * 9 + [1]),
        # One class alone says nothing of a model, and neither do a few images.
        ([0, 1] * 4, [0] * 8),
        ([0] * 7, [0] * 6 + [1]),
    ],
)
def test_model_that_tells_classes_passes(answers: list[int], targets: list[int]) -> None:
    gates.require_skill(scored(answers, targets), "test")


def test_finetuning_that_harms_is_refused() -> None:
    worse = scored([0, 1, 1, 1] * 2, [0, 1, 0, 0] * 2)
    with pytest.raises(
        gates.NoModel, match=r"worse: validation top-1 0.5000, 0.7500 before: lower finetune_learning_rate"
    ):
        gates.require_gain(gates.Start(top1=0.75, loss=0.1), worse)


@pytest.mark.parametrize(
    "start", [None, gates.Start(top1=0.5, loss=0.1), gates.Start(top1=0.75, loss=9.0)], ids=["head", "even", "surer"]
)
def test_finetuning_that_gains_or_is_even_passes(start: gates.Start | None) -> None:
    gates.require_gain(start, scored([0, 1, 1, 1] * 2, [0, 1, 0, 0] * 2))


def test_finetuning_is_not_judged_on_a_few_images() -> None:
    gates.require_gain(gates.Start(top1=0.75, loss=0.1), scored([1], [0]))
