"""Triplets of rows, and the terms over their distances that UGACH and SKDCH are made of.

With relaxed codes u in (0, 1)^L, the distance of a query and a row is d = ||u - u'||^2; d+ is that of a row that is
similar to the query and d- that of one that is not.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hashzoo import HashzooError


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of relaxed codes, (..., bits) each, to (...)."""
    return (a - b).square().sum(dim=-1)


def hinge(similar: Tensor, dissimilar: Tensor, margin: float) -> Tensor:
    """max(0, margin + d+ - d-) of each triplet."""
    return (margin + similar - dissimilar).clamp_min(0)


def pair_entropy(distances: Tensor, own: Tensor) -> Tensor:
    """Cross-entropy of sigmoid(-d) against whether both rows are one and the same pair, `own` in {0, 1}; a mean."""
    return binary_cross_entropy_with_logits(-distances, own)


class Triplets:
    """Draws rows that are similar to a query, and rows that are not.

    Args:
        rows: (m,) numbers, among the n training rows, of those whose similarity is known.
        similar: (m, m) bool, on the CPU; need not be symmetric. A row is taken to be similar to itself.
        n: how many training rows there are.
        generator: of all draws.

    Raises:
        HashzooError: if all rows are similar to each other.
    """

    def __init__(self, rows: Tensor, similar: Tensor, n: int, generator: torch.Generator):
        self.rows, self.n, self.generator = rows, n, generator
        self.similar = similar | torch.eye(len(similar), dtype=torch.bool)
        self.position = torch.full((n,), -1)
        self.position[rows] = torch.arange(len(rows))
        self.usable = (~self.similar).any(dim=1).nonzero().flatten()
        if len(self.usable) == 0:
            raise HashzooError("all rows are similar to each other, so that there are no triplets: give more rows")

    def queries(self, size: int) -> Iterator[Tensor]:
        """One epoch: the numbers of all rows that something is dissimilar to, shuffled, in batches of at most `size`.

        Batches differ by one row.
        """
        order = self.usable[torch.randperm(len(self.usable), generator=self.generator)]
        for part in order.tensor_split(-(-len(order) // size)):
            yield self.rows[part]

    def positives(self, query: Tensor, count: int) -> Tensor:
        """Rows that are similar to each query, (B,) to (B, count), each drawn alike."""
        return self._draw(self.similar[self.position[query]], count)

    def negatives(self, query: Tensor, count: int) -> Tensor:
        """Rows that are known to be dissimilar to each query, (B,) to (B, count), each drawn alike."""
        return self._draw(~self.similar[self.position[query]], count)

    def are_positives(self, query: Tensor, rows: Tensor) -> Tensor:
        """Which of some rows, (B, c) of all n, are known to be similar to each query, (B,): (B, c) bool."""
        position = self.position[rows]
        return self.similar[self.position[query][:, None], position] & (position >= 0)

    def _draw(self, allowed: Tensor, count: int) -> Tensor:
        ranks = allowed.cumsum(dim=1, dtype=torch.int32)  # torch.multinomial takes twenty times as long
        shares = torch.rand(len(allowed), count, generator=self.generator, dtype=torch.float64)
        wanted = (shares * ranks[:, -1:]).int() + 1
        return self.rows[torch.searchsorted(ranks, wanted)]
