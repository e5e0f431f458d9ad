"""Sums over all rows that have arrived: all that closed forms need of old chunks, of a size that stays."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


class Sums(dict[str, Tensor]):
    """Sums by name; those of no chunk are left out."""

    def plus(self, name: str, product: Tensor) -> Tensor:
        """The sum over old rows and those of a new chunk, of which `product` is."""
        return self[name] + product if name in self else product

    def take(self, products: Mapping[str, Tensor]) -> None:
        """A chunk becomes old: its products join the sums."""
        self.update({name: self.plus(name, product) for name, product in products.items()})
