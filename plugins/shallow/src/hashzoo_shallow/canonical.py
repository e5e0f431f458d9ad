"""Canonical correlation analysis with a ridge (Hardoon, Szedmak, Shawe-Taylor, Neural Computation 2004).

Rows are samples: X (n, p) and Y (n, q) are centred, C_xx = X^T X / n, C_yy and C_xy likewise. A ridge r makes them
C_xx + r m_x I, where m_x is the mean of the diagonal of C_xx: as a share of the mean variance it means the same for
features of any scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hashzoo import Job
from hashzoo_shallow.views import Blocks, product, views


@dataclass
class Canonical:
    """The k = min(p, q) pairs of directions in falling order of correlation.

    Attributes:
        left: (p, k) A with A^T (C_xx + r m_x I) A = I.
        right: (q, k) B with B^T (C_yy + r m_y I) B = I.
        correlations: (k,) the diagonal of A^T C_xy B, whose other entries are zero.
        left_root, right_root: `covariance_root` of both sides.
    """

    left: Tensor
    right: Tensor
    correlations: Tensor
    left_root: Tensor
    right_root: Tensor


@dataclass
class Centred:
    """What cells of all code lengths and seeds have in common.

    Attributes:
        image, text: means of the features of the training rows, (p,) and (q,).
        canonical: of the rows less their means.
    """

    image: Tensor
    text: Tensor
    canonical: Canonical


def analysed(job: Job, ridge: float) -> Centred:
    """The canonical correlation analysis of all training rows: `job.once(analysed, ridge)`."""
    image, text = views(job)
    return Centred(image.centre, text.centre, cca(image.rows, text.rows, ridge))


def cca(x: Blocks, y: Blocks, ridge: float) -> Canonical:
    """All pairs of directions of centred float64 rows, (n, p) and (n, q); `ridge` is above 0."""
    x_root, y_root = covariance_root(x, ridge), covariance_root(y, ridge)
    cross = whiten(y_root, whiten(x_root, product(x, y) / len(x)).T).T
    u, correlations, vh = torch.linalg.svd(cross, full_matrices=False)
    # Either sign of a pair is right: which one comes out must not depend on how many threads there are.
    largest = u.abs().argmax(dim=0, keepdim=True)
    flip = u.gather(0, largest).sign()
    return Canonical(unwhiten(x_root, u * flip), unwhiten(y_root, vh.T * flip), correlations, x_root, y_root)


def covariance_root(x: Blocks, ridge: float) -> Tensor:
    """The Cholesky factor L of C_xx + r m_x I = L L^T, (p, p), of centred rows (n, p)."""
    covariance = product(x, x) / len(x)
    # Features that never change correlate with nothing, under any ridge.
    covariance.diagonal().add_(ridge * covariance.diagonal().mean().item() or 1.0)
    return torch.linalg.cholesky(covariance)


def whiten(root: Tensor, columns: Tensor) -> Tensor:
    """L^-1 C for columns C, (p, m): of C_xy, or of X^T."""
    return torch.linalg.solve_triangular(root, columns, upper=False)


def unwhiten(root: Tensor, directions: Tensor) -> Tensor:
    """L^-T U: directions among whitened features, (p, m), as directions among features."""
    return torch.linalg.solve_triangular(root.T, directions, upper=True)


def above_zero(**settings: float) -> None:
    """Raise a sentence for the first of these settings that is not above 0."""
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, not {value}")
