"""CVH (Kumar and Udupa: Learning Hash Functions for Cross-View Similarity Search, IJCAI 2011)."""

from __future__ import annotations

import torch
from torch import Tensor

from hashzoo import Job, Towers, Trainer
from hashzoo.linear import normal, projections
from hashzoo_shallow.canonical import Canonical, above_zero, cca
from hashzoo_shallow.views import View, projecting_towers, views


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
        image, text = views(job)
        found, left, right = canonical_bits(job, image, text, self.ridge)
        job.log(epoch=1, correlation=found.correlations.mean())
        return projecting_towers(job, (image, left), (text, right))


def canonical_bits(job: Job, image: View, text: View, ridge: float) -> tuple[Canonical, Tensor, Tensor]:
    """A direction for every bit, (p, bits) and (q, bits), with the canonical correlation analysis they come from.

    There are no more canonical directions than the narrower modality has features: further bits are random
    combinations of them, the same in both modalities.
    """
    found = cca(image.rows, text.rows, ridge, job.bits)
    directions = len(found.correlations)
    mixed = normal(job, directions, job.bits - directions)
    left, right = (torch.cat([side, side @ mixed], dim=1) for side in (found.left, found.right))
    return found, left, right
