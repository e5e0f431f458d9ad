"""A job without a data set: features that follow from labels, with noise."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hashzoo.encoders.base import Width, numbers
from hashzoo.model import HashHead, Tower, Towers
from hashzoo.once import Common, Memo
from hashzoo.train import Job, Rows


@dataclass
class ToyJob:
    """A job and what a test wants to know about it.

    Attributes:
        job: hand it to `Trainer.fit`.
        image, text: (n, width) float32 features of the training rows.
        labels: (n, C) bool.
        lines: what the trainer has logged, a dict a call.
        extra: features of further encoders, by role.
    """

    job: Job
    image: np.ndarray
    text: np.ndarray
    labels: np.ndarray
    lines: list[dict[str, Any]]
    extra: dict[str, np.ndarray]


def toy_job(
    bits: int = 16,
    rows: int = 200,
    classes: int = 6,
    widths: dict[str, dict[str, Any]] | None = None,
    head: Callable[..., nn.Module] = HashHead,
    loss: nn.Module | None = None,
    seed: int = 0,
) -> ToyJob:
    """Training rows with 1 to 3 labels each; features are a random linear map of the labels, plus noise.

    Args:
        bits: code length.
        rows, classes: size of the label matrix.
        widths: of the named outputs of each modality, 24 and 16 pooled features by default; of other roles, such as
            {"teacher_image": {"pooled": 20}}, they are what further encoders give. Of a sequence (tokens, width); the
            second half of its tokens is padding in every other row.
        head: called as head(widths=..., bits=...) for both modalities.
        loss: the recipe's loss, where the trainer wants one.
        seed: of data, initialisation and order.
    """
    rng = np.random.default_rng(seed)
    widths = {"image": {"pooled": 24}, "text": {"pooled": 16}} | (widths or {})
    labels = np.zeros((rows, classes), dtype=bool)
    for row in labels:
        row[rng.choice(classes, size=rng.integers(1, 4), replace=False)] = True
    features = {}
    for role, outputs in widths.items():
        clean = labels @ rng.normal(size=(classes, sum(map(numbers, outputs.values()))))
        features[role] = (clean + 0.3 * rng.normal(size=clean.shape)).astype(np.float32)
        _pad(features[role], outputs)
    generator = torch.Generator().manual_seed(seed)

    def tower(role: str) -> Tower:
        made = Tower(head(widths=widths[role], bits=bits), widths[role])
        made.standardise(torch.from_numpy(features[role]))
        return made

    def towers() -> Towers:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            return Towers(tower("image"), tower("text"))

    lines: list[dict[str, Any]] = []
    extra = {role: values for role, values in features.items() if role not in ("image", "text")}
    job = Job(
        train=Rows(features["image"], features["text"], labels, torch.device("cpu"), extra),
        bits=bits,
        classes=tuple(f"class_{number}" for number in range(classes)),
        widths=widths,
        loss=loss,
        device=torch.device("cpu"),
        generator=generator,
        towers=towers,
        text_inputs=lambda strings: _text_features(strings, features["text"].shape[1]),
        log=lambda **line: lines.append(line),
    )
    return ToyJob(job, features["image"], features["text"], labels, lines, extra)


def _pad(features: np.ndarray, outputs: Mapping[str, Width]) -> None:
    """Put zeros for the second half of the tokens of each sequence in every other row."""
    start = 0
    for width in outputs.values():
        if not isinstance(width, int):
            features[1::2, start + (width[0] + 1) // 2 * width[1] : start + numbers(width)] = 0
        start += numbers(width)


def share(*toys: ToyJob) -> None:
    """Have toy jobs compute once what they compute alike, as the cells of a bench do (`Job.once`).

    They must be alike in all but their bits.
    """
    memo = Memo()
    for toy in toys:
        bits = toy.job.bits
        toy.job.common = Common(memo, toy.job.train, "toy", {"bits": bits, "towers": bits, "loss": object()})


def toy_stream(chunks: int, rows: int, **options: Any) -> list[ToyJob]:
    """The jobs of a stream: the rows of one toy job in chunks, with one generator and one list of lines for all.

    Args:
        chunks, rows: how many chunks, and how many rows each has.
        options: as for `toy_job`.
    """
    whole = toy_job(rows=chunks * rows, **options)
    parts = []
    for start in range(0, chunks * rows, rows):
        image, text, labels = (array[start : start + rows] for array in (whole.image, whole.text, whole.labels))
        extra = {role: values[start : start + rows] for role, values in whole.extra.items()}
        job = replace(whole.job, train=Rows(image, text, labels, whole.job.device, extra))
        parts.append(ToyJob(job, image, text, labels, whole.lines, extra))
    return parts


def _text_features(strings: Sequence[str], width: int) -> Tensor:
    """Features of strings that differ for different strings, and are the same in every process."""
    seeds = [int.from_bytes(hashlib.sha256(string.encode()).digest()[:8], "little") for string in strings]
    rows = [np.random.default_rng(seed).normal(size=width).astype(np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))
