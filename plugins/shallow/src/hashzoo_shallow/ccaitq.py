"""CCA-ITQ (Gong and Lazebnik, CVPR 2011) between two modalities: a common space, and a rotation made for signs."""

from __future__ import annotations

import torch
from torch import Tensor

from hashzoo import Job, Towers, Trainer
from hashzoo.linear import normal, projections
from hashzoo.losses import sign
from hashzoo_shallow.canonical import above_zero, analysed
from hashzoo_shallow.views import BLOCK_NUMBERS, projecting_towers, total, views


class CcaItq(Trainer):
    """Canonical correlations of images and texts, then one rotation of both by iterative quantisation (ITQ).

    With the canonical directions A and B, their correlations c, and V = [X A; Y B] diag(c)^power, (2n, k), ITQ
    minimises (eq. 2 of the paper, with both modalities as rows)

        || S - V R ||^2   over S in {-1, +1} and R with R R^T = I

    by turns of S = sign(V R) and the Procrustes rotation R = P Q^T, where V^T S = P s Q^T. The codes of new rows are
    sign(x A diag(c)^power R) and sign(y B diag(c)^power R). With more bits than directions R has more columns than
    rows, as though the missing directions were there and zero.

    Args:
        ridge: added to the variances, as a share of their mean; above 0.
        power: of the correlations that scale the directions; 0 leaves all alike.
        iterations: of ITQ, 50 in the paper.
    """

    def __init__(self, ridge: float = 1.0, power: float = 1.0, iterations: int = 50):
        above_zero(ridge=ridge, iterations=iterations)
        self.ridge, self.power, self.iterations = ridge, power, iterations

    def towers(self, job: Job) -> Towers:
        return Towers(*projections(job))

    def fit(self, job: Job) -> Towers:
        found = job.once(analysed, self.ridge).canonical
        image, text = views(job)
        scales = found.correlations[: job.bits] ** self.power
        left, right = (side[:, : job.bits] * scales for side in (found.left, found.right))
        n = len(job.train)
        values = torch.empty(2 * n, left.shape[1], dtype=left.dtype, device=left.device)
        for side, view, directions in ((values[:n], image, left), (values[n:], text, right)):
            for part, block in view.rows:
                side[part] = block @ directions
        rotation = torch.linalg.qr(normal(job, job.bits, job.bits)).Q[: len(scales)]
        for iteration in range(1, self.iterations + 1):
            rotation, distance = itq_step(values, rotation)
            job.log(epoch=iteration, quantisation=distance)
        return projecting_towers(job, (image.centre, left @ rotation), (text.centre, right @ rotation))


def itq_step(values: Tensor, rotation: Tensor) -> tuple[Tensor, float]:
    """One turn of ITQ: the codes of rotated values, then the rotation that brings the values nearest to them.

    Args:
        values: V, (n, k).
        rotation: R, (k, bits) with orthonormal rows; k is at most `bits`.

    Returns:
        The new R, and the mean of (S - V R)^2 over all entries before it.
    """
    products, distances = [], []
    for part in values.split(max(BLOCK_NUMBERS // rotation.shape[1], 1)):
        rotated = part @ rotation
        codes = sign(rotated)
        products.append(part.T @ codes)
        distances.append(codes.sub_(rotated).square_().sum())
    left, _, right = torch.linalg.svd(total(products), full_matrices=False)
    return left @ right, (total(distances) / (len(values) * rotation.shape[1])).item()
