"""Triplet losses over all triplets of a batch, in the time of sorting them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine of each row of `a` with each of `b`: (A, D) and (B, D) to (A, B)."""
    return 1 - normalize(a) @ normalize(b).T


def all_triplets(distance: Tensor, similar: Tensor, margin: float, gains: Tensor | None = None) -> Tensor:
    """Sum over anchors a, positives p and negatives n of gains_ap max(0, d_ap - d_an + margin).

    There are A * B^2 triplets; with each anchor's negatives in order of distance, those that a positive meets are
    the first of them, and running sums give their total.

    Args:
        distance: (A, B), of anchors to candidates.
        similar: (A, B) in {0, 1}: which candidates are positives of an anchor; all others are negatives.
        margin: how much farther a negative is to be.
        gains: (A, B), weight of each positive; 1 by default.
    """
    negatives = distance.masked_fill(similar > 0, torch.inf).sort(dim=1).values
    reach = distance.detach() + margin
    met = torch.searchsorted(negatives.detach(), reach.contiguous())
    sums = torch.cat([negatives.new_zeros(len(negatives), 1), negatives.cumsum(dim=1)], dim=1).gather(1, met)
    hinges = met * (distance + margin) - sums
    return (hinges * (similar if gains is None else similar * gains)).sum()


def relevance_gains(labels: Tensor, others: Tensor) -> Tensor:
    """g_ap = (2^r_ap - 1) / Z_a with r the number of shared labels, Z_a the ideal DCG of anchor a: (A, B). DADH.

    Args:
        labels: (A, C) of the anchors.
        others: (B, C) of the candidates.
    """
    relevance = 2 ** (labels @ others.T) - 1
    ranks = torch.arange(2, relevance.shape[1] + 2, dtype=labels.dtype, device=labels.device)
    ideal = (relevance.sort(dim=1, descending=True).values / torch.log2(ranks)).sum(dim=1, keepdim=True)
    return relevance / torch.where(ideal > 0, ideal, 1.0)
