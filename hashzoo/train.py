"""What a trainer gets (a job), what it gives back (towers), and the default trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hashzoo.model import Towers


@dataclass
class Batch:
    """Some training rows: their numbers in 0..n-1, what the towers take, and labels (B, C) float in {0, 1}."""

    index: Tensor
    image: Tensor
    text: Tensor
    labels: Tensor


class Rows:
    """The training rows of a job, indexed 0..n-1.

    `image` and `text` are what the towers take: cached features (n, width) of a frozen encoder, or
    prepared items (n, ...) of one that is trained along. They may be memory-mapped: take batches.
    """

    def __init__(self, image: np.ndarray, text: np.ndarray, labels: np.ndarray, device: torch.device):
        self._image, self._text, self.device = image, text, device
        self.labels = torch.from_numpy(labels.astype(np.float32)).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self._image[index.numpy()]).to(self.device)

    def text(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self._text[index.numpy()]).to(self.device)

    def batch(self, index: Tensor) -> Batch:
        return Batch(index, self.image(index), self.text(index), self.labels[index.to(self.device)])


@dataclass
class Job:
    """All that a trainer may touch. Query and database rows cannot be reached from it.

    Attributes:
        train: the training rows.
        bits: code length.
        classes: label names, in the order of the label columns.
        widths: {"image": {"pooled": dim, ...}, "text": {...}}, what the heads see.
        loss: the recipe's loss, or None when the trainer brings its own.
        device: where the towers are.
        generator: the only source of randomness a trainer needs (CPU, seeded).
        towers: builds fresh towers; two calls give two different initialisations.
        text_inputs: strings to what the text tower takes, (len, width); label prompts, for example.
        log: call once an epoch with the epoch's number and the mean of each term.
    """

    train: Rows
    bits: int
    classes: tuple[str, ...]
    widths: dict[str, dict[str, int]]
    loss: nn.Module | None
    device: torch.device
    generator: torch.Generator
    towers: Callable[[], Towers]
    text_inputs: Callable[[Sequence[str]], Tensor]
    log: Callable[..., None]

    def batches(self, size: int) -> Iterator[Batch]:
        """One epoch: all training rows in random order, the last batch may be smaller."""
        for index in torch.randperm(len(self.train), generator=self.generator).split(size):
            yield self.train.batch(index)


class Trainer(ABC):
    """Fits towers. Constructor keywords are its settings (`--set trainer.epochs=20`)."""

    @abstractmethod
    def fit(self, job: Job) -> Towers:
        """Train on the job's rows and give the towers back, however they were made."""


class GradientTrainer(Trainer):
    """Both towers on the recipe's loss: AdamW, cosine decay, a fixed number of epochs.

    Args:
        epochs: passes over the training rows.
        batch: rows a step.
        lr: learning rate of the heads.
        encoder_lr: learning rate of encoders that are trained along (`--set image.frozen=false`).
        weight_decay: AdamW's.
    """

    def __init__(
        self,
        epochs: int = 50,
        batch: int = 128,
        lr: float = 1e-3,
        encoder_lr: float = 1e-5,
        weight_decay: float = 1e-4,
    ):
        self.epochs, self.batch, self.lr = epochs, batch, lr
        self.encoder_lr, self.weight_decay = encoder_lr, weight_decay

    def fit(self, job: Job) -> Towers:
        assert job.loss is not None, "the recipe of this method names no loss"
        towers = job.towers()
        groups = parameter_groups(towers, self.lr, self.encoder_lr)
        optimiser = torch.optim.AdamW(groups, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(self.epochs, 1))
        for epoch in range(1, self.epochs + 1):
            meter = Meter()
            for batch in job.batches(self.batch):
                terms = job.loss(towers(batch.image, batch.text), batch)
                optimiser.zero_grad()
                torch.stack(list(terms.values())).sum().backward()
                optimiser.step()
                meter.add(terms, len(batch.index))
            schedule.step()
            job.log(epoch=epoch, **meter.means())
        return towers


class Untrained(Trainer):
    """Gives back fresh towers: what a head scores before it has learned anything."""

    def fit(self, job: Job) -> Towers:
        return job.towers()


def parameter_groups(module: nn.Module, lr: float, encoder_lr: float) -> list[dict]:
    """Optimiser groups: parameters of encoders inside towers get their own, smaller learning rate."""
    encoder = [p for name, p in module.named_parameters() if "encoder." in name and p.requires_grad]
    rest = [p for name, p in module.named_parameters() if "encoder." not in name and p.requires_grad]
    return [{"params": rest, "lr": lr}, *([{"params": encoder, "lr": encoder_lr}] if encoder else [])]


class Meter:
    """Means of loss terms over an epoch, weighted by rows."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._rows = 0

    def add(self, terms: dict[str, Tensor], rows: int) -> None:
        for name, term in terms.items():
            self._sums[name] += term.item() * rows
        self._rows += rows

    def means(self) -> dict[str, float]:
        return {name: total / self._rows for name, total in self._sums.items()}
