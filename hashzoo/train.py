"""What a trainer gets (a job), what it gives back (towers), and the default trainer."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hashzoo.model import Pooled, Tower, Towers
from hashzoo.once import Common, check_function
from hashzoo.storage.arrays import Selected, take

STATISTICS_ROWS = 20_000  # of the training rows, from which features are centred and scaled


@dataclass
class Batch:
    """Some training rows: their numbers in 0..n-1, what the towers take, and labels (B, C) float in {0, 1}."""

    index: Tensor
    image: Tensor
    text: Tensor
    labels: Tensor


class _TakenBatch(Batch):
    """A batch whose images and texts are taken from the rows when they are asked for: a stage may need one alone."""

    def __init__(self, rows: Rows, index: Tensor, labels: Tensor):
        self.index, self.labels, self._rows = index, labels, rows

    @cached_property
    def image(self) -> Tensor:  # type: ignore[override]
        return self._rows.image(self.index)

    @cached_property
    def text(self) -> Tensor:  # type: ignore[override]
        return self._rows.text(self.index)


class Rows:
    """The training (or validation) rows of a job, indexed 0..n-1.

    `image` and `text` are what the towers take: cached features (n, width) of a frozen encoder, or
    prepared items (n, ...) of one that is trained along. They may be read from a file when they are taken: take
    batches. Features come as float32, however they are kept. `extra` holds features of the same rows by the roles of
    further encoders.
    """

    def __init__(
        self,
        image: np.ndarray | Selected,
        text: np.ndarray | Selected,
        labels: np.ndarray,
        device: torch.device,
        extra: Mapping[str, np.ndarray | Selected] | None = None,
    ):
        self._image, self._text, self._extra, self.device = image, text, dict(extra or {}), device
        self._labels = torch.from_numpy(labels).to(device)

    def __len__(self) -> int:
        return len(self._labels)

    @functools.cached_property
    def labels(self) -> Tensor:
        """Labels of all rows, (n, C) float in {0, 1}; four bytes an entry, which batches do not need."""
        return self._labels.float()

    def image(self, index: Tensor) -> Tensor:
        return self._take(self._image, index)

    def text(self, index: Tensor) -> Tensor:
        return self._take(self._text, index)

    def extra(self, role: str, index: Tensor) -> Tensor:
        """Features of a further encoder that the method names (`Method.extra`), (len(index), width), frozen."""
        return self._take(self._extra[role], index)

    def batch(self, index: Tensor) -> Batch:
        return _TakenBatch(self, index, self._labels.index_select(0, index.to(self.device)).float())

    def _take(self, array: np.ndarray | Selected, index: Tensor) -> Tensor:
        taken = torch.from_numpy(take(array, index.numpy())).to(self.device)
        return taken.float() if taken.is_floating_point() else taken


@dataclass
class Job:
    """All that a trainer may touch. Query and database rows cannot be reached from it.

    Attributes:
        train: the training rows.
        bits: code length.
        classes: label names, in the order of the label columns.
        widths: {"image": {"pooled": dim, ...}, "text": {...}}, what the heads see, and the same of further encoders;
            (tokens, width) of a sequence.
        loss: the recipe's loss, or None when the trainer brings its own.
        device: where the towers are.
        generator: the only source of randomness a trainer needs (CPU, seeded).
        towers: builds fresh towers; two calls give two different initialisations.
        text_inputs: strings to what the text tower takes, (len, width); label prompts, for example. None where
            the texts are features that were given, which no string can be turned into.
        log: call once an epoch with the epoch's number and the mean of each term. A method in stages says which
            (`stage="teacher"`) and may count each from 1; a line without `epoch` is a measurement beside.
        val: rows held out of training, on which an epoch or a constant may be chosen, or None.
        common: what the cell has in common with others of its bench (see `once`), or None.
    """

    train: Rows
    bits: int
    classes: tuple[str, ...]
    widths: dict[str, dict[str, Any]]
    loss: nn.Module | None
    device: torch.device
    generator: torch.Generator
    towers: Callable[[], Towers]
    text_inputs: Callable[[Sequence[str]], Tensor] | None
    log: Callable[..., None]
    val: Rows | None = None
    common: Common | None = None

    def batches(self, size: int) -> Iterator[Batch]:
        """One epoch: all training rows in random order, in batches of at most `size` that differ by one row."""
        order = torch.randperm(len(self.train), generator=self.generator)
        for index in order.tensor_split(-(-len(order) // size)):
            yield self.train.batch(index)

    def standardised(self, role: str) -> Tower:
        """A tower that centres and scales what `train.extra(role, ...)` gives, (B, dim), and does nothing else.

        Statistics are of the training rows of this job.
        """
        tower = Tower(Pooled(), self.widths[role])
        tower.standardise(self.train.extra(role, torch.arange(len(self.train))[:STATISTICS_ROWS]).cpu())
        return tower.to(self.device)

    def once(self, function: Callable[..., Any], *settings: Any, **named: Any) -> Any:
        """`function(job, *settings, **named)`, computed once for all cells of a bench for which it is the same.

        For what does not depend on the code length, such as the covariances of a closed form, or not on what is swept,
        such as a teacher. Another cell takes it over, with the lines that it logged and the random numbers that it
        drew, where the settings are equal and so is all else that it looked at: of its job, and, of a method, of the
        attributes of its object.

        Args:
            function: of a module, or a method of the trainer, which must not set its attributes. It may use the job's
                `loss`, but is then computed in every cell, since a loss may learn.
            settings: plain values, as in JSON.

        Returns:
            What is shared by cells: change a copy.

        Raises:
            TypeError: the function is a lambda or one inside another.
        """
        check_function(function)
        if self.common is None or self.common.rows is not self.train:
            return function(self, *settings, **named)
        return self.common.take(self, function, settings, named)


class Trainer(ABC):
    """Fits towers. Constructor keywords are its settings (`--set trainer.epochs=20`)."""

    @abstractmethod
    def fit(self, job: Job) -> Towers:
        """Train on the job's rows and give towers back.

        A run keeps their state dict and nothing else, and loads it into what `towers` makes.
        """

    def towers(self, job: Job) -> Towers:
        """Untrained towers of the kind that `fit` gives back: what a saved run is loaded into.

        A trainer that makes modules of its own overrides this. It may use the job's bits, classes, widths,
        device and `towers`; there are no training rows when a run is loaded.
        """
        return job.towers()


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
        towers = self.towers(job)
        descent = Descent.adamw([towers], self.epochs, self.lr, self.encoder_lr, self.weight_decay)
        for epoch in range(1, self.epochs + 1):
            for batch in job.batches(self.batch):
                terms = job.loss(towers(batch.image, batch.text), batch)
                descent.step(terms, len(batch.index))
            job.log(epoch=epoch, **descent.end_epoch())
        return towers


class Untrained(Trainer):
    """Gives back fresh towers: what a head scores before it has learned anything."""

    def fit(self, job: Job) -> Towers:
        return self.towers(job)


class Descent:
    """An optimiser with its schedule, and the means of the loss terms over each epoch.

    Args:
        optimiser: over the parameters that are trained.
        schedule: stepped once an epoch.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler):
        self.optimiser, self.schedule = optimiser, schedule
        self._sums: dict[tuple[str, ...], Tensor] = {}  # of each set of terms that has come, in its order
        self._rows = 0

    @classmethod
    def adamw(
        cls, modules: Sequence[nn.Module], epochs: int, lr: float, encoder_lr: float, weight_decay: float = 0.0
    ) -> Descent:
        """AdamW with cosine decay to zero; encoders inside towers have their own learning rate."""
        groups = parameter_groups(modules, lr, encoder_lr)
        optimiser = FusedAdamW(groups, weight_decay=weight_decay, fused=True)
        return cls(optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(epochs, 1)))

    def step(self, terms: dict[str, Tensor], rows: int) -> None:
        """One step down the sum of the terms, which are means over `rows` rows."""
        self.optimiser.zero_grad(set_to_none=True)
        values = torch.stack(list(terms.values()))
        values.sum().backward()
        self.optimiser.step()
        names, sums = tuple(terms), values.detach() * rows
        self._sums[names] = self._sums[names] + sums if names in self._sums else sums
        self._rows += rows

    def end_epoch(self) -> dict[str, float]:
        """Step the schedule; the mean of each term since the last call, weighted by rows."""
        self.schedule.step()
        means: dict[str, float] = defaultdict(float)
        for names, sums in self._sums.items():
            for name, total in zip(names, sums.tolist(), strict=True):
                means[name] += total / self._rows
        self._sums, self._rows = {}, 0
        return dict(means)


