"""How many tokens encoders keep: maps of pictures on a grid, texts cut and filled up."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from hashzoo.encoders.base import Width

SIDE = 4  # of the grid of a picture's tokens
TOKENS = 32  # of a text


def in_grid(feature_map: Tensor) -> Tensor:
    """A map, (B, width, height, width), averaged over the fields of a grid, row by row: (B, SIDE * SIDE, width).

    Fields overlap where the map is no multiple of the grid, and repeat its positions where it is smaller.
    """
    return adaptive_avg_pool2d(feature_map, SIDE).flatten(2).transpose(1, 2)


def padded(tokens: Tensor, mask: Tensor, shape: Width) -> Tensor:
    """Tokens, (B, T, width), as (B, *shape) float32: the first of them, zeros where `mask`, (B, T), is False."""
    assert isinstance(shape, tuple), "of a sequence"
    kept = (tokens * mask[..., None]).float()[:, : shape[0]]
    return torch.nn.functional.pad(kept, (0, 0, 0, shape[0] - kept.shape[1]))
