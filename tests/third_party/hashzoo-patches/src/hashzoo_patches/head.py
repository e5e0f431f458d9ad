"""A head for the levels of a spatial pyramid."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class PyramidHead(nn.Module):
    """Standardised features by name, each (B, width), to (B, bits) in -1..1: the tanh of a sum of linear maps.

    Each level is divided by the root of its width when it starts (torch's default), so that no level drowns the others.

    Args:
        widths: of the features, by name; whatever is there is used.
        bits: code length.
        dropout: on the features of each level.
    """

    def __init__(self, widths: Mapping[str, int], bits: int, dropout: float = 0.2):
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, not {dropout}")
        self.dropout = nn.Dropout(dropout)
        self.levels = nn.ModuleDict({name: nn.Linear(width, bits) for name, width in widths.items()})

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        """Real codes (B, bits)."""
        return sum(level(self.dropout(x[name])) for name, level in self.levels.items()).tanh()
