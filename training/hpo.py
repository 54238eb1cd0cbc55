"""Searches for the head's settings on cached features, then trains with the best and writes the model package.

One job, many trials: the features are computed once, a trial takes seconds. The search (Optuna: TPE, Hyperband)
is kept in a journal below the checkpoints, so that an interrupted one goes on, and a longer one adds to it.

    python -m training.hpo --data FOLDER --model-dir OUT --trials 50

With --trial it is one trial of SageMaker's tuner: it reads the cache from the channel `features`, trains a head with
the settings given, and says how good it is.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

# First: it finds the vendored packages.
from training import train  # isort: split

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from training import sagemaker_env
from training.export import report
from training.model import backbones, features, head
from training.model.features import Cache
from training.progress import log_line, progress
from training.settings import SPACE, Choice, HeadSettings, settings_of

STARTUP_TRIALS = 8
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def main() -> int:
    """Returns the exit status."""
    arguments = parse()
    return train.run(lambda: _one(arguments) if arguments.trial else search(arguments))


def search(arguments: argparse.Namespace) -> None:
    """Runs the trials that are still missing, writes the search's result, and trains with the best settings."""
    train.seed_everything(arguments.seed)
    backbone = backbones.named(arguments.backbone)
    network = backbone.load(train.weights(arguments))
    data = train.load_data(arguments)
    cache = features.cached(arguments.checkpoint_dir / "features", data, backbone, network, progress())
    file = train.search_file(arguments, data)
    file.parent.mkdir(parents=True, exist_ok=True)

    found = find(cache, file.with_suffix(".journal"), arguments)
    file.write_text(json.dumps(dataclasses.asdict(found)) + "\n")
    for row in found.trials[: report.TRIALS]:
        log_line(_line(row))
    best = argparse.Namespace(**{**vars(arguments), **found.best})
    log_line("training with the best: " + ", ".join(f"{name}={value:.4g}" for name, value in found.best.items()))
    train.train(best, data, found)


def find(cache: Cache, journal: Path, arguments: argparse.Namespace) -> report.Search:
    """Runs the trials that the journal lacks; returns all of them, best first."""
    study = _study(journal, arguments)
    missing = arguments.trials - len(study.get_trials(deepcopy=False, states=DONE))
    if missing < arguments.trials:
        log_line(f"{arguments.trials - missing} trials are in the journal, {max(0, missing)} to go")
    study.optimize(lambda trial: _try(trial, cache, arguments), n_trials=max(0, missing), callbacks=[_say_trial])
    return _result(study)


def _study(journal: Path, arguments: argparse.Namespace) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        # Another number of epochs is another search: its values do not compare.
        study_name=f"{arguments.epochs} epochs",
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(journal))),
        direction="maximize",
        load_if_exists=True,
    )
    finished = len(study.get_trials(deepcopy=False, states=DONE))
    # A restarted sampler with the same seed would draw again what it has drawn before.
    study.sampler = optuna.samplers.TPESampler(seed=arguments.seed + finished, n_startup_trials=STARTUP_TRIALS)
    study.pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=arguments.epochs, reduction_factor=3)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    if not study.get_trials(deepcopy=False):
        # The defaults first: the search is never worse than no search.
        study.enqueue_trial({name: getattr(HeadSettings(), name) for name in SPACE})
    return study


def _try(trial: optuna.Trial, cache: Cache, arguments: argparse.Namespace) -> float:
    settings = HeadSettings(**{name: _suggest(trial, name) for name in SPACE})
    best: list[head.EpochMetrics] = []

    def after_epoch(epoch: head.EpochMetrics) -> None:
        if not best or epoch.loss < best[0].loss:
            best[:] = [epoch]
        trial.report(epoch.top1, epoch.number)
        trial.set_user_attr("top1", best[0].top1)
        trial.set_user_attr("loss", best[0].loss)
        if trial.should_prune():
            raise optuna.TrialPruned

    head.train(
        cache.splits["train"],
        cache.splits["valid"],
        len(cache.labels),
        settings,
        epochs=arguments.epochs,
        seed=arguments.seed,
        after_epoch=after_epoch,
    )
    return best[0].top1


def _suggest(trial: optuna.Trial, name: str) -> Any:
    space = SPACE[name]
    if isinstance(space, Choice):
        return trial.suggest_categorical(name, space.values)
    return trial.suggest_float(name, space.low, space.high, log=space.log)


def _result(study: optuna.Study) -> report.Search:
    """The trials, best first: by top-1, and by loss where many are equal, as on small validation splits."""

    def rank(trial: FrozenTrial) -> tuple[bool, float, float]:
        return trial.state == TrialState.PRUNED, -trial.user_attrs["top1"], trial.user_attrs["loss"]

    trials = sorted(study.get_trials(deepcopy=False, states=DONE), key=rank)
    rows = [
        {
            "number": trial.number,
            "value": trial.user_attrs["top1"],
            "loss": trial.user_attrs["loss"],
            "state": "pruned" if trial.state == TrialState.PRUNED else "complete",
            "settings": trial.params,
        }
        for trial in trials
    ]
    return report.Search(rows, trials[0].params)


def _say_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    state = "pruned" if trial.state == TrialState.PRUNED else "complete"
    row = {"number": trial.number, "value": trial.user_attrs["top1"], "state": state, "settings": trial.params}
    log_line(_line(row))


def _line(row: dict[str, Any]) -> str:
    settings = " ".join(f"{name}={value:.4g}" for name, value in row["settings"].items())
    return f"trial {row['number']:>3} top1={row['value']:.4f} {row['state']:<8} {settings}"


def _one(arguments: argparse.Namespace) -> None:
    train.seed_everything(arguments.seed)
    cache = features.load(arguments.features)
    kept: list[head.EpochMetrics] = []

    def after_epoch(epoch: head.EpochMetrics) -> None:
        log_line(f"epoch={epoch.number} train_loss={epoch.train_loss:.4f} epoch_top1={epoch.top1:.4f}")
        if not kept or epoch.loss < kept[0].loss:
            kept[:] = [epoch]

    settings = settings_of(HeadSettings, arguments)
    parts = cache.splits["train"], cache.splits["valid"], len(cache.labels)
    head.train(*parts, settings, epochs=arguments.epochs, seed=arguments.seed, after_epoch=after_epoch)
    # The tuner's objective: said once, of the epoch that would be kept.
    log_line(f"valid_top1={kept[0].top1:.4f} valid_loss={kept[0].loss:.4f}")


def parse() -> argparse.Namespace:
    """The arguments, from the command line and from the job's hyperparameters."""
    parser = train.parser()
    parser.add_argument("--trials", type=int, default=50, help="how many the search has in the end")
    parser.add_argument("--trial", type=int, choices=(0, 1), default=0, help="1: one trial of SageMaker's tuner")
    parser.add_argument("--features", type=Path, default=sagemaker_env.channel("features"), help="its cache")
    arguments = train.parse(parser)
    if arguments.trial and arguments.features is None:
        parser.error("no feature cache: give --features FOLDER, or a channel named features")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
