"""Settings: what is out of bounds or unknown is refused before a job is started, all at once."""

import dataclasses

import pytest

from training import settings
from training.model.backbones import BACKBONES
from training.settings import SPACE, HeadSettings, SettingsError


def test_backbone_names_match_backbones() -> None:
    assert set(settings.BACKBONE_NAMES) == set(BACKBONES)


def test_search_space_has_only_head_settings() -> None:
    assert set(SPACE) <= {item.name for item in dataclasses.fields(HeadSettings)}


def test_valid_settings_are_accepted() -> None:
    settings.check_pairs({"learning_rate": "0.01", "epochs": "3", "mode": "finetune", "finetune_epochs": "2"})
    settings.check_pairs({"trials": "3"}, options=("trials",))


@pytest.mark.parametrize(
    ("pairs", "messages"),
    [
        ({"lr": "0.1"}, ["unknown setting lr; known:", "learning_rate"]),
        ({"epochs": "many"}, ["epochs: invalid int value: 'many'"]),
        ({"mode": "fast"}, ["mode: invalid choice: 'fast'"]),
        ({"epochs": "0", "batch_size": "-1"}, ["epochs must be from 1", "batch_size must be from 1"]),
        ({"learning_rate": "nan"}, ["learning_rate must be from"]),
        ({"finetune_layer_decay": "2"}, ["finetune_layer_decay must be from 0.01 to 1, not 2"]),
    ],
)
def test_invalid_settings_are_explained(pairs: dict[str, str], messages: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.check_pairs(pairs)
    for message in messages:
        assert message in str(caught.value)
