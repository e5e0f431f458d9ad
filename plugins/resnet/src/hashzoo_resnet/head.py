"""The head of SCAHN (Wang et al., Neurocomputing 2020): a code from each level, and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hashzoo.model import Perceptron


class MultiLevelHead(nn.Module):
    """Per level BatchNorm, linear, tanh; the final code is tanh of their sum, weighted bit by bit.

    The levels are the named inputs, shallow to deep, the pooled feature vector last: of a ResNet that is
    its fourth stage. An encoder without named stages gives one level.

    Args:
        widths: width of each named input, "pooled" among them.
        bits: code length.
        hidden: width of a hidden layer before each level's code, 0 (the paper) for none.
        dropout: of the hidden layer.
    """

    def __init__(self, widths: Mapping[str, int], bits: int, hidden: int = 0, dropout: float = 0.0):
        super().__init__()
        self.names = [*(name for name in widths if name != "pooled"), "pooled"]
        self.middle = nn.ModuleList(self._level(widths[name], bits, hidden, dropout) for name in self.names)
        count = len(self.names)
        # The paper draws the weights from N(1/4, 1/bits) for its four levels.
        self.weights = nn.Parameter(torch.randn(count, bits) / bits + 1 / count if count > 1 else torch.ones(1, bits))

    def levels(self, x: Mapping[str, Tensor]) -> list[Tensor]:
        """The code of each level, (B, bits) in (-1, 1), and last the final code."""
        middle = [level(x[name]) for name, level in zip(self.names, self.middle, strict=True)]
        if len(middle) == 1:
            return middle
        return [*middle, torch.tanh((torch.stack(middle) * self.weights[:, None]).sum(dim=0))]

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        return self.levels(x)[-1]

    @staticmethod
    def _level(width: int, bits: int, hidden: int, dropout: float) -> nn.Module:
        if hidden:
            return nn.Sequential(nn.BatchNorm1d(width), Perceptron(width, hidden, bits, dropout))
        return nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, bits), nn.Tanh())
