"""SCM, learned bit after bit (Zhang and Li, AAAI 2014): semantic correlation maximisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hashzoo import Job, Towers, Trainer
from hashzoo.linear import projections
from hashzoo.losses import sign
from hashzoo_shallow.canonical import Centred, above_zero, analysed, unwhiten, whiten
from hashzoo_shallow.cvh import canonical_bits
from hashzoo_shallow.views import Blocks, projecting_towers, total, views


class Scm(Trainer):
    """Codes whose inner products approximate the cosine of labels; each bit is fitted to what the others left over.

    X (n, p) and Y (n, q) are centred features, G (n, C) labels with rows of unit length, and S = 2 G G^T - 1 1^T the
    similarity. The objective is

        || sign(X A) sign(Y B)^T - bits S ||^2

    and from R = bits S the sequential algorithm takes, for each bit,

        (a, b) = argmax a^T X^T R Y b   over a^T (X^T X) a = b^T (Y^T Y) b = n, the ridge added to both
        R <- R - sign(X a) sign(Y b)^T

    Should the maximum grow from one bit to the next, this and all further bits are canonical directions instead, in
    rising order of correlation up to the last bit, as in the released code. S and R are never formed: between
    whitened features X^T R Y is the product of two thin matrices, to which every bit adds a column each.

    Args:
        ridge: added to the variances, as a share of their mean; above 0.
        fall_back: on canonical directions when the maximum grows; otherwise it goes on.
    """

    def __init__(self, ridge: float = 0.1, fall_back: bool = True):
        above_zero(ridge=ridge)
        self.ridge, self.fall_back = ridge, fall_back

    def towers(self, job: Job) -> Towers:
        return Towers(*projections(job))

    def fit(self, job: Job) -> Towers:
        centres, left, right = job.once(sequential, self.ridge, self.fall_back)
        return projecting_towers(job, (centres.image, left), (centres.text, right))


def sequential(job: Job, ridge: float, fall_back: bool) -> tuple[Centred, Tensor, Tensor]:
    """Bit after bit: the centres, and a direction for each bit, (p, bits) and (q, bits). See `Scm`."""
    found = job.once(analysed, ridge)
    left, right = (side.flip(1) for side in canonical_bits(job, found.canonical))
    roots = found.canonical.left_root, found.canonical.right_root
    x, y = (_whitened(root, view.rows) for root, view in zip(roots, views(job), strict=True))
    unit = normalize(job.train.labels.double(), dim=1)
    # X^T R Y = left_factor right_factor^T. X^T 1 = 0, since features are centred, so that -1 1^T drops out of S.
    left_factor = total(2 * job.bits * block @ unit[part] for part, block in x)
    right_factor = total(block @ unit[part] for part, block in y)
    last = math.inf
    for bit in range(job.bits):
        u, value, v = leading_pair(left_factor, right_factor)
        if fall_back and value > last:
            job.log(canonical_bits=job.bits - bit)
            break
        left[:, bit], right[:, bit] = (unwhiten(root, w[:, None])[:, 0] for root, w in zip(roots, (u, v), strict=True))
        left_factor = torch.cat([left_factor, -_agreement(x, u)[:, None]], dim=1)
        right_factor = torch.cat([right_factor, _agreement(y, v)[:, None]], dim=1)
        last = value
        job.log(epoch=bit + 1, correlation=value / len(unit))
    return found, left, right


def _whitened(root: Tensor, rows: Blocks) -> Blocks:
    """Whitened features as columns, (p, n)."""
    return rows.map(lambda block: whiten(root, block.T))


def _agreement(x: Blocks, direction: Tensor) -> Tensor:
    """X sign(X^T w), (p,), of whitened features as columns, (p, n), and a direction w, (p,)."""
    return total(block @ sign(direction @ block).double() for _, block in x)


def leading_pair(left: Tensor, right: Tensor) -> tuple[Tensor, float, Tensor]:
    """The first singular vectors of left @ right^T and their value: (p,), number, (q,), for (p, r) and (q, r)."""
    left_basis, left_triangle = torch.linalg.qr(left)
    right_basis, right_triangle = torch.linalg.qr(right)
    u, values, vh = torch.linalg.svd(left_triangle @ right_triangle.T)
    return left_basis @ u[:, 0], values[0].item(), right_basis @ vh[0]
