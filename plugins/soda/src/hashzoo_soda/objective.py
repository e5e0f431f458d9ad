"""SODA's two terms: Phi_1, the likelihood of pairs, and Phi_2, the distance to binary codes.

With theta_ij = <h_i, h'_j> / 2 and S_ij = 1 where rows i and j share a label,

    Phi_1 = -mean_ij [S_ij theta_ij - log(1 + exp(theta_ij))]
    Phi_2 = mean_i (||b_i - h_i||^2 + ||b'_i - h'_i||^2) / bits
"""

from __future__ import annotations

import torch
from torch import Tensor

from hashzoo import Job
from hashzoo.losses import code_likelihood, quantisation, shared_labels, sign
from hashzoo.train import Batch


class BatchPairs:
    """Phi_1 over the pairs inside a batch.

    Args:
        balanced: similar and dissimilar pairs weigh alike.
        intra: weight of the pairs inside one modality, of each modality that is being trained.
    """

    def __init__(self, balanced: bool, intra: float):
        self.balanced, self.intra = balanced, intra

    def __call__(self, image: Tensor, other: Tensor, batch: Batch) -> Tensor:
        """Phi_1 of the outputs of one batch, (B, bits) each; fixed codes need no gradient."""
        similarity = shared_labels(batch.labels, batch.labels)
        value = self._likelihood(image, other, similarity)
        if self.intra:
            for h in (image, other):
                if h.requires_grad:
                    value = value + self.intra * self._likelihood(h, h, similarity)
        return value

    def _likelihood(self, h: Tensor, partners: Tensor, similarity: Tensor) -> Tensor:
        return code_likelihood(h, partners, similarity, self.balanced)


class BufferPairs(BatchPairs):
    """Phi_1 of a batch against all training rows, whose latest outputs are kept in tables as in DCMH (CVPR 2017).

    Gradients reach the batch alone, so that its rows meet the table of the other modality from both sides and the
    two likelihoods are added: each tower's gradient is, in expectation, that of the pairs inside a batch.

    Args:
        job: all training rows.
        image, other: the tables, (n, bits); the rows of a batch are renewed when it comes.
    """

    def __init__(self, job: Job, balanced: bool, intra: float, image: Tensor, other: Tensor):
        super().__init__(balanced, intra)
        self.labels, self.image, self.other = job.train.labels, image, other

    def __call__(self, image: Tensor, other: Tensor, batch: Batch) -> Tensor:
        similarity = shared_labels(batch.labels, self.labels)
        self.image[batch.index], self.other[batch.index] = image.detach(), other.detach()
        value = torch.zeros((), device=similarity.device)
        for h, own, opposite in ((image, self.image, self.other), (other, self.other, self.image)):
            if h.requires_grad:
                value = value + self._likelihood(h, opposite, similarity)
                if self.intra:
                    value = value + self.intra * self._likelihood(h, own, similarity)
        return value


def binarisation(image: Tensor, other: Tensor, codes: str) -> Tensor:
    """Phi_2 of two outputs that both move, (B, bits) each.

    Args:
        codes: "shared": b = b' = sign(h + h'), which minimises Phi_2 over all codes that rows share; "own":
            b = sign(h) and b' = sign(h').
    """
    if codes == "shared":
        shared = sign(image + other)
        return quantisation(image, shared) + quantisation(other, shared)
    return quantisation(image, sign(image)) + quantisation(other, sign(other))
