"""Full fine-tuning: the trained head first, then the whole network, on any number of processes, resumable at any step.

What a step sees follows from the seed, the epoch and the image alone, never from the number of processes: the same
global batch gives the same losses on one process and on eight.
"""

import math
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from inference.images import centre, normalise, opened
from training.data.dataset import Dataset, Sample
from training.export.gates import Start
from training.model.backbones import Backbone, on_device
from training.model.checkpoint import Checkpoint
from training.model.distributed import Group
from training.model.evaluation import Predictions
from training.model.head import EpochMetrics
from training.settings import FinetuneSettings

# A prime, so that neighbouring seeds, epochs and images do not share random numbers.
SEED_STEP = 1_000_003
EVALUATION_BATCH = 32


class Interrupted(Exception):
    """The training was stopped (SIGTERM, as before a spot interruption); its state is in the checkpoint."""


class _Images(TorchDataset[tuple[torch.Tensor, int]]):
    """The samples of a split as model input; augmented where `epoch` is given, by (seed, epoch, image) alone."""

    def __init__(
        self, samples: list[Sample], backbone: Backbone, settings: FinetuneSettings, epoch: int | None
    ) -> None:
        # torchvision takes longer to import than a head takes to train, and the training of a head needs none of it.
        from torchvision import transforms

        self._samples, self._backbone = samples, backbone
        self._seed, self._epoch = settings.seed, epoch
        steps: list[Any] = [
            transforms.RandomResizedCrop(
                backbone.size_px,
                scale=(0.35, 1.0),
                interpolation=transforms.InterpolationMode(backbone.interpolation),
            ),
            transforms.RandomHorizontalFlip(),
        ]
        if settings.randaugment:
            steps.append(transforms.RandAugment(num_ops=2, magnitude=settings.randaugment))
        self._augment = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        sample = self._samples[index]
        whole = opened(sample.path.read_bytes(), self._backbone.input.shorter_side)
        if self._epoch is None:
            pixels = centre(whole, self._backbone.input)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed((self._seed * SEED_STEP + self._epoch) * SEED_STEP + index)
                pixels = np.asarray(self._augment(Image.fromarray(whole)))
        return torch.from_numpy(normalise(pixels, self._backbone.mean, self._backbone.std)), sample.label


@dataclass
class _Position:
    """The progress of training: `step` steps of epoch `epoch` (from 1) are done, with these sums over their images."""

    epoch: int = 1
    step: int = 0
    loss: float = 0.0
    images: int = 0


