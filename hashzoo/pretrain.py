"""Weights of one's own: an encoder is trained on the labels of the training rows, and nothing else.

The encoder's feature vector goes through a linear layer to one logit a label; the loss is the mean binary
cross-entropy. After each epoch all that is needed to go on is kept beside the weights to come.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from hashzoo import zoo
from hashzoo.benches.benchmark import FLOOR_METHOD
from hashzoo.benches.plan import check_device, find_device
from hashzoo.benches.run import device_name as name_of_device
from hashzoo.benches.run import versions
from hashzoo.benches.track import Track
from hashzoo.benches.workbench import Workbench, plugin_card
from hashzoo.data.training import SeenRows
from hashzoo.encoders.base import Encoder
from hashzoo.encoders.lookup import Lookup
from hashzoo.encoders.trained import SCHEMA, card_of, read_tensors, write_tensors
from hashzoo.errors import HashzooError
from hashzoo.features.cache import Encoded
from hashzoo.fitting import seeded
from hashzoo.opening import open_dataset, train_data
from hashzoo.recipe import LITE, Recipe, build, check_used
from hashzoo.settings import SHARED, Assignment, keywords, parse_assignments, plain

WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: AdamW with cosine decay of `lr` to zero, from epoch to epoch."""

    epochs: int
    batch: int
    lr: float
    seed: int

    def check(self) -> None:
        for name, value, low, high in (
            ("epochs", self.epochs, 1, 100_000),
            ("batch", self.batch, 2, 65_536),
            ("seed", self.seed, 0, 2**32 - 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise HashzooError(f"{name} is a whole number from {low} to {high}, not {value!r}")
        if not 0 < self.lr < math.inf:
            raise HashzooError(f"the learning rate is a number over 0, such as 0.001, not {self.lr!r}")

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        return self.lr * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2

    def seed_of(self, epoch: int) -> int:
        """A seed for each epoch, so that a run that is resumed draws what it would have drawn."""
        return int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0])


def pretrain(
    encoder: str,
    *,
    dataset: str = "emoji",
    settings: Iterable[str] = (),
    epochs: int = 30,
    batch: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    out: str | os.PathLike[str] | None = None,
    watch: Callable[[dict[str, Any]], None] = lambda line: None,
) -> dict[str, Any]:
    """Train an encoder on the labels of a data set's training rows, and keep its weights.

    Stopped at any time, the same call goes on after the last whole epoch. The last epoch is kept or, where the
    data set has val rows, the one with the lowest loss on them.

    Args:
        encoder: its name, such as "timm:resnet18" or "cnnf"; of one that serves both modalities the image half.
        dataset: name of a data set, with its variant.
        settings: of the encoder, the data set and what is seen of it: "image.pixels=64", "train_data.size=0.1".
            Untrained weights are the start, unless one says "image.weights=pretrained", or a path.
        epochs, batch, lr: see `Schedule`.
        seed: of the linear layer, the order of rows and the augmentation.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: of the CPU; all when None.
        out: the .safetensors file to make; by default in a folder `weights`, named by encoder, track and seed.
        watch: is told {"epoch", "epochs", "loss", "val_loss", "seconds"} after each epoch.

    Returns:
        {"schema": 1, "weights": path, "reused": whether they were there, "card": {...}, "history": [...]}.

    Raises:
        HashzooError: the encoder cannot be trained, a setting is wrong, or `out` holds something else.
    """
    schedule = Schedule(epochs, batch, lr, seed)
    schedule.check()
    check_device(device)
    role, recipe, assignments = _recipe(encoder, list(settings))
    data = open_dataset(dataset, assignments)
    track = Track.of(data, train_data(assignments))
    path = Path(out) if out is not None else _usual_path(encoder, track, seed)
    if path.suffix != ".safetensors":
        raise HashzooError(f"--out names a .safetensors file, not {path}")
    bench = Workbench(data, track, find_device(device), threads)
    described = bench.described(recipe, role)
    if described.looks_up or not any(True for _ in described.encoder.parameters()):
        raise _untrainable(encoder)
    card = {
        "made_by": "hashzoo pretrain",
        "schema": SCHEMA,
        "encoder": encoder,
        "modality": role,
        "settings": {k: v for k, v in plain(recipe.sections[role].settings).items() if k != "weights"},
        "start": described.card,
        "track": track.describe(),
        "objective": "binary cross-entropy of the labels through a linear layer",
        "augmentation": "shifts of up to an eighth of the side, mirror images" if role == "image" else "none",
        "optimiser": {"name": "AdamW", "lr": lr, "weight_decay": WEIGHT_DECAY, "decay": "cosine"},
        "epochs": epochs,
        "batch": batch,
        "seed": seed,
        "plugin": plugin_card(recipe.sections[role].plugin),
        "device": name_of_device(bench.device),
        "threads": recipe.threads(threads),
        "versions": versions(),
    }
    card = json.loads(json.dumps(card))  # as it is read again
    found = _finished(path, card)
    if found is None:
        found = _Run(bench, bench.encoded(recipe, role), role, schedule, card, path).train(watch)
    return {"schema": 1, "weights": str(path), **found}


