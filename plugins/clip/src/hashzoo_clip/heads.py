"""The heads of the CLIP family: linear with dropout of bits, and DCHMT's two, which choose between two logits a bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hashzoo.model import Dropout, Perceptron, sequence


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
        return chosen(self.select(self.embed(x["pooled"])))


class AttentiveHead(nn.Module):
    """DCHMT's later head (repository kalenforn/clip-based-cross-modal-hash): attention, a norm, two logits a bit.

    There, CLIP's feature vector attends to itself alone. Here it attends to the tokens of the encoder as well.

    Args:
        widths: of "pooled" and, where there are any, (tokens, width) of "tokens".
        bits: code length.
        width: of the attention, to which linear layers lead; 512 in the authors' code, without these.
        heads: of the attention, a divisor of the width; 8 in the authors' code.
        norm: "batch" (of images in the authors' code) or "layer" (of texts).
        hidden: width of a hidden layer with ReLU between feature vector and attention, 0 (the authors' code, which
            trains CLIP along) for none. Without it, and without tokens, all before the logits is linear but the norm.
    """

    def __init__(
        self,
        widths: Mapping[str, Any],
        bits: int,
        width: int = 128,
        heads: int = 8,
        norm: str = "layer",
        hidden: int = 0,
    ):
        super().__init__()
        if norm not in ("batch", "layer"):
            raise ValueError(f"norm is batch or layer, not '{norm}'")
        if heads < 1 or width < heads or width % heads:
            raise ValueError(f"width is a multiple of heads, and {width} is none of {heads}")
        pooled = widths["pooled"]
        self.whole = Perceptron(pooled, hidden, width, tanh=False) if hidden else nn.Linear(pooled, width)
        self.token = nn.Linear(widths["tokens"][1], width) if "tokens" in widths else None
        self.heads = heads
        self.query, self.keys_values, self.mixed = (nn.Linear(width, n * width) for n in (1, 2, 1))
        self.norm = nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width)
        self.select = nn.Linear(width, 2 * bits)

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        seen = whole = self.whole(x["pooled"])[:, None]
        heard = None
        if self.token is not None:
            tokens, padding = sequence(x)
            seen = torch.cat([whole, self.token(tokens)], dim=1)
            heard = torch.cat([padding.new_ones(len(padding), 1), ~padding], dim=1)[:, None, None]
        queries = self.query(whole).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, 1, width / heads)
        keys, values = self.keys_values(seen).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        met = self.mixed(scaled_dot_product_attention(queries, keys, values, heard).flatten(1))
        return chosen(self.select(self.norm(met)).relu())


def chosen(logits: Tensor) -> Tensor:
    """2p - 1, (B, bits), with p the softmax of the second of two logits a bit, (B, 2 bits)."""
    off, on = logits.unflatten(1, (-1, 2)).unbind(dim=2)
    return torch.tanh((on - off) / 2)
