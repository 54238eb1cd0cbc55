"""The contract of SageMaker's training container: where things are, and how hyperparameters arrive.

With SageMaker's own toolkit hyperparameters are arguments and folders are SM_* variables; without it there are only
the files and folders below /opt/ml. Both work, and so does a plain command line.
"""

import json
import os
import sys
from pathlib import Path

ROOT = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def channel(name: str) -> Path | None:
    """The folder of an input channel, or none if the job has no such channel."""
    folder = Path(os.environ.get(f"SM_CHANNEL_{name.upper()}", ROOT / "input" / "data" / name))
    return folder if folder.is_dir() else None


def model_dir() -> Path:
    """The folder of the job's result."""
    return Path(os.environ.get("SM_MODEL_DIR", ROOT / "model"))


def checkpoint_dir() -> Path | None:
    """The folder of checkpoints, which a restarted job finds again; none without a job."""
    folder = Path(os.environ.get("SM_CHECKPOINT_DIR", ROOT / "checkpoints"))
    return folder if folder.is_dir() else None


def hosts() -> tuple[list[str], str]:
    """The names of the job's hosts, in the order of their ranks, and of this one."""
    file = ROOT / "input" / "config" / "resourceconfig.json"
    if not file.is_file():
        return ["localhost"], "localhost"
    resources = json.loads(file.read_text())
    return sorted(resources["hosts"]), resources["current_host"]


def interface() -> str | None:
    """The network interface by which the job's hosts reach each other; None without a job."""
    file = ROOT / "input" / "config" / "resourceconfig.json"
    return str(json.loads(file.read_text())["network_interface_name"]) if file.is_file() else None


def arguments() -> list[str]:
    """The command line, after the hyperparameters of the job (so that the command line wins)."""
    file = ROOT / "input" / "config" / "hyperparameters.json"
    given = json.loads(file.read_text()) if file.is_file() else {}
    # SageMaker's toolkit and tuner add some of their own.
    ours = {name: value for name, value in given.items() if not name.startswith(("sagemaker_", "_"))}
    pairs = ((f"--{name.replace('_', '-')}", _plain(value)) for name, value in ours.items())
    return [part for pair in pairs for part in pair] + [_option(part) for part in sys.argv[1:]]


def report_failure(message: str) -> None:
    """Leaves `message` where SageMaker looks for the reason of a failed job."""
    if ROOT.is_dir():
        (ROOT / "output").mkdir(exist_ok=True)
        (ROOT / "output" / "failure").write_text(message)


def _option(part: str) -> str:
    """SageMaker's toolkit passes hyperparameters under their own names, underscores included."""
    return part.replace("_", "-") if part.startswith("--") and "=" not in part else part


def _plain(value: str) -> str:
    """SageMaker's SDK writes each value as JSON, other clients as it is."""
    try:
        return str(json.loads(value))
    except json.JSONDecodeError:
        return value
