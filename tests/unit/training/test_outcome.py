"""A training that gave no model ends with the reason, and not with a package."""

import pytest
import torch
from torch import nn

import outcome
import variants
from evaluation import Scored
from head import Epoch

NAN = float("nan")


def trained(logit: float, *losses: float) -> outcome.Trained:
    scored = {"valid": Scored(torch.tensor([[logit, 0.0]]), torch.tensor([0]))}
    epochs = [Epoch(number, loss, 0.5, loss) for number, loss in enumerate(losses, start=1)]
    return outcome.Trained(nn.Sequential(), scored, {}, epochs)


@pytest.mark.parametrize(
    ("logit", "losses", "mode", "message"),
    [
        (1.0, (0.5, NAN, NAN), "head", r"not a number since epoch 2: lower learning_rate \(--set"),
        (1.0, (float("inf"),), "finetune", "since epoch 1: lower finetune_learning_rate"),
        (NAN, (0.5,), "head", "the loss is not a number: lower learning_rate"),
    ],
)
def test_loss_that_is_no_number_is_the_reason(logit: float, losses: tuple[float, ...], mode: str, message: str) -> None:
    with pytest.raises(variants.NoModel, match=message):
        outcome._require_numbers(trained(logit, *losses), mode)


def test_numbers_pass() -> None:
    outcome._require_numbers(trained(1.0, 0.5, 0.4), "head")