@functools.cache
def light(optimiser: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """An optimiser of torch without what its calls load: torch's compiler, seconds and 100 MB of every process.

    torch wraps `add_param_group`, `zero_grad` and `step` so that its compiler leaves them out; in a program that
    compiles nothing, what is wrapped does the same.
    """

    class Light(optimiser):  # type: ignore[misc, valid-type]
        def add_param_group(self, param_group: dict) -> None:
            inspect.unwrap(optimiser.add_param_group)(self, param_group)

        def zero_grad(self, set_to_none: bool = True) -> None:
            inspect.unwrap(optimiser.zero_grad)(self, set_to_none)

        @torch.no_grad()
        def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
            return inspect.unwrap(optimiser.step)(self, closure)

    return Light


class FusedAdamW(light(torch.optim.AdamW)):  # type: ignore[misc]
    """torch's AdamW with its fused kernel, called without what torch looks up and sorts at every step.

    The kernel takes a third of the time of torch's other AdamW on a CPU, and the looking up half as long as the kernel.
    """

    # Of each group its parameters, their moments and step numbers; nothing where a parameter has no state yet.
    _known: list[tuple[dict, list[list[Tensor]]]]

    def add_param_group(self, param_group: dict) -> None:
        self._known = []
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict) -> None:
        self._known = []
        super().load_state_dict(state_dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        if not set_to_none:
            return super().zero_grad(set_to_none)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        gradients = [[p.grad for p in params if p.grad is not None] for _, (params, *_) in self._known]
        if not self._known or any(len(g) < len(p) for g, (_, (p, *_)) in zip(gradients, self._known, strict=True)):
            loss = super().step(closure)  # gives every parameter with a gradient its state
            self._known = self._look_up()
            return loss
        with torch.no_grad():
            for found, (group, (params, means, squares, steps)) in zip(gradients, self._known, strict=True):
                torch._foreach_add_(steps, 1)
                torch._fused_adamw_(
                    *(params, found, means, squares, [], steps),
                    lr=group["lr"],
                    beta1=group["betas"][0],
                    beta2=group["betas"][1],
                    weight_decay=group["weight_decay"],
                    eps=group["eps"],
                    amsgrad=False,
                    maximize=False,
                )
        return None

    step.hooked = True  # type: ignore[attr-defined] # or torch wraps it for its profiler

    def _look_up(self) -> list[tuple[dict, list[list[Tensor]]]]:
        if any(p not in self.state for group in self.param_groups for p in group["params"]):
            return []
        names = ("exp_avg", "exp_avg_sq", "step")
        return [
            (group, [group["params"], *([self.state[p][name] for p in group["params"]] for name in names)])
            for group in self.param_groups
        ]


def parameter_groups(modules: Sequence[nn.Module], lr: float, encoder_lr: float) -> list[dict]:
    """Optimiser groups: encoders inside towers get their own, smaller learning rate."""
    encoders = [tower.encoder for module in modules for tower in module.modules() if isinstance(tower, Tower)]
    slow = [p for encoder in encoders if encoder is not None for p in encoder.parameters()]
    known = {id(p) for p in slow}
    fast = [p for module in modules for p in module.parameters() if id(p) not in known]
    return [{"params": fast, "lr": lr}, *([{"params": slow, "lr": encoder_lr}] if slow else [])]
