"""The two losses of UCCH (Hu, Zhu, Lin, Peng, Zhao, Peng: Unsupervised Contrastive Cross-Modal Hashing, TPAMI 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def hash_contrast(outputs: Tensor, codes: Tensor, own: Tensor, temperature: float) -> Tensor:
    """Instance contrast against binary codes, to which nothing is relaxed: mean over i of

        - log( exp(<h_i, c_own(i)> / t) / sum_k exp(<h_i, c_k> / t) ),   t = temperature * sqrt(bits)

    Args:
        outputs: h, (B, bits), rows of unit length.
        codes: c, (K, bits) in {-1, +1}, without gradient.
        own: (B,) int64, which of the codes is that of the row itself.
        temperature: above 0.
    """
    return cross_entropy(outputs @ codes.T / (temperature * math.sqrt(outputs.shape[1])), own)


def ranking(image: Tensor, text: Tensor, margin: float, shift: float) -> Tensor:
    """Cross-modal ranking: all other rows of the batch are pushed away, those that are near by a softmax's share.

    With s_ij = <f_i, g_j>, the sum over both directions (the other has s transposed) of the mean over i of

        margin - s_ii + log sum_j exp(s_ij if s_ij >= s_ii - margin else s_ij - shift)

    Args:
        image: f, (B, bits), rows of unit length.
        text: g, the same of the texts.
        margin: by which the own pair should be better than any other.
        shift: taken off the similarity of pairs that are further away than that, so that they weigh less.
    """
    similarity = image @ text.T
    return _ranking(similarity, margin, shift) + _ranking(similarity.T, margin, shift)


def _ranking(similarity: Tensor, margin: float, shift: float) -> Tensor:
    own = similarity.diagonal()
    near = similarity >= own[:, None] - margin
    return (margin - own + torch.where(near, similarity, similarity - shift).logsumexp(dim=1)).mean()
