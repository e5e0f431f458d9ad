"""LEMON (Wang, Luo, Xu: Label Embedding Online Hashing for Cross-Modal Retrieval, ACM MM 2020).

The updates and constants are those of the authors' released code; (1) to (6) are numbered in the README of this
package. Rows are samples: X (n, d_x) and T (n, d_t) features, Y (n, C) labels, G the same with rows of unit length,
B (n, L) codes, V (n, L) latent factors. S = 2 G G^T - 1 1^T is never formed: all that old rows add to an update is in
sums whose size does not depend on the number of rows.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hashzoo import HashzooError, Job, Outputs, Towers
from hashzoo.linear import features, normal, projections
from hashzoo.losses import sign
from hashzoo.online import OnlineTrainer
from hashzoo_online.factors import balanced_factors
from hashzoo_online.sums import Sums


class Lemon(OnlineTrainer):
    """Codes of a chunk by five rounds of closed-form updates, then ridge regression from features to all codes so far.

    Args:
        alpha: weight of the similarity to all rows, S.
        beta: weight of the label embedding, Y = V P.
        gamma: ridge of P.
        xi: ridge of the hash functions.
        iterations: updates of a chunk.
        chunk: rows of a chunk where the database does not arrive in chunks.
    """

    bounded_state = True

    def __init__(
        self,
        alpha: float = 1e4,
        beta: float = 1e4,
        gamma: float = 0.1,
        xi: float = 1.0,
        iterations: int = 5,
        chunk: int = 2000,
    ):
        self.alpha, self.beta, self.gamma, self.xi = alpha, beta, gamma, xi
        self.iterations, self.chunk = iterations, chunk
        self.sums = Sums()  # by the names of `_products`
        self._codes: Tensor | None = None

    def towers(self, job: Job) -> Towers:
        return Towers(*projections(job))

    def learned_codes(self) -> Outputs | None:
        """B of the last chunk: image and text have one code."""
        return None if self._codes is None else Outputs(self._codes, self._codes)

    @torch.no_grad()
    def partial_fit(self, job: Job) -> Towers:
        rows, bits = len(job.train), job.bits
        if rows <= bits:
            raise HashzooError(f"LEMON needs more rows in a chunk than bits, and has {rows} for {bits} bits")
        image, text = features(job.train)
        labels = job.train.labels.double()
        unit = normalize(labels, dim=1, eps=1e-14)
        identity = torch.eye(bits, dtype=torch.float64, device=job.device)
        codes, latent = sign(normal(job, rows, bits)).double(), normal(job, rows, bits)
        rotation = torch.linalg.svd(normal(job, bits, bits)).U
        weight, old = self.alpha * bits, self.sums.plus
        for iteration in range(1, self.iterations + 1):
            # (1) P, the labels of a latent factor.
            embedding = torch.linalg.solve(
                old("VV", latent.T @ latent) + self.gamma * identity, old("VY", latent.T @ labels)
            )
            # (2) Z, and V: the closest factors that are orthogonal and balanced.
            target = codes @ rotation.T + self.beta * labels @ embedding.T
            target += 2 * weight * unit @ old("GB", unit.T @ codes) - weight * old("1B", codes.sum(dim=0))
            latent = balanced_factors(target, partial(normal, job))
            # (3) R, from the singular vectors of the sum of B^T V.
            left, _, right = torch.linalg.svd(old("BV", codes.T @ latent))
            rotation = right.T @ left.T
            # (4) B, bit by bit independent.
            values = 2 * weight * unit @ old("GV", unit.T @ latent) - weight * old("1V", latent.sum(dim=0))
            codes = sign(values + latent @ rotation).double()
            job.log(
                epoch=iteration,
                quantisation=(codes - latent @ rotation).square().mean(),
                embedding=(labels - latent @ embedding).square().mean(),
            )
        # (5) The sums take the chunk in.
        self.sums.take(_products(image, text, labels, unit, codes, latent))
        self._codes = codes.float()
        # (6) Hash functions, by ridge regression to the codes of all rows so far.
        towers = projections(job)
        for tower, gram, cross in zip(towers, ("XX", "TT"), ("XB", "TB"), strict=True):
            ridge = self.xi * torch.eye(len(self.sums[gram]), dtype=torch.float64, device=job.device)
            tower.weight.copy_(torch.linalg.solve(self.sums[gram] + ridge, self.sums[cross]))
        return Towers(*towers)


def _products(
    image: Tensor, text: Tensor, labels: Tensor, unit: Tensor, codes: Tensor, latent: Tensor
) -> dict[str, Tensor]:
    """What a chunk adds to each sum."""
    return {
        "VV": latent.T @ latent,
        "VY": latent.T @ labels,
        "GB": unit.T @ codes,
        "1B": codes.sum(dim=0),
        "BV": codes.T @ latent,
        "GV": unit.T @ latent,
        "1V": latent.sum(dim=0),
        "XX": image.T @ image,
        "TT": text.T @ text,
        "XB": image.T @ codes,
        "TB": text.T @ codes,
    }
