"""The head of MITH (Liu et al., ACM MM 2023): a code of the whole item, and one of its tokens, bit by bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention

from hashzoo.model import sequence

HEAD_WIDTH = 64  # of the transformer, as in CLIP's


@dataclass
class Parts:
    """What a head makes of a batch.

    Attributes:
        feature: (B, width) of unit length, from which the code of the whole item is made.
        whole: (B, bits) in (-1, 1), the code of the whole item.
        local: (B, bits) in (-1, 1), the code of its tokens.
        concepts: (B, bits, width) of unit length, what the tokens say of each concept.
    """

    feature: Tensor
    whole: Tensor
    local: Tensor
    concepts: Tensor


class MithHead(nn.Module):
    """Global concept learning, localised token aggregation, and a transformer over concepts.

    The code is the mean of `Parts.whole` and `Parts.local`, whose signs are those of their sum. Tokens and feature
    vector go through one layer where they have one width, and so lie in one space, as CLIP's do. An encoder without
    tokens gives the feature vector as its one token.

    Args:
        widths: of "pooled" and, where there are any, (tokens, width) of "tokens".
        bits: code length, the number of concepts.
        width: of everything inside, a multiple of 64; a linear layer leads to it. 0: the encoder's own, without that
            layer (the paper, on CLIP's 512).
        layers: of the transformer; 2 in the paper.
        blocks: residual perceptrons before the concepts; 2 in the paper.
        top: concepts that a token may speak for; 8 in the paper.
    """

    def __init__(
        self,
        widths: Mapping[str, Any],
        bits: int,
        width: int = 64,
        layers: int = 1,
        blocks: int = 2,
        top: int = 8,
    ):
        super().__init__()
        pooled, (_, of_tokens) = widths["pooled"], widths.get("tokens", (1, widths["pooled"]))
        if width < 0 or (width or pooled) % HEAD_WIDTH:
            raise ValueError(f"width is a multiple of {HEAD_WIDTH}, not {width or pooled}")
        if not width and of_tokens != pooled:
            raise ValueError(f"width=0 needs tokens as wide as features, and {of_tokens} is not {pooled}")
        self.whole_input: nn.Module = nn.Linear(pooled, width) if width else nn.Identity()
        self.token_input = None if of_tokens == pooled else nn.Linear(of_tokens, width)  # None: that of the vector
        self.width = width = width or pooled
        self.top = top
        self.concepts = Concepts(width, bits, blocks)
        self.register_buffer("positions", positions(bits, width) / math.sqrt(width), persistent=False)
        self.transformer = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.bit_weight = nn.Parameter(torch.empty(bits, width).uniform_(-1, 1) / math.sqrt(width))
        self.bit_bias = nn.Parameter(torch.empty(bits).uniform_(-1, 1) / math.sqrt(width))
        self.alignment = nn.Linear(width, width)

    positions: Tensor

    def parts(self, x: Mapping[str, Tensor]) -> Parts:
        tokens, padding = sequence(x)
        tokens = (self.token_input or self.whole_input)(tokens)
        feature = self.concepts.feature(self.whole_input(x["pooled"]))
        with torch.no_grad():
            scores = self.concepts(self.concepts.feature(tokens))
        concepts = self.transformer(aggregated(tokens, scores, padding, self.top) + self.positions)
        return Parts(
            feature=normalize(feature, dim=1),
            whole=self.concepts(feature),
            local=torch.tanh((concepts * self.bit_weight).sum(dim=2) + self.bit_bias),
            concepts=normalize(self.alignment(concepts), dim=2),
        )

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        parts = self.parts(x)
        return (parts.whole + parts.local) / 2


class Concepts(nn.Module):
    """Global concept learning: tanh(W f(x)), where f adds perceptrons to x and the rows of W are concepts.

    Args:
        width: of x.
        bits: number of concepts.
        blocks: perceptrons, four times as wide inside, each after a normalisation.
    """

    def __init__(self, width: int, bits: int, blocks: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            for _ in range(blocks)
        )
        self.scores = nn.Linear(width, bits, bias=False)

    def feature(self, x: Tensor) -> Tensor:
        """f(x), (..., width)."""
        for block in self.blocks:
            x = x + block(x)
        return x

    def forward(self, feature: Tensor) -> Tensor:
        """Scores of the concepts, (..., bits) in (-1, 1)."""
        return torch.tanh(self.scores(feature))


def aggregated(tokens: Tensor, scores: Tensor, padding: Tensor, top: int) -> Tensor:
    """Localised token aggregation: for each concept the mean of the tokens that speak for it, (B, bits, width).

    Weights are a softmax over the scores of those tokens for which the concept is among the `top` and has a positive
    score; a concept that no token speaks for is zero.

    Args:
        tokens: (B, T, width).
        scores: (B, T, bits), below 1.
        padding: (B, T) bool.
        top: concepts of a token.
    """
    least = scores.topk(min(top, scores.shape[2]), dim=2).values[..., -1:]
    speaks = (scores > 0) & (scores >= least) & ~padding[..., None]
    weights = torch.where(speaks, scores.exp(), 0)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return weights.transpose(1, 2) @ tokens


class Block(nn.Module):
    """A layer of CLIP's transformer over (B, concepts, width): attention, then a perceptron, each after its norm."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        split = self.queries_keys_values(self.before(x)).unflatten(2, (3, self.heads, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4)  # (B, heads, concepts, 64) each
        met = scaled_dot_product_attention(queries, keys, values)
        x = x + self.mixed(met.transpose(1, 2).flatten(2))
        return x + self.narrow(gelu(self.wide(self.between(x))))


def positions(count: int, width: int) -> Tensor:
    """Sinusoidal positions (Vaswani et al., NeurIPS 2017), (count, width)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
