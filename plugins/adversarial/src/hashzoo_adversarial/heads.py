"""Heads that give a feature beside the code: critics look at the feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from hashzoo import HashzooError
from hashzoo.model import Dropout, Tower

Head = TypeVar("Head", bound="FeatureHead")


class FeatureHead(nn.Module):
    """Hidden layers, a feature after its ReLU, and tanh of a linear map of it as the code.

    Args:
        widths: width of each named input; this head reads "pooled" alone.
        bits: code length.
        hidden: widths of the layers before the feature, none by default.
        feature: width of the feature.
        batch_norm: before every ReLU.
        dropout: after every ReLU.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        bits: int,
        hidden: tuple[int, ...] = (),
        feature: int = 512,
        batch_norm: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        width = widths["pooled"]
        for following in (*hidden, feature):
            layers += [nn.Linear(width, following)]
            layers += [nn.BatchNorm1d(following)] if batch_norm else []
            layers += [nn.ReLU()]
            layers += [Dropout(dropout)] if dropout else []
            width = following
        self.width = feature
        self.layers = nn.Sequential(*layers)
        self.hash = nn.Linear(feature, bits)

    def feature(self, x: Mapping[str, Tensor]) -> Tensor:
        """Named inputs to the feature, (B, width)."""
        return self.layers(x["pooled"])

    def code(self, feature: Tensor) -> Tensor:
        """A feature, (B, width), to (B, bits) in (-1, 1)."""
        return torch.tanh(self.hash(feature))

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        return self.code(self.feature(x))


def head_of(tower: nn.Module, kind: type[Head]) -> tuple[Tower, Head]:
    """A tower of `job.towers()` and its head, of the kind that the trainer needs."""
    assert isinstance(tower, Tower)
    assert isinstance(tower.head, kind), f"a recipe of this trainer needs {kind.__name__} for both modalities"
    return tower, tower.head


def same_width(image: FeatureHead, text: FeatureHead) -> int:
    """The width of both features, which an adversary compares; refused where it is not one."""
    if image.width != text.width:
        raise HashzooError(
            f"features of images and texts are compared and need one width, not {image.width} and {text.width}; "
            "set image_head.feature and text_head.feature to the same number"
        )
    return image.width
