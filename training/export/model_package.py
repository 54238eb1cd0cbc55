"""The model package: everything that the serving container needs, in one folder."""

import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
from pathlib import Path
from typing import Any

from inference import integrity
from training.export import candidates, wheels
from training.export.candidates import Candidate

SERVING = Path(__file__).resolve().parents[2] / "inference"
VENDORED = f"code/{wheels.TAG}"
# What says what the others are; and what nothing serves, and a person's image may be taken out of
# (kennel/datasets/erasure.py).
UNHASHED = (integrity.DESCRIPTION, integrity.REPORT)
# What the container lacks: the decoder of every package, and the runtime of its variant.
DECODER = "simplejpeg"
CONFIG = "config.yaml"
NOT_SERVED = shutil.ignore_patterns("__pycache__", "*.pyc")


def write(folder: Path, labels: list[str], kept: Candidate, description: dict[str, Any]) -> dict[str, Any]:
    """Completes the package in `folder`, where the variants' files are; returns model.json.

    `description` has at least "name" and "input". Raises wheels.WheelError.
    """
    for file in {candidates.TORCH, candidates.ONNX, candidates.INT8} - {kept.file}:
        (folder / file).unlink()
    shutil.copytree(SERVING, folder / SERVING.name, ignore=NOT_SERVED, dirs_exist_ok=True)
    # Where the container looks for it.
    (folder / SERVING.name / CONFIG).rename(folder / CONFIG)
    (folder / "labels.json").write_text(json.dumps(labels, indent=1) + "\n")
    # Again: a runtime that an earlier package had must not stay.
    shutil.rmtree(folder / "code", ignore_errors=True)
    brought = [DECODER] if kept.runtime == "torch" else [DECODER, kept.runtime]
    vendored = [wheels.unpack(name, folder / VENDORED) for name in brought]

    document = {
        **description,
        "variant": {**kept.document(), "measured_on": processor()},
        "vendored": [vars(one) for one in vendored],
        "versions": {name: importlib.metadata.version(name) for name in ("torch", *brought)},
        "sha256": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in UNHASHED and "__pycache__" not in path.parts
        },
    }
    (folder / "model.json").write_text(json.dumps(document, indent=2) + "\n")
    return document


def processor() -> str:
    """The name of this machine's processor: another one may rank the variants otherwise."""
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except FileNotFoundError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
