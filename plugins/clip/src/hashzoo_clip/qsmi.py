"""DNpH (Qin et al., TMM 2024): quadratic spherical mutual information of codes and shared labels."""

from __future__ import annotations

import torch
from torch import Tensor

from hashzoo import Loss
from hashzoo.losses import shared_labels
from hashzoo.model import Outputs
from hashzoo.train import Batch
from hashzoo_clip.directions import directions


class Qsmi(Loss):
    """Similar pairs to cosine 1, all pairs to cosine -1 as much as there are similar ones.

    With D_ij = 1 where rows i and j of the batch of n share a label, M = n^2 / sum_ij D_ij the number of information
    needs, and Y_ij = (cos(h_i, h'_j) + 1) / 2,

        mean_ij (D_ij Y_ij - 1)^2 + (1 / M) mean_ij Y_ij^2

    is added up over image-image, text-text and image-text pairs. The authors' code takes sums for the means, which
    Adam does not tell apart.
    """

    def forward(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        similar = shared_labels(batch.labels, batch.labels)
        image, text = directions(outputs.image), directions(outputs.text)
        cosines = torch.stack([image @ image.T, text @ text.T, image @ text.T])
        near = (cosines + 1) / 2
        return {
            "similar": (similar * near - 1).square().mean(dim=(1, 2)).sum(),
            "all": similar.mean() * near.square().mean(dim=(1, 2)).sum(),
        }
