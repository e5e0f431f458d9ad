"""Loss terms that several methods share, and the loss that is built of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import mse_loss

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
    return (a @ b.T > 0).to(a.dtype)


def pair_likelihood(theta: Tensor, similarity: Tensor, balanced: bool = False) -> Tensor:
    """Negative log-likelihood of pairs: -mean(S theta - log(1 + exp(theta))). DCMH (CVPR 2017), eq. 1.

    Args:
        theta: (A, B), half the inner product of two codes in the likelihood of DCMH.
        similarity: (A, B) in {0, 1}.
        balanced: similar and dissimilar pairs weigh one half each, however many there are. This departs
            from the papers: where few pairs are similar the plain mean may collapse to constant codes.
    """
    positives = similarity.sum()
    negatives = similarity.numel() - positives
    weights: tuple[Tensor | float, Tensor | float] = (1.0, 1.0)
    if balanced and positives > 0 and negatives > 0:
        weights = (similarity.numel() / (2 * positives), similarity.numel() / (2 * negatives))
    return _PairLikelihood.apply(theta, similarity, *weights)


class _PairLikelihood(torch.autograd.Function):
    """mean(w (log(1 + exp(theta)) - S theta)) with its gradient, w (sigmoid(theta) - S) / numel.

    torch's own takes twenty times as long on a CPU, where its log-sigmoid is not vectorised.
    """

    @staticmethod
    def forward(
        ctx: Any, theta: Tensor, similarity: Tensor, similar: Tensor | float, dissimilar: Tensor | float
    ) -> Tensor:
        weight = similarity * (similar - dissimilar) + dissimilar
        ctx.save_for_backward((torch.sigmoid(theta) - similarity).mul_(weight).div_(theta.numel()))
        softplus = theta.abs().neg_().exp_().log1p_().add_(theta.clamp_min(0))
        return softplus.sub_(similarity * theta).mul_(weight).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * gradient, None, None, None


def quantisation(values: Tensor, codes: Tensor) -> Tensor:
    """Distance of real values to codes in {-1, +1}: mean over rows of ||b - h||^2 / bits."""
    return mse_loss(values, codes)


def bit_balance(values: Tensor) -> Tensor:
    """How far bits are from half on, half off: mean over bits of (mean over rows)^2."""
    return values.mean(dim=0).square().mean()


def sign(values: Tensor) -> Tensor:
    """Codes in {-1, +1}; zero becomes -1, as in every code that hashzoo packs (bit = value > 0)."""
    return torch.where(values > 0, 1.0, -1.0)


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
        theta = outputs.image @ outputs.text.T / 2
        codes = sign((outputs.image + outputs.text).detach())
        return {
            "likelihood": pair_likelihood(theta, shared_labels(batch.labels, batch.labels), self.balanced_pairs),
            "quantisation": self.quantisation
            * (quantisation(outputs.image, codes) + quantisation(outputs.text, codes)),
            "balance": self.balance * (bit_balance(outputs.image) + bit_balance(outputs.text)),
        }
