"""Rows of old chunks that are kept and learned from again, beside those of a new chunk."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hashzoo.train import Rows


class Anchors:
    """A few rows of each chunk, copied.

    Args:
        count: of each chunk; 0 keeps none.
        roles: of the further encoders whose features are kept, too.
    """

    def __init__(self, count: int, roles: Sequence[str] = ()):
        self.count, self.roles = count, roles
        self.parts: dict[str, Tensor] = {}  # "image", "text", "labels" and each role

    def __len__(self) -> int:
        return len(self.parts["labels"]) if self.parts else 0

    def take(self, rows: Rows, generator: torch.Generator) -> None:
        """Keep `count` rows of a chunk, drawn at random."""
        if not self.count:
            return
        index = torch.randperm(len(rows), generator=generator)[: self.count]
        new = {"image": rows.image(index), "text": rows.text(index), "labels": rows.labels[index.to(rows.device)]}
        new |= {role: rows.extra(role, index) for role in self.roles}
        self.parts = {
            name: torch.cat([self.parts[name], part]) if self.parts else part.clone() for name, part in new.items()
        }


class WithAnchors(Rows):
    """The rows of a chunk, 0..n-1, and after them the anchors."""

    def __init__(self, rows: Rows, anchors: Anchors):
        self._rows, self._anchors, self.device = rows, anchors, rows.device
        self._labels = torch.cat([rows.labels, anchors.parts["labels"]]).bool()

    def image(self, index: Tensor) -> Tensor:
        return self._joined(index, self._rows.image, "image")

    def text(self, index: Tensor) -> Tensor:
        return self._joined(index, self._rows.text, "text")

    def extra(self, role: str, index: Tensor) -> Tensor:
        return self._joined(index, functools.partial(self._rows.extra, role), role)

    def _joined(self, index: Tensor, new: Callable[[Tensor], Tensor], name: str) -> Tensor:
        count, old = len(self._rows), self._anchors.parts[name]
        is_new = index < count
        values = old.new_empty((len(index), *old.shape[1:]))
        where = is_new.to(self.device)
        values[where] = new(index[is_new])
        values[~where] = old[(index[~is_new] - count).to(self.device)]
        return values
