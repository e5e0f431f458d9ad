"""The head of AGAH: its feature attends to a map of the features of labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hashzoo_adversarial.heads import FeatureHead


class AttentionHead(FeatureHead):
    """A feature f of length 1 is mixed with the labels' features M that it resembles, and the code made of that:

        tanh(W (share f + (1 - share) sum_c a_c m_c / sum_c a_c) + b),  a = sigmoid(sharpness f M^T).

    Args:
        widths, bits, hidden, feature, batch_norm, dropout: of every `FeatureHead`.
        share: of the feature itself, the paper's lambda.
        sharpness: of the attention.
    """

    label_map: Tensor

    def __init__(
        self,
        widths: Mapping[str, int],
        bits: int,
        hidden: tuple[int, ...] = (),
        feature: int = 512,
        batch_norm: bool = False,
        dropout: float = 0.0,
        share: float = 0.8,
        sharpness: float = 5.0,
    ):
        super().__init__(widths, bits, hidden, feature, batch_norm, dropout)
        self.share, self.sharpness = share, sharpness
        self.register_buffer("label_map", torch.zeros(1, feature))

    def attend_to(self, label_map: Tensor) -> None:
        """Set M, (C, width): rows of length 1."""
        self.label_map = label_map.clone()

    def feature(self, x: Mapping[str, Tensor]) -> Tensor:
        return normalize(super().feature(x))

    def attend(self, feature: Tensor) -> Tensor:
        """What the code is made of, (B, width), of features of length 1, (B, width)."""
        attention = torch.sigmoid(self.sharpness * feature @ self.label_map.T)
        seen = attention @ self.label_map / attention.sum(dim=1, keepdim=True)
        return self.share * feature + (1 - self.share) * seen

    def code(self, feature: Tensor) -> Tensor:
        return super().code(self.attend(feature))
