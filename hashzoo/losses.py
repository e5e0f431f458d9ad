"""Loss terms that several methods share, and the loss that is built of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import mse_loss, softplus

from hashzoo import fused
from hashzoo.model import Outputs
from hashzoo.train import Batch

WHOLE = 2**24  # pairs of codes up to which all are compared at once, in matrices of 64 MB
BLOCK = 2**20  # pairs at a time where there are more: what the second-level cache holds is done sooner


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


def pair_likelihood(
    theta: Tensor, similarity: Tensor, balanced: bool = False, weights: tuple[float, float] | None = None
) -> Tensor:
    """Negative log-likelihood of pairs: -mean(S theta - log(1 + exp(theta))). DCMH (CVPR 2017), eq. 1.

    Args:
        theta: (A, B), half the inner product of two codes in the likelihood of DCMH; see `code_likelihood`.
        similarity: (A, B) in {0, 1}.
        balanced: similar and dissimilar pairs weigh one half each, however many there are. This departs
            from the papers: where few pairs are similar the plain mean may collapse to constant codes.
        weights: of a similar and of a dissimilar pair, where these are a block of all pairs; see `pair_weights`.
    """
    return _PairLikelihood.apply(theta, similarity, weights or pair_weights(similarity, balanced))


def pair_weights(similarity: Tensor, balanced: bool) -> tuple[float, float]:
    """What a similar and a dissimilar pair weigh in `pair_likelihood`: all weights add up to 1."""
    pairs, positives = similarity.numel(), similarity.sum().item()
    if balanced and 0 < positives < pairs:
        return 1 / (2 * positives), 1 / (2 * (pairs - positives))
    return 1 / pairs, 1 / pairs


def code_likelihood(
    codes: Tensor, partners: Tensor, similarity: Tensor, balanced: bool = False, scale: float = 0.5
) -> Tensor:
    """`pair_likelihood` of theta_ij = scale <h_i, h'_j>, of which no more is kept than the gradients of codes.

    More than 2^24 pairs are compared in blocks of partners.

    Args:
        codes: h, (A, bits).
        partners: h', (B, bits).
        similarity: (A, B) in {0, 1}.
        balanced: see `pair_likelihood`.
        scale: one half in the likelihood of DCMH.
    """
    return _CodeLikelihood.apply(codes, partners, similarity, balanced, scale)


def in_blocks(term: Callable[[Tensor, slice], Tensor], codes: Tensor, partners: int) -> Tensor:
    """The sum of a term over blocks of partners; a block leaves its gradient, and no matrix of pairs.

    Up to 2^24 pairs of a code and a partner there is one block.

    Args:
        term: of the codes and of some partners, `partners[rows]`: a scalar. Only `codes` get a gradient.
        codes: (A, bits).
        partners: how many there are, such as the rows of a table of codes.
    """
    return _InBlocks.apply(codes, term, partners)


def _block(codes: int, partners: int) -> int:
    """How many partners meet all codes at a time."""
    return partners if codes * partners <= WHOLE else max(BLOCK // codes, 1)


def _pairs_in_blocks(codes: int, partners: Tensor, similarity: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    size = _block(codes, len(partners))
    if size >= len(partners):
        return [(partners, similarity)]  # as they are: making slices takes a tenth of a likelihood inside a batch
    return zip(partners.split(size), similarity.split(size, dim=1), strict=True)


def _likelihood_(theta: Tensor, similarity: Tensor, weights: tuple[float, float]) -> Tensor:
    """sum(w (log(1 + exp(theta)) - S theta)); theta, contiguous, becomes its gradient, w (sigmoid(theta) - S)."""
    similar, dissimilar = weights
    similarity = similarity.to(theta.dtype)
    if theta.device.type == "cpu" and theta.dtype == torch.float32:
        numbers = np.float32(similar), np.float32(dissimilar)
        return theta.new_tensor(fused.likelihood(theta.numpy(), similarity.contiguous().numpy(), *numbers))
    weight = similarity * (similar - dissimilar) + dissimilar
    value = (weight * (softplus(theta) - similarity * theta)).sum()
    theta.sigmoid_().sub_(similarity).mul_(weight)
    return value


class _MadeWithItsValue(torch.autograd.Function):
    """A scalar of three arguments, whose gradient by the first was made with it and is all that it keeps."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * gradient, None, None


class _PairLikelihood(_MadeWithItsValue):
    """The likelihood with its gradient: torch's own log-sigmoid keeps and passes over many more matrices."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, similarity: Tensor, weights: tuple[float, float]) -> Tensor:
        slope = theta.clone(memory_format=torch.contiguous_format)
        value = _likelihood_(slope, similarity, weights)
        ctx.save_for_backward(slope)
        return value


class _CodeLikelihood(torch.autograd.Function):
    """The likelihood of inner products: codes are smaller than matrices of pairs, and so are their gradients.

    Therefore scales are applied to codes, and gradients are made together with the value.
    """

    @staticmethod
    def forward(ctx: Any, codes: Tensor, partners: Tensor, similarity: Tensor, balanced: bool, scale: float) -> Tensor:
        weights, (of_codes, of_partners, *_) = pair_weights(similarity, balanced), ctx.needs_input_grad
        values: list[Tensor] = []
        theirs: list[Tensor] = []
        own, scaled = None, codes * scale
        for others, similar in _pairs_in_blocks(len(codes), partners, similarity):
            slope = scaled @ others.T
            values.append(_likelihood_(slope, similar, weights))
            if of_codes:
                own = slope @ others if own is None else own.addmm_(slope, others)
            if of_partners:
                theirs.append(slope.T @ codes)
        ctx.save_for_backward(own, theirs[0] if len(theirs) == 1 else torch.cat(theirs) if theirs else None)
        ctx.scale = scale
        return sum(values[1:], start=values[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        gradient = gradient * ctx.scale
        own, theirs = (None if slope is None else slope * gradient for slope in ctx.saved_tensors)
        return own, theirs, None, None, None


class _InBlocks(_MadeWithItsValue):
    """The gradient of each block is made with its value."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, term: Callable[[Tensor, slice], Tensor], partners: int) -> Tensor:
        value, slope = codes.new_zeros(()), torch.zeros_like(codes)
        size = _block(len(codes), partners)
        for start in range(0, partners, size):
            with torch.enable_grad():
                own = codes.detach().requires_grad_()
                part = term(own, slice(start, start + size))
                (gradient,) = torch.autograd.grad(part, own)
            value += part.detach()
            slope += gradient
        ctx.save_for_backward(slope)
        return value


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
