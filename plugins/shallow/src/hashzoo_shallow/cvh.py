"""CVH (Kumar and Udupa: Learning Hash Functions for Cross-View Similarity Search, IJCAI 2011)."""

from __future__ import annotations

import torch
from torch import Tensor

from hashzoo import Job, Towers, Trainer
from hashzoo.linear import normal, projections
from hashzoo_shallow.canonical import Canonical, above_zero, analysed
from hashzoo_shallow.views import projecting_towers


class Cvh(Trainer):
    """Codes are the signs of canonical variables, the strongest first.

    The paper minimises the distances of similar objects over all pairs of views. Where all that is known is that the
    image and the text of a row belong together, its relaxation is the generalised eigenproblem

        C_xy C_yy^-1 C_yx a = c^2 C_xx a        b = C_yy^-1 C_yx a / c

    which is canonical correlation analysis, and bits are sign(x a) and sign(y b).

    Args:
        ridge: added to the variances, as a share of their mean; above 0.
    """

    def __init__(self, ridge: float = 0.1):
        above_zero(ridge=ridge)
        self.ridge = ridge

    def towers(self, job: Job) -> Towers:
        return Towers(*projections(job))

    def fit(self, job: Job) -> Towers:
        found = job.once(analysed, self.ridge)
        job.log(epoch=1, correlation=found.canonical.correlations[: job.bits].mean())
        left, right = canonical_bits(job, found.canonical)
        return projecting_towers(job, (found.image, left), (found.text, right))


def canonical_bits(job: Job, found: Canonical) -> tuple[Tensor, Tensor]:
    """A direction for every bit, (p, bits) and (q, bits), the strongest first.

    There are no more canonical directions than the narrower modality has features: further bits are random
    combinations of them, the same in both modalities.
    """
    directions = len(found.correlations)
    mixed = normal(job, directions, max(job.bits - directions, 0))
    left, right = (torch.cat([side[:, : job.bits], side @ mixed], dim=1) for side in (found.left, found.right))
    return left, right
