"""DOCH (Zhan et al.: Discrete Online Cross-Modal Hashing, Pattern Recognition 2022).

The updates and constants are those of the authors' released code; (1) to (4) are numbered in the README of this
package. Rows are samples: X (n, d_x) and T (n, d_t) features, Y (n, C) labels, B (n, L) codes of a chunk; A (m, L) are
codes of anchors, rows of old chunks that are drawn anew for each update, and P (L, C) is the labels of a code.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hashzoo import Job, Outputs, Towers
from hashzoo.linear import features, normal, projections
from hashzoo.losses import shared_labels, sign
from hashzoo.online import OnlineTrainer
from hashzoo_online.sums import Sums

BITS, ALPHAS = (8, 16, 32, 64, 128), (0.45, 0.35, 0.25, 0.15, 0.1)  # the released alpha for each code length


class Doch(OnlineTrainer):
    """Codes of a chunk, bit by bit, from labels and the codes of anchors; then least squares from features to codes.

    Args:
        alpha: scale of the inner products of codes. None: the released one for 8, 16, 32, 64 and 128 bits, and what
            lies on the line between, over the logarithm of the length, for others.
        theta: weight of the labels, Y = B P.
        anchors: rows drawn of each old chunk for an update; of the first chunk, from itself.
        rounds: updates of P in a chunk.
        iterations: updates of B before each of P.
        ridge: of the hash functions; the released code has none.
        chunk: rows of a chunk where the database does not arrive in chunks.
    """

    def __init__(
        self,
        alpha: float | None = None,
        theta: float = 0.1,
        anchors: int = 50,
        rounds: int = 7,
        iterations: int = 3,
        ridge: float = 0.0,
        chunk: int = 2000,
    ):
        if anchors < 1:
            raise ValueError(f"anchors is 1 or more, not {anchors}")
        self.alpha, self.theta, self.anchors = alpha, theta, anchors
        self.rounds, self.iterations, self.ridge, self.chunk = rounds, iterations, ridge, chunk
        self.sums = Sums()
        self._old: list[tuple[Tensor, Tensor]] = []  # labels, bool, and codes, int8, of each chunk

    def towers(self, job: Job) -> Towers:
        return Towers(*projections(job))

    def learned_codes(self) -> Outputs | None:
        """B of the last chunk: image and text have one code."""
        if not self._old:
            return None
        codes = self._old[-1][1].float()
        return Outputs(codes, codes)

    @torch.no_grad()
    def partial_fit(self, job: Job) -> Towers:
        image, text = features(job.train)
        labels = job.train.labels.double()
        alpha = released_alpha(job.bits) if self.alpha is None else self.alpha
        codes, embedding = sign(normal(job, len(labels), job.bits)).double(), normal(job, job.bits, labels.shape[1])
        for number in range(1, self.rounds + 1):
            before = codes.clone()
            for _ in range(self.iterations):
                anchor_labels, anchor_codes = self._anchors(job.generator, labels, codes)
                update_codes(
                    codes, anchor_codes, shared_labels(labels, anchor_labels), labels, embedding, alpha, self.theta
                )
            # (2) P, the labels of a code.
            gram = self.sums.plus("BB", codes.T @ codes)
            embedding = torch.linalg.pinv(gram, hermitian=True) @ self.sums.plus("BY", codes.T @ labels)
            job.log(
                epoch=number,
                embedding=(labels - codes @ embedding).square().mean(),
                changed=(codes != before).double().mean(),
            )
        # (3) The sums take the chunk in.
        products = {"XX": (image, image), "TT": (text, text), "XB": (image, codes), "TB": (text, codes)}
        products |= {"BB": (codes, codes), "BY": (codes, labels)}
        self.sums.take({name: left.T @ right for name, (left, right) in products.items()})
        self._old.append((labels > 0, codes.to(torch.int8)))
        # (4) Hash functions, by least squares to the codes of all rows so far.
        towers = projections(job)
        for tower, square, cross in zip(towers, ("XX", "TT"), ("XB", "TB"), strict=True):
            ridge = self.ridge * torch.eye(len(self.sums[square]), dtype=torch.float64, device=job.device)
            tower.weight.copy_(torch.linalg.pinv(self.sums[square] + ridge, hermitian=True) @ self.sums[cross])
        return Towers(*towers)

    def _anchors(self, generator: torch.Generator, labels: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and codes of rows drawn from each old chunk, (m, C) and (m, L); in the first chunk, from itself."""
        chosen = []
        for chunk_labels, chunk_codes in self._old or [(labels, codes)]:
            rows = torch.randperm(len(chunk_labels), generator=generator)[: self.anchors].to(labels.device)
            chosen.append((chunk_labels[rows].double(), chunk_codes[rows].double()))
        return torch.cat([part for part, _ in chosen]), torch.cat([part for _, part in chosen])


def released_alpha(bits: int) -> float:
    """The released alpha of a code length."""
    return float(np.interp(np.log2(bits), np.log2(BITS), ALPHAS))


def update_codes(
    codes: Tensor, anchors: Tensor, similar: Tensor, labels: Tensor, embedding: Tensor, alpha: float, theta: float
) -> None:
    """(1): new codes of a chunk in place, bit after bit, each given those before it.

    Args:
        codes: B, (n, L).
        anchors: A, (m, L), which stay.
        similar: S, (n, m) in {0, 1}.
        labels: Y, (n, C).
        embedding: P, (L, C).
        alpha, theta: see `Doch`.
    """
    inner = codes @ anchors.T
    from_similar, from_labels = similar @ anchors, 2 * labels @ embedding.T
    gram = embedding @ embedding.T
    for bit in range(codes.shape[1]):
        old, anchor = codes[:, bit].clone(), anchors[:, bit]
        pull = alpha * (from_similar[:, bit] - torch.sigmoid(alpha * inner) @ anchor)
        pull += len(anchors) * alpha**2 / 4 * old
        fit = from_labels[:, bit] - 2 * codes @ gram[:, bit] + 2 * gram[bit, bit] * old
        codes[:, bit] = sign(pull + theta * fit)
        inner.addr_(codes[:, bit] - old, anchor)
