"""The network of one modality."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Twin(nn.Module):
    """Features (B, width) to (B, bits) in -1..1: standardise, then a linear path beside one with a hidden layer.

    The linear path learns from few rows and the hidden one adds what is not linear; it starts at zero.

    Args:
        width: of the features.
        bits: code length.
        hidden: units of the hidden layer.
    """

    centre: Tensor  # (width,)
    scale: Tensor  # (width,)

    def __init__(self, width: int, bits: int, hidden: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.linear = nn.Linear(width, bits)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, bits, bias=False))
        nn.init.zeros_(self.hidden[-1].weight)

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Take centre and scale from training features (n, width); what never changes is left at its scale."""
        deviation, centre = torch.std_mean(features, dim=0, correction=0)
        self.centre.copy_(centre)
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Real codes (B, bits) of features (B, width)."""
        x = (x - self.centre) / self.scale
        return torch.tanh(self.linear(x) + self.hidden(x))
