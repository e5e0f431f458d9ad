"""DCHMT (Tu et al., ACM MM 2022): distances of softmax pairs inside and between the modalities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hashzoo import Loss
from hashzoo.losses import shared_labels
from hashzoo.model import Outputs
from hashzoo.train import Batch

NEAREST = 1e-6  # squared distances below it count as this one: the root has no slope at 0


class Dchmt(Loss):
    """Similar pairs to distance 0, dissimilar pairs to at least m = sqrt(2 bits vartheta).

    A code is c = (1 - p_1, p_1, ..., 1 - p_L, p_L), two probabilities a bit. With the Euclidean distances d_ij,

        mean_ij S_ij d_ij^2 + mean_ij (1 - S_ij) (m - min(d_ij, m))^2

    is added up over image-text, image-image and text-text pairs, and

        quantisation * (1 - mean (2c - 1)^2)

    over both modalities, on average. Outputs here are h = 2p - 1, so that d = ||h_i - h_j|| / sqrt(2) and
    (2c - 1)^2 = h^2. Codes that differ in a share vartheta of their bits are at distance m.

    Args:
        vartheta: share of the bits in which dissimilar codes differ at least.
        quantisation: weight of the quantisation.
    """

    def __init__(self, vartheta: float = 0.5, quantisation: float = 0.001):
        if not 0 < vartheta <= 1:
            raise ValueError(f"vartheta is a share of the bits above 0 and up to 1, not {vartheta}")
        super().__init__()
        self.vartheta, self.quantisation = vartheta, quantisation

    def forward(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        similar = shared_labels(batch.labels, batch.labels)
        margin = math.sqrt(2 * outputs.image.shape[1] * self.vartheta)
        kinds = ((outputs.image, outputs.text), (outputs.image, outputs.image), (outputs.text, outputs.text))
        squared = [squared_distances(a, b) for a, b in kinds]
        near = [(similar * each).mean() for each in squared]
        far = [((1 - similar) * (margin - each.sqrt().clamp_max(margin)).square()).mean() for each in squared]
        undecided = 1 - (outputs.image.square().mean() + outputs.text.square().mean()) / 2
        return {
            "similar": torch.stack(near).sum(),
            "dissimilar": torch.stack(far).sum(),
            "quantisation": self.quantisation * undecided,
        }


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances (A, B) of the pair vectors of outputs, (A, bits) and (B, bits): half those of the outputs."""
    lengths = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    return (lengths / 2 - a @ b.T).clamp_min(NEAREST)
