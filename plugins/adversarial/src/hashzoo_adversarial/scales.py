"""The text head of SSAH: a vector beside coarser and coarser versions of itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, interpolate, relu

from hashzoo_adversarial.heads import FeatureHead


class MultiScaleHead(FeatureHead):
    """Takes the means over windows of its input, each stretched back to the input's width, beside the input.

    Args:
        widths, bits, hidden, feature, batch_norm, dropout: of every `FeatureHead`.
        scales: widths of the windows, which lie side by side; a rest that fills no window is left out. The paper has
            50, 30, 15, 10, 5, on bags of words. By default there are none.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        bits: int,
        hidden: tuple[int, ...] = (),
        feature: int = 512,
        batch_norm: bool = False,
        dropout: float = 0.0,
        scales: tuple[int, ...] = (),
    ):
        width = widths["pooled"]
        if any(not 1 <= scale <= width for scale in scales):
            raise ValueError(f"scales are widths of windows from 1 to the {width} features, not {list(scales)}")
        super().__init__({"pooled": (1 + len(scales)) * width}, bits, hidden, feature, batch_norm, dropout)
        self.scales = scales
        self.weights = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in scales)

    def feature(self, x: Mapping[str, Tensor]) -> Tensor:
        whole = x["pooled"]
        maps = [
            interpolate(relu(weight * avg_pool1d(whole[:, None], scale)), whole.shape[1], mode="linear")[:, 0]
            for weight, scale in zip(self.weights, self.scales, strict=True)
        ]
        return super().feature({"pooled": torch.cat([whole, *maps], dim=1)})