class Finetuning:
    """One fine-tuning of `network` (backbone and head in a sequence), in the processes of `group`."""

    def __init__(
        self,
        network: nn.Sequential,
        backbone: Backbone,
        data: Dataset,
        settings: FinetuneSettings,
        group: Group,
        checkpoint: Checkpoint,
        start: Start | None = None,
    ) -> None:
        self._backbone, self._data, self._settings = backbone, data, settings
        self._group, self._checkpoint = group, checkpoint
        self._network = network
        on_device(network, group.device)
        self._train_set = data.splits["train"]
        self._steps = -(-len(self._train_set) // settings.batch_size)
        _unfreeze(self._network)
        self._optimiser = torch.optim.AdamW(_parameter_groups(self._network, backbone, settings))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._learning_rate_at)
        self._average = AveragedModel(self._network, multi_avg_fn=_moving_average(settings.ema_decay))
        self._position = _Position()
        self.history: list[EpochMetrics] = []
        # The network's weights before training; for a resumed one, from its checkpoint.
        self.start = start
        self._stop = threading.Event()

    def run(self, after_epoch: Callable[[EpochMetrics], Any]) -> nn.Sequential:
        """Trains to the end, from the checkpoint if there is one, and returns the averaged network, frozen.

        Saves a checkpoint after each epoch, and on SIGTERM after the step that is running; then raises Interrupted.
        """
        self._restore()
        parallel: nn.Module = self._network
        if self._group.size > 1:
            parallel = nn.parallel.DistributedDataParallel(self._network, broadcast_buffers=False)
        # Python lets only the main thread handle signals.
        previous = signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        try:
            while self._position.epoch <= self._settings.epochs:
                self._train_epoch(parallel)
                epoch = self._finish_epoch()
                after_epoch(epoch)
        finally:
            signal.signal(signal.SIGTERM, previous)
        averaged = cast(nn.Sequential, self._average.module)
        return averaged.eval().requires_grad_(False)

    def logits(self, network: nn.Module, split: str) -> Predictions:
        """The logits of a split, computed by all processes, in the order of its samples."""
        samples = self._data.splits[split]
        mine = self._group.part(list(range(len(samples))))
        images = _Images(samples, self._backbone, self._settings, None)
        outputs = []
        network.eval()
        with torch.inference_mode(), self._precision():
            for inputs, _ in self._loader(
                images, [mine[i : i + EVALUATION_BATCH] for i in range(0, len(mine), EVALUATION_BATCH)]
            ):
                outputs.append(network(inputs).float().cpu())
        parts = self._group.gather((mine, torch.cat(outputs) if outputs else None))
        logits = torch.empty(len(samples), len(self._data.labels))
        for numbers, values in parts:
            if numbers:
                logits[numbers] = values
        return Predictions(logits, torch.tensor([sample.label for sample in samples]))

    def _train_epoch(self, parallel: nn.Module) -> None:
        position, settings = self._position, self._settings
        batches = self._batches(position.epoch)
        mine = [self._group.part(batch) for batch in batches[position.step :]]
        images = _Images(self._train_set, self._backbone, settings, position.epoch)
        # A process without a share of the last batch takes part with an image that does not count.
        loaded = self._loader(images, [part or batches[0][:1] for part in mine])
        for (inputs, targets), part, batch in zip(loaded, mine, batches[position.step :], strict=True):
            with self._precision():
                losses = F.cross_entropy(
                    parallel(inputs).float(), targets, label_smoothing=settings.label_smoothing, reduction="sum"
                ) * bool(part)
            self._optimiser.zero_grad()
            # The processes' gradients are averaged: this makes the average that of the whole batch.
            torch.autograd.backward(losses * self._group.size / len(batch))
            self._optimiser.step()
            self._schedule.step()
            self._average.update_parameters(self._network)
            loss, stop = self._group.sum([losses.item(), float(self._stop.is_set())])
            position.step += 1
            position.loss += loss
            position.images += len(batch)
            if stop:
                self._save()
                raise Interrupted(f"stopped in epoch {position.epoch} after step {position.step}")

    def _finish_epoch(self) -> EpochMetrics:
        position = self._position
        scored = self.logits(self._average.module, "valid")
        top1 = float((scored.logits.argmax(1) == scored.targets).float().mean())
        loss = float(F.cross_entropy(scored.logits, scored.targets))
        epoch = EpochMetrics(position.epoch, position.loss / position.images, top1, loss)
        self.history.append(epoch)
        self._position = _Position(epoch=position.epoch + 1)
        self._save()
        return epoch

    def _batches(self, epoch: int) -> list[list[int]]:
        """The global batches of an epoch, each a list of sample numbers."""
        generator = torch.Generator().manual_seed(self._settings.seed * SEED_STEP + epoch)
        order = torch.randperm(len(self._train_set), generator=generator).tolist()
        size = self._settings.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _loader(self, images: _Images, batches: list[list[int]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        device = self._group.device
        # On a CPU the network needs the cores more than the decoding does.
        workers = 0 if device.type == "cpu" else 4
        for inputs, targets in DataLoader(images, batch_sampler=batches, num_workers=workers):
            yield inputs.to(device, memory_format=torch.channels_last), targets.to(device)

    def _learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero: the factor of the learning rate at a step."""
        whole, warm = self._steps * self._settings.epochs, self._steps * self._settings.warmup_epochs
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, whole - warm)))

    def _precision(self) -> Any:
        device = self._group.device.type
        wanted = self._settings.precision
        return torch.autocast(
            device, torch.bfloat16, enabled=wanted == "bf16" or (wanted == "auto" and has_bf16(device))
        )

    def _save(self) -> None:
        if self._group.first:
            self._checkpoint.save(
                {
                    "network": self._network.state_dict(),
                    "average": self._average.state_dict(),
                    "optimiser": self._optimiser.state_dict(),
                    "schedule": self._schedule.state_dict(),
                    "position": asdict(self._position),
                    "start": asdict(self.start) if self.start else None,
                    "history": [asdict(epoch) for epoch in self.history],
                    "random": {"torch": torch.get_rng_state(), "numpy": _numpy_state()},
                }
            )

    def _restore(self) -> None:
        state = self._group.from_first(self._checkpoint.load() if self._group.first else None)
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._position = _Position(**state["position"])
        self.start = Start(**saved) if (saved := state.get("start")) else None
        self.history = [EpochMetrics(**epoch) for epoch in state["history"]]
        torch.set_rng_state(state["random"]["torch"])
        np.random.set_state(state["random"]["numpy"])
        if self._group.first:
            print(
                f"kennel: resumed in epoch {self._position.epoch} after step {self._position.step} of {self._steps}",
                flush=True,
            )


def _numpy_state() -> dict[str, Any]:
    """numpy's random state without its array, which the restricted loader of checkpoints refuses."""
    state = np.random.get_state(legacy=False)
    return {**state, "state": {**state["state"], "key": state["state"]["key"].tolist()}}


def has_bf16(device: str) -> bool:
    """True if the hardware multiplies bfloat16 faster than float32: GPUs that support it, and CPUs with AMX.

    CPUs with AVX-512 BF16 alone ran the convolutions slower than in float32 when it was measured.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported())


def _unfreeze(network: nn.Sequential) -> None:
    """Everything learns but batch norm, whose statistics and scales stay those of the pretraining.

    A few hundred images in small batches would spoil them; so the backbone stays in evaluation mode, and the head
    does not.
    """
    network.eval().requires_grad_(True)
    network[1].train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.requires_grad_(False)


def _parameter_groups(network: nn.Sequential, backbone: Backbone, settings: FinetuneSettings) -> list[dict[str, Any]]:
    """Parameters by learning rate; biases are not decayed."""
    body, head = network
    stages = [*backbone.stages(body), list(head.parameters())]
    groups = []
    for place, parameters in enumerate(stages):
        rate = settings.learning_rate * settings.layer_decay ** (len(stages) - 1 - place)
        learning = [value for value in parameters if value.requires_grad]
        for values, decay in (
            ([value for value in learning if value.ndim > 1], settings.weight_decay),
            ([value for value in learning if value.ndim <= 1], 0.0),
        ):
            if values:
                groups.append({"params": values, "lr": rate, "weight_decay": decay})
    return groups


def _moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential moving average that follows closely at first, so that short trainings are averaged rightly too."""

    def update(averages: Any, values: Any, count: torch.Tensor) -> None:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, values, 1 - keep)

    return update
