"""Search and head: the same from the same seed, better with training, and a search that survives its end."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from training import hpo
from training.model import head
from training.model.features import Cache, Features
from training.settings import SPACE, Choice, HeadSettings, Range


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Three classes that a linear head can tell apart."""
    generator = np.random.default_rng(1)
    splits = {}
    for split, count, views in (("train", 120, 2), ("valid", 60, 1)):
        labels = np.arange(count) % 3
        rows = generator.normal(size=(count, views, 8)) + 2 * np.eye(8)[labels][:, None]
        np.save(tmp_path / f"{split}.npy", rows.astype(np.float32))
        splits[split] = Features(tmp_path / f"{split}.npy", labels)
    return Cache(tmp_path, "fingerprint", "tiny", ["a", "b", "c"], splits)


def arguments(trials: int) -> argparse.Namespace:
    return argparse.Namespace(trials=trials, epochs=4, seed=1)


def train(cache: Cache, settings: HeadSettings, seed: int = 1) -> tuple[torch.nn.Module, list[head.EpochMetrics]]:
    epochs: list[head.EpochMetrics] = []
    trained = head.train(
        cache.splits["train"], cache.splits["valid"], 3, settings, epochs=10, seed=seed, after_epoch=epochs.append
    )
    return trained, epochs


@pytest.mark.parametrize("hidden", [0, 16])
def test_head_training_is_deterministic_and_learns(cache: Cache, hidden: int) -> None:
    settings = HeadSettings(learning_rate=0.05, hidden=hidden)
    (one, epochs), (other, _) = train(cache, settings), train(cache, settings)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert epochs[-1].train_loss < epochs[0].train_loss
    top1, loss = head.score(one, cache.splits["valid"])
    assert top1 > 0.7
    assert loss == pytest.approx(min(epoch.loss for epoch in epochs))


def test_other_seed_yields_other_head(cache: Cache) -> None:
    one, other = train(cache, HeadSettings())[0], train(cache, HeadSettings(), seed=2)[0]
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


def test_finished_search_adds_missing_trials(cache: Cache, tmp_path: Path) -> None:
    journal = tmp_path / "search.journal"
    first = hpo.find(cache, journal, arguments(6))
    assert len(first.trials) == 6
    again = hpo.find(cache, journal, arguments(6))
    assert again == first
    longer = hpo.find(cache, journal, arguments(9))
    assert [trial for trial in longer.trials if trial["number"] < 6] == first.trials
    assert len(longer.trials) == 9


def test_interrupted_trial_is_run_again(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, real, tries = tmp_path / "search.journal", head.train, []

    def killed(*args: object, **options: object) -> torch.nn.Module:
        tries.append(1)
        if len(tries) == 3:
            raise SystemExit  # no handler of Optuna's sees it: the trial stays RUNNING, as after SIGKILL
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(head, "train", killed)
    with pytest.raises(SystemExit):
        hpo.find(cache, journal, arguments(5))
    found = hpo.find(cache, journal, arguments(5))
    assert len(found.trials) == 5
    assert len(tries) == 6


def test_search_is_deterministic(cache: Cache, tmp_path: Path) -> None:
    one = hpo.find(cache, tmp_path / "one.journal", arguments(12))
    other = hpo.find(cache, tmp_path / "other.journal", arguments(12))
    assert one == other


def test_search_tries_defaults_within_space(cache: Cache, tmp_path: Path) -> None:
    found = hpo.find(cache, tmp_path / "search.journal", arguments(10))
    defaults = {name: getattr(HeadSettings(), name) for name in SPACE}
    assert defaults in [trial["settings"] for trial in found.trials]
    for trial in found.trials:
        for name, value in trial["settings"].items():
            space = SPACE[name]
            if isinstance(space, Choice):
                assert value in space.values
            else:
                assert isinstance(space, Range)
                assert space.low <= value <= space.high
    complete = [trial for trial in found.trials if trial["state"] == "complete"]
    assert found.best == complete[0]["settings"]
    assert complete[0]["value"] == max(trial["value"] for trial in complete)