class _Run:
    """One pretraining: the encoder with its linear layer, the optimiser, and the checkpoint."""

    def __init__(self, bench: Workbench, encoded: Encoded, role: str, schedule: Schedule, card: dict, path: Path):
        self.bench, self.encoded, self.role, self.schedule = bench, encoded, role, schedule
        self.card, self.path = card, path
        self.checkpoint = path.with_name(f"{path.name}.checkpoint")
        self.model = nn.ModuleDict({"encoder": encoded.trainable_encoder()})
        with seeded(schedule.seed, card["threads"]):
            self.model["linear"] = nn.Linear(encoded.described.dim, len(bench.dataset.classes))
        self.model.to(bench.device)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=schedule.lr, weight_decay=WEIGHT_DECAY)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}  # the encoder of the epoch to be kept, where val rows choose it

    def train(self, watch: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """All epochs that are not done yet; then the weights are written and the checkpoint goes."""
        self._resume()
        training = self.bench.training
        for epoch in range(len(self.history) + 1, self.schedule.epochs + 1):
            start = time.perf_counter()
            with seeded(self.schedule.seed_of(epoch), self.card["threads"]):
                line = {"epoch": epoch, "loss": self._epoch(training.train, epoch)}
                if len(training.val):
                    line["val_loss"] = self._loss(training.val)
            self.history.append(line)
            if "val_loss" in line and line is self._kept():
                self.best = {k: v.detach().cpu().clone() for k, v in self.model["encoder"].state_dict().items()}
            self._save()
            watch(line | {"epochs": self.schedule.epochs, "seconds": time.perf_counter() - start})
        card = self.card | {"kept": self._kept()}
        weights = self.best or self.model["encoder"].state_dict()
        write_tensors(self.path, weights, {"card": card, "history": self.history})
        self.checkpoint.unlink(missing_ok=True)
        return {"reused": False, "card": card, "history": self.history}

    def _kept(self) -> dict[str, float]:
        """The epoch with the lowest loss on val rows; without such rows the last."""
        if "val_loss" in self.history[-1]:
            return min(self.history, key=lambda line: line["val_loss"])
        return self.history[-1]

    def _epoch(self, rows: SeenRows, epoch: int) -> float:
        """One pass over the rows in random order; the mean loss."""
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(epoch)
        total = torch.zeros((), device=self.bench.device)
        # In batches that differ by one row at most: batch norm cannot do with a single one.
        for index in torch.randperm(len(rows)).tensor_split(-(-len(rows) // self.schedule.batch)):
            inputs, labels = self._batch(rows, index.numpy())
            loss = self._batch_loss(augment(inputs) if self.role == "image" else inputs, labels)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            total += loss.detach() * len(index)
        mean = total.item() / len(rows)
        if not math.isfinite(mean):
            raise HashzooError(f"the loss of epoch {epoch} is not finite; lower --lr", exit_code=1)
        return mean

    @torch.no_grad()
    def _loss(self, rows: SeenRows) -> float:
        self.model.eval()
        total = 0.0
        for index in np.array_split(np.arange(len(rows)), -(-len(rows) // self.schedule.batch)):
            total += self._batch_loss(*self._batch(rows, index)).item() * len(index)
        return total / len(rows)

    def _batch(self, rows: SeenRows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        inputs = torch.from_numpy(self.encoded.inputs_of(rows.numbers(self.role)[index]))
        return inputs.to(self.bench.device), torch.from_numpy(rows.labels[index]).float().to(self.bench.device)

    def _batch_loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(self.model["linear"](self.model["encoder"](inputs)), labels)

    def _save(self) -> None:
        state = self.optimiser.state_dict()["state"]
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"optimiser.{number}.{name}": t for number, part in state.items() for name, t in part.items()}
        write_tensors(self.checkpoint, tensors, {"asked": self.card, "history": self.history})

    def _resume(self) -> None:
        """Go on after the last whole epoch, if there is a checkpoint of the same request."""
        if not self.checkpoint.exists():
            return
        tensors, about = read_tensors(self.checkpoint)
        _refuse_others(about.get("asked"), self.card, self.checkpoint)
        self.history = about["history"]
        self.model.load_state_dict(_under("model.", tensors))
        self.best = _under("best.", tensors)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimiser.", tensors).items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = tensor
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": state})


def augment(pixels: Tensor) -> Tensor:
    """Shift each picture by up to an eighth of its side, its edge repeated, and mirror every second one by chance.

    That is a random crop of a padded picture. Drawn by torch's global generator.

    Args:
        pixels: (B, C, H, W); what has another shape is given back as it is.
    """
    if pixels.ndim != 4:
        return pixels
    b, channels, height, width = pixels.shape
    rows, columns = _shifted(b, height), _shifted(b, width)
    columns = torch.where(torch.rand(b, 1) < 0.5, columns.flip(1), columns)
    picture = torch.arange(b, device=pixels.device)[:, None, None, None]
    channel = torch.arange(channels, device=pixels.device)[:, None, None]
    return pixels[picture, channel, rows[:, None, :, None].to(picture), columns[:, None, None, :].to(picture)]


def _shifted(count: int, side: int) -> Tensor:
    """For each picture the line that each line shows, (count, side)."""
    most = side // 8
    shift = torch.randint(-most, most + 1, (count, 1))
    return (torch.arange(side) + shift).clamp(0, side - 1)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names start so, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _recipe(encoder: str, settings: list[str]) -> tuple[str, Recipe, list[Assignment]]:
    """The modality, a recipe that trains the encoder along, and what was set."""
    known = zoo.load()
    plugin, part = known.find("encoder", encoder.partition(":")[0])
    target = zoo.resolve_target(plugin, part.target)
    if not issubclass(target, Encoder) or issubclass(target, Lookup) or "weights" not in keywords(target):
        raise _untrainable(encoder)
    role = getattr(target, "modality", "image")
    assignments = parse_assignments(settings, [], (role, *SHARED))
    if any(assignment.key == "frozen" for assignment in assignments):
        raise HashzooError(f"hashzoo pretrain trains the encoder; leave out {role}.frozen")
    chosen = [Assignment(None, role, "weights", "random"), *assignments, Assignment(None, role, "frozen", "false")]
    recipe = build(known, FLOOR_METHOD, LITE | {role: encoder}, chosen)
    check_used(assignments, [recipe])
    return role, recipe, assignments


def _untrainable(encoder: str) -> HashzooError:
    return HashzooError(
        f"encoder '{encoder}' has no weights that could be trained and loaded again; "
        f"choose one that has, such as timm:resnet18"
    )


def _usual_path(encoder: str, track: Track, seed: int) -> Path:
    readable = "".join(c if c.isalnum() or c in "._-" else "-" for c in encoder)
    return Path("weights") / f"{readable}-{track.id}-s{seed}.safetensors"


def _finished(path: Path, card: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is in `path`, if it was made by the same request; something else is never written over."""
    if not path.exists():
        return None
    there = card_of(str(path))
    asked = None if there is None else {name: value for name, value in there.items() if name != "kept"}
    _refuse_others(asked, card, path)
    return {"reused": True, "card": there, "history": read_tensors(path)[1]["history"]}


def _refuse_others(asked: Mapping[str, Any] | None, card: Mapping[str, Any], path: Path) -> None:
    if asked == card:
        return
    differing = [] if asked is None else [name for name in card if asked.get(name) != card[name]]
    why = f" (other {', '.join(differing)})" if differing else ""
    raise HashzooError(f"{path} is of another pretraining{why}; give another --out, or delete it")
