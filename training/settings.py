"""Every setting of training: what it is called, what it is unless given, what it may be, and what the search tries.

Imports nothing heavy, so that the operator's command line can refuse a wrong setting before a job is started.
"""

import argparse
import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

# Names of timm's models are valid, too: whether it has one is known where it is installed.
BACKBONE_NAMES = ("efficientnet_lite0", "resnet50", "tiny_random")
DEFAULT_BACKBONE = "efficientnet_lite0"
# Those whose weights need not be given.
VENDORED = ("efficientnet_lite0", "tiny_random")
TIMM_NAME = re.compile(r"[a-z0-9_]+(\.[A-Za-z0-9_]+)?")
MODES = ("head", "finetune")
PRECISIONS = ("auto", "bf16", "fp32")


class SettingsError(ValueError):
    """Settings that cannot be trained with; the message lists every one."""


def _number(default: Any, low: float, high: float, help: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "help": help})


@dataclass(frozen=True)
class HeadSettings:
    """The settings of the head, which the search is over."""

    learning_rate: float = _number(2e-3, 1e-7, 1, "of AdamW, on a cosine schedule")
    batch_size: int = _number(32, 1, 65536, "images")
    weight_decay: float = _number(1e-2, 0, 10, "of AdamW")
    label_smoothing: float = _number(0.1, 0, 0.9, "0 for none")
    hidden: int = _number(0, 0, 65536, "width of a hidden layer, 0 for a linear head")


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings of the fine-tuning of the whole network; `batch_size` is over all processes.

    A stage of the backbone gets the learning rate `learning_rate · layer_decay^k`, k stages before the head.
    """

    epochs: int = _number(10, 1, 10000, "over all training images")
    batch_size: int = _number(32, 1, 65536, "images, over all processes")
    learning_rate: float = _number(3e-4, 1e-8, 1, "of the head; with AdamW")
    layer_decay: float = _number(0.75, 0.01, 1, "factor of the learning rate, from each stage to the one before it")
    warmup_epochs: float = _number(1.0, 0, 1000, "of linear warm-up before the cosine")
    weight_decay: float = _number(1e-2, 0, 10, "of AdamW")
    label_smoothing: float = _number(0.1, 0, 0.9, "0 for none")
    randaugment: int = _number(9, 0, 30, "magnitude of RandAugment, 0 for none")
    ema_decay: float = _number(0.998, 0, 0.999999, "of the moving average of the weights that is kept")
    precision: str = "auto"
    seed: int = 1


@dataclass(frozen=True)
class Range:
    """A real number between two, searched on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """One of several whole numbers."""

    values: tuple[int, ...]


# One table for Optuna and for SageMaker's tuner.
SPACE: dict[str, Range | Choice] = {
    "learning_rate": Range(1e-4, 1e-2, log=True),
    "batch_size": Choice((32, 64, 128, 256)),
    "weight_decay": Range(1e-4, 1e-1, log=True),
    "label_smoothing": Range(0.0, 0.2),
    "hidden": Choice((0, 256)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds every setting as an argument."""
    parser.add_argument("--mode", choices=MODES, default="head", help="finetune: then the whole network too")
    parser.add_argument(
        "--backbone",
        type=_backbone,
        default=DEFAULT_BACKBONE,
        help=f"{', '.join(BACKBONE_NAMES)}, or the name of a model of timm, such as convnext_tiny.fb_in1k",
    )
    parser.add_argument("--weights", help="a file with a state dict, or `hub`; default: vendored, or channel `weights`")
    parser.add_argument("--valid-fraction", type=float, default=0.2, help="held out if the folder has no split")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same model")
    of_head = parser.add_argument_group("the head")
    of_head.add_argument("--epochs", type=int, default=15, help="over the cached features (15)")
    _add_fields(of_head, HeadSettings, "")
    of_whole = parser.add_argument_group("the whole network (--mode finetune)")
    of_whole.add_argument("--processes-per-host", type=int, help="one per GPU, or one, by default")
    of_whole.add_argument(
        "--finetune-precision", choices=PRECISIONS, default="auto", help="auto: bf16 where the hardware is fast at it"
    )
    _add_fields(of_whole, FinetuneSettings, "finetune-")


def _backbone(name: str) -> str:
    if not TIMM_NAME.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{name!r} is not the name of a backbone, such as convnext_tiny.fb_in1k")
    return name


def check(arguments: argparse.Namespace) -> None:
    """Raises SettingsError if a setting among the arguments is out of its bounds."""
    errors = []
    for prefix, kind in (("", HeadSettings), ("finetune_", FinetuneSettings)):
        for item in dataclasses.fields(kind):
            if "low" in item.metadata:
                value, low, high = getattr(arguments, prefix + item.name), item.metadata["low"], item.metadata["high"]
                if not low <= value <= high:
                    errors.append(f"{prefix}{item.name} must be from {low:g} to {high:g}, not {value:g}")
    for name, value, low, high in (
        ("epochs", arguments.epochs, 1, 10000),
        ("valid_fraction", arguments.valid_fraction, 0.01, 0.9),
        ("processes_per_host", arguments.processes_per_host or 1, 1, 64),
        ("seed", arguments.seed, 0, 2**31),
    ):
        if not low <= value <= high:
            errors.append(f"{name} must be from {low:g} to {high:g}, not {value:g}")
    if errors:
        raise SettingsError("\n".join(errors))


def settings_of(kind: Any, arguments: argparse.Namespace, prefix: str = "") -> Any:
    """The settings of a dataclass among the arguments, those named `prefix`name first."""
    given = vars(arguments)
    names = [item.name for item in dataclasses.fields(kind)]
    return kind(**{name: given[f"{prefix}{name}" if f"{prefix}{name}" in given else name] for name in names})


def check_pairs(pairs: dict[str, str], options: tuple[str, ...] = ()) -> None:
    """Raises SettingsError unless the pairs (names with underscores, values as text) are settings of training.

    `options` are further names that the program at hand knows.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_arguments(parser)
    for option in options:
        parser.add_argument(f"--{option.replace('_', '-')}")
    line = [part for name, value in pairs.items() for part in (f"--{name.replace('_', '-')}", value)]
    arguments, unknown = parser.parse_known_args(line)
    if unknown:
        known = sorted(action.dest for action in parser._actions)
        names = ", ".join(part.removeprefix("--").replace("-", "_") for part in unknown if part.startswith("--"))
        raise SettingsError(f"unknown setting {names}; known: {', '.join(known)}")
    check(arguments)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """Raises instead of ending the process."""
        raise SettingsError(message.replace("argument --", ""))


def _add_fields(group: Any, kind: Any, prefix: str) -> None:
    for item in dataclasses.fields(kind):
        if "help" in item.metadata:
            name = f"--{prefix}{item.name.replace('_', '-')}"
            group.add_argument(
                name, type=item.type, default=item.default, help=f"{item.metadata['help']} ({item.default:g})"
            )
