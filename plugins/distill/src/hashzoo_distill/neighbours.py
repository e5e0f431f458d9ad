"""Nearest rows in feature and code spaces, and relations of rows that are not held as a matrix where rows are many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from hashzoo_distill.networks import Features

CHUNK = 256  # rows at most whose answers are made at a time
NUMBERS = 2**26  # of distances, of pairs of rows or of a space, that are held at a time
KEPT = 2**32  # pairs of rows, a bit each, up to which a relation is kept whole: 65,536 rows in half a gigabyte


def chunks(rows: Tensor, partners: int) -> tuple[Tensor, ...]:
    """Some rows, (q,), in parts so small that all partners can be looked at for each of a part."""
    return rows.split(max(min(CHUNK, NUMBERS // partners), 1))


def nearest(space: Tensor | Features, queries: Tensor, count: int) -> Tensor:
    """The numbers of the `count` nearest rows of each query, Euclidean, in no order.

    Args:
        space: (n, width).
        queries: (q,) row numbers; a row is its own nearest, and counts.
        count: at most n.

    Returns:
        (q, count), where the space is.
    """
    found = []
    for part in queries.split(CHUNK):
        points = space[part]
        best = points.new_empty(len(part), 0)
        numbers = best.long()
        for rows in torch.arange(len(space)).split(max(NUMBERS // max(points.shape), 1)):
            distances = torch.cdist(points, space[rows])
            distances, places = distances.topk(min(count, len(rows)), largest=False, sorted=False)
            best, numbers = torch.cat([best, distances], dim=1), torch.cat([numbers, places + rows[0]], dim=1)
            if best.shape[1] > count:
                best, places = best.topk(count, largest=False, sorted=False)
                numbers = numbers.gather(1, places)
        found.append(numbers)
    return torch.cat(found)


def neighbours(spaces: Sequence[Tensor | Features], count: int, queries: Tensor) -> Tensor:
    """Which rows are among the `count` nearest of each query in any of some spaces, Euclidean.

    Args:
        spaces: (n, width) each, rows in the same order.
        count: at most n; a row is its own nearest, and counts.
        queries: (q,) row numbers.

    Returns:
        (q, n) bool, on the CPU.
    """
    numbers = torch.cat([nearest(space, queries, count).cpu() for space in spaces], dim=1)
    return torch.zeros(len(queries), len(spaces[0]), dtype=torch.bool).scatter_(1, numbers, True)


class Relation:
    """Which of n rows are related to a row. The answers are kept where they are few, and otherwise made when asked for.

    Args:
        related: (q,) row numbers to (q, n) bool, which is the caller's.
        n: how many rows there are.
    """

    def __init__(self, related: Callable[[Tensor], Tensor], n: int):
        self.n, self._related = n, related
        self._kept: np.ndarray | None = None
        if n * n <= KEPT:
            self._kept = np.empty((n, -(-n // 8)), dtype=np.uint8)
            for part in chunks(torch.arange(n), n):
                self._kept[part.numpy()] = np.packbits(related(part).numpy(), axis=1)

    def __call__(self, rows: Tensor) -> Tensor:
        """What is related to each of some rows, (q,): (q, n) bool, on the CPU, which is the caller's."""
        if self._kept is None:
            return self._related(rows)
        bits = np.unpackbits(self._kept[rows.numpy()], axis=1, count=self.n)
        return torch.from_numpy(bits.view(np.bool_))


class NearestRows:
    """The `count` nearest rows of each row in each of some spaces, which are looked for when a row is first asked for.

    Args:
        spaces: (n, width) each, rows in the same order.
        count: a row is its own nearest, and counts.
    """

    def __init__(self, spaces: Sequence[Tensor | Features], count: int):
        self.spaces, self.n = spaces, len(spaces[0])
        self.count = min(count, self.n)
        self._found = torch.full((self.n, len(spaces) * self.count), -1, dtype=torch.int32)

    def __call__(self, rows: Tensor) -> Tensor:
        """Which rows are among the nearest of each of some rows, (q,), in any space: (q, n) bool, on the CPU."""
        new = rows[self._found[rows, 0] < 0]
        if len(new):
            self._found[new] = torch.cat([nearest(space, new, self.count) for space in self.spaces], dim=1).int().cpu()
        return torch.zeros(len(rows), self.n, dtype=torch.bool).scatter_(1, self._found[rows].long(), True)
