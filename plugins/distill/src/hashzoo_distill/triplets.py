"""Triplets of rows, and the terms over their distances that UGACH and SKDCH are made of.

With relaxed codes u in (0, 1)^L, the distance of a query and a row is d = ||u - u'||^2; d+ is that of a row that is
similar to the query and d- that of one that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hashzoo import HashzooError
from hashzoo_distill.neighbours import chunks


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
        similar: of some of these, (B,) places in 0..m-1, which are similar to them, (B, m) bool, on the CPU and ours to
            change; need not be symmetric. A row is taken to be similar to itself.
        n: how many training rows there are.
        generator: of all draws.

    Raises:
        HashzooError: if all rows are similar to each other.
    """

    def __init__(self, rows: Tensor, similar: Callable[[Tensor], Tensor], n: int, generator: torch.Generator):
        self.rows, self.n, self.generator = rows, n, generator
        self._similar = similar
        self.position = torch.full((n,), -1)
        self.position[rows] = torch.arange(len(rows))
        if not any(len(self._queries(part).rows) for part in torch.arange(len(rows)).split(64)):
            raise HashzooError("all rows are similar to each other, so that there are no triplets: give more rows")

    def batches(self, size: int) -> Iterator[Queries]:
        """One epoch: all rows that something is dissimilar to, shuffled, in batches of at most `size`."""
        order = torch.randperm(len(self.rows), generator=self.generator)
        for part in order.tensor_split(-(-len(order) // size)):
            queries = self._queries(part)
            if len(queries.rows):
                yield queries

    def _queries(self, part: Tensor) -> Queries:
        similar = self._similar(part)
        similar[torch.arange(len(part)), part] = True
        usable = torch.from_numpy(~similar.numpy().all(axis=1))  # a tenth of the time of torch's
        if not usable.all():
            part, similar = part[usable], similar[usable]
        return Queries(self.rows[part], similar, self)


@dataclass
class Queries:
    """Some rows, and rows that are drawn for them.

    Attributes:
        rows: (B,) numbers among the n training rows.
        similar: (B, m), which of the rows whose similarity is known are similar to each.
        triplets: that they are of.
    """

    rows: Tensor
    similar: Tensor
    triplets: Triplets

    def positives(self, count: int) -> Tensor:
        """Rows that are similar to each query, (B, count), each drawn alike."""
        return self._draw(count, similar=True)

    def negatives(self, count: int) -> Tensor:
        """Rows that are known to be dissimilar to each query, (B, count), each drawn alike."""
        return self._draw(count, similar=False)

    def are_positives(self, rows: Tensor) -> Tensor:
        """Which of some rows, (B, c) of all n, are known to be similar to each query: (B, c) bool."""
        position = self.triplets.position[rows]
        return self.similar.gather(1, position.clamp_min(0)) & (position >= 0)

    def _draw(self, count: int, similar: bool) -> Tensor:
        shares = torch.rand(len(self.rows), count, generator=self.triplets.generator, dtype=torch.float64)
        places = []
        for part in chunks(torch.arange(len(shares)), self.similar.shape[1]):
            some = slice(part[0], part[-1] + 1)
            allowed = self.similar[some] if similar else ~self.similar[some]
            ranks = allowed.cumsum(dim=1, dtype=torch.int32)  # torch.multinomial takes twenty times as long
            places.append(torch.searchsorted(ranks, (shares[some] * ranks[:, -1:]).int() + 1))
        return self.triplets.rows[torch.cat(places)]
