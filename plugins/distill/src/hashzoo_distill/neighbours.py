"""Nearest rows in feature and code spaces."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

CHUNK = 1024  # queries whose distances to all rows are held at a time


def neighbours(spaces: Iterable[Tensor], count: int, queries: Tensor | None = None) -> Tensor:
    """Which rows are among the `count` nearest of each query in any of some spaces, Euclidean.

    Args:
        spaces: (n, width) each, rows in the same order.
        count: a row is its own nearest, and counts.
        queries: (q,) row numbers; all n where not given.

    Returns:
        (q, n) bool, on the CPU.
    """
    found = None
    for space in spaces:
        asked = torch.arange(len(space)) if queries is None else queries
        if found is None:
            found = torch.zeros(len(asked), len(space), dtype=torch.bool)
        start = 0
        for part in asked.split(CHUNK):
            nearest = torch.cdist(space[part], space).topk(min(count, len(space)), largest=False).indices
            found[start : start + len(part)].scatter_(1, nearest.cpu(), True)
            start += len(part)
    assert found is not None
    return found
