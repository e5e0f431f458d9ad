"""What methods in closed form share here: centred features in double precision, block by block, and towers of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hashzoo import Job, Towers
from hashzoo.linear import projections

BLOCK_NUMBERS = 2**26  # of float64 in a block, half a gigabyte


class Blocks:
    """Rows that are made block by block when they are asked for, so that no more than a block need be held.

    Where all rows are one block it is made once and kept.

    Args:
        make: gives the block of some rows, (m, width) or, of columns, (width, m), float64.
        rows: n.
        size: rows of a block.
    """

    def __init__(self, make: Callable[[slice], Tensor], rows: int, size: int):
        self._make, self.rows, self.size = make, rows, size
        self._kept: Tensor | None = None

    @classmethod
    def of(cls, values: Tensor) -> Blocks:
        """Rows that are held anyway, (n, width), as one block."""
        return cls(lambda part: values[part], len(values), len(values))

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Which rows, and their block."""
        for start in range(0, self.rows, self.size):
            part = slice(start, min(start + self.size, self.rows))
            if self._kept is not None:
                yield part, self._kept
                continue
            block = self._make(part)
            if self.size >= self.rows:
                self._kept = block
            yield part, block

    def map(self, function: Callable[[Tensor], Tensor]) -> Blocks:
        """What a function makes of each block; a block that is kept is given up for what it is made into."""

        def make(part: slice) -> Tensor:
            block = self._make(part) if self._kept is None else self._kept
            self._kept = None
            return function(block)

        return Blocks(make, self.rows, self.size)


@dataclass
class View:
    """The training rows of one modality.

    Attributes:
        rows: features less their mean, (n, width) float64 in blocks.
        centre: that mean, (width,).
    """

    rows: Blocks
    centre: Tensor


def views(job: Job) -> tuple[View, View]:
    """All training rows, images and texts, in blocks of the same rows."""
    widest = max(sum(job.widths[role].values()) for role in ("image", "text"))
    size = max(BLOCK_NUMBERS // widest, 1)
    return _view(job.train.image, len(job.train), size), _view(job.train.text, len(job.train), size)


@torch.no_grad()
def projecting_towers(job: Job, image: tuple[Tensor, Tensor], text: tuple[Tensor, Tensor]) -> Towers:
    """Towers of a centre, (width,), and weights, (width, bits), for each modality."""
    towers = projections(job)
    for tower, (centre, weight) in zip(towers, (image, text), strict=True):
        tower.centre.copy_(centre)
        tower.weight.copy_(weight)
    return Towers(*towers)


def total(terms: Iterable[Tensor]) -> Tensor:
    """The sum of one term or more, each of which may be written over."""
    terms = iter(terms)
    found = next(terms)
    for term in terms:
        found += term
    return found


def product(x: Blocks, y: Blocks | Tensor) -> Tensor:
    """X^T Y, (p, q), of rows (n, p) and (n, q)."""
    if isinstance(y, Tensor):
        return total(block.T @ y[part] for part, block in x)
    return total(left.T @ right for (_, left), (_, right) in zip(x, y, strict=True))


def mean_square(x: Blocks) -> Tensor:
    """Mean of the squares of all entries."""
    sums, entries = [], 0
    for _, block in x:
        sums.append(block.square().sum())
        entries += math.prod(block.shape)
    return total(sums) / entries


def _view(take: Callable[[Tensor], Tensor], rows: int, size: int) -> View:
    raw = Blocks(lambda part: take(torch.arange(part.start, part.stop)).double(), rows, size)
    centre = total(block.sum(dim=0) for _, block in raw) / rows
    return View(raw.map(lambda block: block - centre), centre)
