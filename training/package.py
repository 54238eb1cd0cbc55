"""The model package: everything that the serving container needs, in one folder."""

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

SERVING = Path(__file__).resolve().parent.parent / "inference"
MODEL_FILE = "model.pt2"
# What the exported model is tried with; its batch dimension is then free.
EXAMPLE_BATCH = 2
MAX_BATCH = 64


def write(folder: Path, network: nn.Module, labels: list[str], description: dict[str, Any]) -> dict[str, Any]:
    """Exports `network` and writes the package of DESIGN's layout into `folder`; returns model.json.

    `description` has at least "name" and "input"; the export is checked against the network, whose logits it must
    reproduce within 1e-4.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(path for path in SERVING.iterdir() if path.suffix in (".py", ".yaml")):
        shutil.copy(source, folder / source.name)
    (folder / "labels.json").write_text(json.dumps(labels, indent=1) + "\n")
    difference = _export(network, folder / MODEL_FILE, description["input"]["size_px"])

    document = {
        **description,
        "variant": {"file": MODEL_FILE, "kind": "torch-export", "max_logit_difference": difference},
        "versions": {"torch": torch.__version__},
        "sha256": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
            if path.name != "model.json"
        },
    }
    (folder / "model.json").write_text(json.dumps(document, indent=2) + "\n")
    return document


def _export(network: nn.Module, file: Path, size_px: int) -> float:
    example = torch.rand(EXAMPLE_BATCH, 3, size_px, size_px)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with torch.no_grad(), warnings.catch_warnings():
        # torch warns of its own loader's read-only buffer.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        for values in network.parameters():
            # Training may have left the weights in channels-last order, which torch.export warns of.
            values.data = values.data.contiguous()
        exported = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))
        torch.export.save(exported, file)
        single = example[:1]
        difference = float((torch.export.load(file).module()(single) - network(single)).abs().max())
    if difference > 1e-4:
        raise RuntimeError(f"the exported model differs from the trained one by {difference:.2g} in its logits")
    return difference
