"""The heads of the CLIP family: linear with dropout of bits, and DCHMT's choice between two logits a bit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hashzoo.model import Dropout


class LinearHead(nn.Module):
    """tanh(dropout(W x)), the head of DSPH, DNPH and DNpH: what is dropped are bits, which become 0 for that step.

    Args:
        widths: width of each named input; this head reads "pooled" alone.
        bits: code length.
        hidden: width of a hidden layer with ReLU before W, 0 (the papers, which train CLIP along) for none.
        dropout: share of bits dropped in training, 0.2 in the papers' code.
    """

    def __init__(self, widths: Mapping[str, int], bits: int, hidden: int = 0, dropout: float = 0.2):
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(widths["pooled"], hidden), nn.ReLU()] if hidden else []
        self.layers = nn.Sequential(*layers, nn.Linear(hidden or widths["pooled"], bits), Dropout(dropout), nn.Tanh())

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        return self.layers(x["pooled"])


class SelectHead(nn.Module):
    """DCHMT's selecting mechanism: a hidden layer, two logits a bit, and the softmax p of each pair; a bit is the
    larger one.

    With probabilities (1 - p, p) of a bit being 0 and 1 the head gives 2p - 1 in (-1, 1), whose sign is that choice.

    Args:
        widths: width of each named input; this head reads "pooled" alone.
        bits: code length.
        hidden: width of the hidden layer, 128 in the authors' code.
    """

    def __init__(self, widths: Mapping[str, int], bits: int, hidden: int = 128):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(widths["pooled"], hidden), nn.ReLU())
        self.select = nn.Linear(hidden, 2 * bits)

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        off, on = self.select(self.embed(x["pooled"])).unflatten(1, (-1, 2)).unbind(dim=2)
        return torch.tanh((on - off) / 2)
