"""A network as it is served, and its export to ONNX."""

import io
import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import torch
from torch import nn

# One image at a time, and shapes that are known: OpenVINO loses accuracy in int8 where the batch size is open.
BATCH = 1


class ServingModule(nn.Module):
    """The network as it is served: RGB pixels (1, size, size, 3) of 0..255 in; normalisation is in it."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("scale", 1 / (torch.tensor(std).view(1, 3, 1, 1) * 255))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(1, size, size, 3) of uint8 to (1, outputs of the network)."""
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)
        outputs: torch.Tensor = self.network((planes - self.mean) * self.scale)
        return outputs


def to_onnx(served: ServingModule, size_px: int, file: Path) -> torch.export.ExportedProgram:
    """Writes the network to `file`: "pixels" (1, size_px, size_px, 3) to "outputs". Returns what was exported."""
    for values in served.parameters():
        # Training may have left the weights in channels-last order, which torch.export warns of.
        values.data = values.data.contiguous()
    example = torch.zeros(BATCH, size_px, size_px, 3, dtype=torch.uint8)
    with torch.no_grad(), quiet():
        program = torch.export.export(served.eval(), (example,))
        torch.onnx.export(
            program, (example,), file, dynamo=True, input_names=["pixels"], output_names=["outputs"],
            external_data=False, verbose=False,
        )  # fmt: skip
    return program


@contextmanager
def quiet() -> Generator[None]:
    """Without the messages of the exporters."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
