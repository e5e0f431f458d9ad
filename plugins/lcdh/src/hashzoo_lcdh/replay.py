"""Rows of old chunks that are kept and learned from again, beside those of a new chunk."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hashzoo.train import Rows


class Anchors:
    """A few rows of each chunk, copied.

    Args:
        count: of each chunk; 0 keeps none.
    """

    def __init__(self, count: int):
        self.count = count
        self.image, self.text, self.labels = torch.empty(0), torch.empty(0), torch.empty(0)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Rows, generator: torch.Generator) -> None:
        """Keep `count` rows of a chunk, drawn at random."""
        if not self.count:
            return
        index = torch.randperm(len(rows), generator=generator)[: self.count]
        parts = [rows.image(index), rows.text(index), rows.labels[index.to(rows.device)]]
        if len(self):
            parts = [torch.cat(pair) for pair in zip((self.image, self.text, self.labels), parts, strict=True)]
        self.image, self.text, self.labels = (part.clone() for part in parts)


class WithAnchors(Rows):
    """The rows of a chunk, 0..n-1, and after them the anchors."""

    def __init__(self, rows: Rows, anchors: Anchors):
        self._rows, self._anchors, self.device = rows, anchors, rows.device
        self._labels = torch.cat([rows.labels, anchors.labels]).bool()

    def image(self, index: Tensor) -> Tensor:
        return self._joined(index, self._rows.image, self._anchors.image)

    def text(self, index: Tensor) -> Tensor:
        return self._joined(index, self._rows.text, self._anchors.text)

    def _joined(self, index: Tensor, new: Callable[[Tensor], Tensor], old: Tensor) -> Tensor:
        count = len(self._rows)
        is_new = index < count
        values = old.new_empty((len(index), *old.shape[1:]))
        where = is_new.to(self.device)
        values[where] = new(index[is_new])
        values[~where] = old[(index[~is_new] - count).to(self.device)]
        return values
