"""Loss terms that several methods share, and the loss that is built of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import mse_loss, softplus

from hashzoo import fused
from hashzoo.model import Outputs
from hashzoo.train import Batch


class Loss(nn.Module):
    """Outputs of a batch to named scalar terms; the trainer sums them and logs each."""

    @abstractmethod
    def forward(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Terms by name, each a finite scalar, already weighted.

        Args:
            outputs: real-valued codes, (B, bits) each.
            batch: rows, inputs and labels, (B, C) float in {0, 1}.
        """


def shared_labels(a: Tensor, b: Tensor) -> Tensor:
    """Similarity S of two label matrices, (A, C) and (B, C): (A, B) of the same dtype, 1 where a label is shared."""
    return (a @ b.T).gt_(0)  # in place: a comparison that gives bool takes ten times as long on a CPU


def pair_likelihood(theta: Tensor, similarity: Tensor, balanced: bool = False) -> Tensor:
    """Negative log-likelihood of pairs: -mean(S theta - log(1 + exp(theta))). DCMH (CVPR 2017), eq. 1.

    Args:
        theta: (A, B), half the inner product of two codes in the likelihood of DCMH; see `code_likelihood`.
        similarity: (A, B) in {0, 1}.
        balanced: similar and dissimilar pairs weigh one half each, however many there are. This departs
            from the papers: where few pairs are similar the plain mean may collapse to constant codes.
    """
    return _PairLikelihood.apply(theta, similarity, balanced)


def code_likelihood(
    codes: Tensor, partners: Tensor, similarity: Tensor, balanced: bool = False, scale: float = 0.5
) -> Tensor:
    """`pair_likelihood` of theta_ij = scale <h_i, h'_j>, which is made and left behind in one piece of memory.

    Args:
        codes: h, (A, bits).
        partners: h', (B, bits).
        similarity: (A, B) in {0, 1}.
        balanced: see `pair_likelihood`.
        scale: one half in the likelihood of DCMH.
    """
    return _CodeLikelihood.apply(codes, partners, similarity, balanced, scale)


def _likelihood_(theta: Tensor, similarity: Tensor, balanced: bool) -> Tensor:
    """sum(w (log(1 + exp(theta)) - S theta)); theta, contiguous, becomes its gradient, w (sigmoid(theta) - S)."""
    pairs, positives = theta.numel(), similarity.sum().item()
    similar = dissimilar = 1 / pairs
    if balanced and 0 < positives < pairs:
        similar, dissimilar = 1 / (2 * positives), 1 / (2 * (pairs - positives))
    similarity = similarity.to(theta.dtype)
    if theta.device.type == "cpu" and theta.dtype == torch.float32:
        weights = np.float32(similar), np.float32(dissimilar)
        return theta.new_tensor(fused.likelihood(theta.numpy(), similarity.contiguous().numpy(), *weights))
    weight = similarity * (similar - dissimilar) + dissimilar
    value = (weight * (softplus(theta) - similarity * theta)).sum()
    theta.sigmoid_().sub_(similarity).mul_(weight)
    return value


class _PairLikelihood(torch.autograd.Function):
    """The likelihood with its gradient: torch's own log-sigmoid keeps and passes over many more matrices."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, similarity: Tensor, balanced: bool) -> Tensor:
        slope = theta.clone(memory_format=torch.contiguous_format)
        value = _likelihood_(slope, similarity, balanced)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * gradient, None, None


class _CodeLikelihood(torch.autograd.Function):
    """The likelihood of inner products, whose scales are applied to codes: they are smaller than matrices of pairs."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, partners: Tensor, similarity: Tensor, balanced: bool, scale: float) -> Tensor:
        slope = (codes * scale) @ partners.T
        value = _likelihood_(slope, similarity, balanced)
        ctx.save_for_backward(codes, partners, slope)
        ctx.scale = scale
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        codes, partners, slope = ctx.saved_tensors
        gradient = gradient * ctx.scale
        needed = ctx.needs_input_grad
        own = (slope @ partners).mul_(gradient) if needed[0] else None
        theirs = (slope.T @ codes).mul_(gradient) if needed[1] else None
        return own, theirs, None, None, None


def quantisation(values: Tensor, codes: Tensor) -> Tensor:
    """Distance of real values to codes in {-1, +1}: mean over rows of ||b - h||^2 / bits."""
    return mse_loss(values, codes)


def bit_balance(values: Tensor) -> Tensor:
    """How far bits are from half on, half off: mean over bits of (mean over rows)^2."""
    return values.mean(dim=0).square().mean()


def sign(values: Tensor) -> Tensor:
    """Codes in {-1, +1}; zero becomes -1, as in every code that hashzoo packs (bit = value > 0)."""
    return values.detach().clone().gt_(0).mul_(2).sub_(1)  # torch.where takes ten times as long on a CPU


class Pairwise(Loss):
    """Likelihood of image-text pairs in the batch, quantisation to a shared code, balance of bits.

    The likelihood and B = sign(F + G) are DCMH's (Jiang and Li, CVPR 2017), taken inside the batch.

    Args:
        quantisation: weight of the quantisation term.
        balance: weight of the bit-balance term.
        balanced_pairs: weigh similar and dissimilar pairs alike (see `pair_likelihood`).
    """

    def __init__(self, quantisation: float = 0.1, balance: float = 0.1, balanced_pairs: bool = True):
        super().__init__()
        self.quantisation, self.balance, self.balanced_pairs = quantisation, balance, balanced_pairs

    def forward(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        similarity = shared_labels(batch.labels, batch.labels)
        codes = sign(outputs.image + outputs.text)
        return {
            "likelihood": code_likelihood(outputs.image, outputs.text, similarity, self.balanced_pairs),
            "quantisation": self.quantisation
            * (quantisation(outputs.image, codes) + quantisation(outputs.text, codes)),
            "balance": self.balance * (bit_balance(outputs.image) + bit_balance(outputs.text)),
        }
