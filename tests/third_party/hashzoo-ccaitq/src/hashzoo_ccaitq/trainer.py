"""CCA-ITQ: a common space of both modalities by linear algebra, and a rotation of it that loses little to the sign."""

from __future__ import annotations

import numpy as np
import torch
from hashzoo import HashzooError, Job, Towers, Trainer
from torch import Tensor, nn


class Projection(nn.Module):
    """An affine map, (B, width) to (B, bits); centre and weight are buffers, since nothing here has a gradient."""

    centre: Tensor  # (width,)
    weight: Tensor  # (width, bits)

    def __init__(self, width: int, bits: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("weight", torch.zeros(width, bits))

    def forward(self, x: Tensor) -> Tensor:
        """Real values (B, bits) of features (B, width)."""
        return (x - self.centre) @ self.weight

    def set(self, centre: np.ndarray, weight: np.ndarray) -> None:
        """Take over what was fitted: (width,) and (width, bits), of any float dtype."""
        self.centre.copy_(torch.from_numpy(centre))
        self.weight.copy_(torch.from_numpy(weight))


class CcaItq(Trainer):
    """Regularised CCA between image and text features, then ITQ on the codes of both.

    CCA: Hardoon, Szedmak and Shawe-Taylor, Neural Computation 2004. ITQ, and the scaling of canonical directions by
    their correlations: Gong and Lazebnik, CVPR 2011, which correlates images with labels; here texts take their place.

    Args:
        ridge: added to the diagonal of each covariance, as a share of its mean.
        power: each canonical direction is scaled by its correlation to this power; 0 leaves all of them alike.
        iterations: of ITQ; the paper's 50.
    """

    def __init__(self, ridge: float = 0.1, power: float = 1.0, iterations: int = 50):
        if not ridge > 0:
            raise ValueError(f"ridge must be above 0, not {ridge}")
        if not power >= 0:
            raise ValueError(f"power must be 0 or more, not {power}")
        if iterations < 0:
            raise ValueError(f"iterations must be 0 or more, not {iterations}")
        self.ridge, self.power, self.iterations = ridge, power, iterations

    def towers(self, job: Job) -> Towers:
        """Projections that are still zero, of the widths of the job."""
        image, text = (sum(job.widths[role].values()) for role in ("image", "text"))
        return Towers(Projection(image, job.bits), Projection(text, job.bits)).to(job.device)

    def fit(self, job: Job) -> Towers:
        """Solve for both projections at once; the epochs that are logged are those of ITQ."""
        rows = torch.arange(len(job.train))
        refuse_raw_inputs(job)
        image, text = (take(rows).cpu().numpy().astype(np.float64) for take in (job.train.image, job.train.text))
        centres = image.mean(axis=0), text.mean(axis=0)
        *weights, correlations = cca(image - centres[0], text - centres[1], self.ridge, job.bits)
        weights = [weight * correlations**self.power for weight in weights]
        both = np.concatenate([(image - centres[0]) @ weights[0], (text - centres[1]) @ weights[1]])
        start = torch.randn(job.bits, job.bits, generator=job.generator, dtype=torch.float64).numpy()
        rotation = np.linalg.qr(start)[0][: both.shape[1]]
        for epoch in range(1, self.iterations + 1):
            rotation, distance = itq_step(both, rotation)
            job.log(epoch=epoch, quantisation=distance)
        towers = self.towers(job)
        towers.image.set(centres[0], weights[0] @ rotation)
        towers.text.set(centres[1], weights[1] @ rotation)
        return towers


def refuse_raw_inputs(job: Job) -> None:
    """Raise a sentence where an encoder is to be trained along: its rows are then pixels or tokens, not features."""
    first = torch.arange(1)
    for role, take in (("image", job.train.image), ("text", job.train.text)):
        if not take(first).is_floating_point():
            raise HashzooError(f"cca-itq trains no encoder: leave {role}.frozen at true")


def cca(a: np.ndarray, b: np.ndarray, ridge: float, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canonical directions of centred (n, p) and (n, q): weights (p, k) and (q, k), and their correlations (k,).

    k is `limit` or, where that is less, the smaller width. Directions come in falling order of correlation.
    """
    white_a, white_b = (inverse_root(x.T @ x / len(x), ridge) for x in (a, b))
    left, correlations, right = np.linalg.svd(white_a @ (a.T @ b / len(a)) @ white_b, full_matrices=False)
    return white_a @ left[:, :limit], white_b @ right[:limit].T, correlations[:limit]


def inverse_root(covariance: np.ndarray, ridge: float) -> np.ndarray:
    """The symmetric inverse square root of a (p, p) covariance with `ridge` times its mean variance on the diagonal."""
    values, vectors = np.linalg.eigh(covariance)
    floor = ridge * values.mean() or 1.0  # features that never change: any floor gives zero correlation
    return vectors / np.sqrt(values.clip(min=0) + floor) @ vectors.T


def itq_step(values: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, float]:
    """One step of ITQ: codes of the rotated values, then the rotation that brings the values nearest to those codes.

    Gong and Lazebnik's Procrustes step, which also holds for more bits than directions: `rotation` (k, bits), k at most
    bits, keeps orthonormal rows, so that |values @ rotation| is constant.

    Args:
        values: (n, k).
        rotation: (k, bits).

    Returns:
        The new rotation, and the mean squared distance of an entry to its code before the step.
    """
    rotated = values @ rotation
    codes = np.where(rotated > 0, 1.0, -1.0)
    left, _, right = np.linalg.svd(values.T @ codes, full_matrices=False)
    return left @ right, float(np.square(rotated - codes).mean())
