"""OCMFH (Wang, Wang, An, Gao, Tian, SIGIR 2020): Online Collective Matrix Factorization Hashing.

The updates and constants are those of the authors' released code; (1) to (4) are numbered in the README of this
package. Rows are samples: X_m (n, d_m) centred features of modality m, H (n, L) their common factor, U_m (d_m, L) its
bases, P_m (d_m, L) the hash functions. No labels are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hashzoo import Job, Outputs, Towers
from hashzoo.linear import features, projections
from hashzoo.online import OnlineTrainer

STOP = 0.01  # the first chunk is learned until its objective falls by less


@dataclass
class Modality:
    """What is kept of one modality: sums over all rows so far, and what follows from them.

    Attributes:
        weight: lambda or 1 - lambda.
        mean: (d,) of the features.
        cross: sum of X^T H, (d, L), for the bases.
        target: sum of X^T H, (d, L), for the hash functions; it is a step ahead of `cross`.
        gram: sum of X^T X + gamma I, (d, d).
        bases: U, (d, L).
        hashing: P, (d, L).
    """

    weight: float
    mean: Tensor
    cross: Tensor
    target: Tensor
    gram: Tensor
    bases: Tensor
    hashing: Tensor


class Ocmfh(OnlineTrainer):
    """A factor that both modalities share, with bases and hash functions from sums over all chunks.

    Args:
        balance: lambda, the weight of images; texts have 1 - lambda.
        mu: weight of the hash functions.
        gamma: ridge.
        first_iterations: updates of the first chunk, at most.
        iterations: updates of each later chunk.
        repeat_sums: add a chunk to the sums once in each of its iterations, as the released code does, instead of once.
        centre_queries: subtract the mean of the features from those that are encoded, as from those that are learned
            from; the released code does not.
        chunk: rows of a chunk where the database does not arrive in chunks.
    """

    old_codes = "revised"

    def __init__(
        self,
        balance: float = 0.5,
        mu: float = 100.0,
        gamma: float = 1e-3,
        first_iterations: int = 100,
        iterations: int = 10,
        repeat_sums: bool = False,
        centre_queries: bool = True,
        chunk: int = 2000,
    ):
        if not 0 < balance < 1:
            raise ValueError(f"balance is a share between 0 and 1, not {balance}")
        self.balance, self.mu, self.gamma = balance, mu, gamma
        self.first_iterations, self.iterations = first_iterations, iterations
        self.repeat_sums, self.centre_queries, self.chunk = repeat_sums, centre_queries, chunk
        self._modalities: list[Modality] = []
        self._gram = torch.empty(0)  # sum of H^T H, (L, L)
        self._factors = torch.empty(0)  # H of all rows so far, (N, L), revised with each chunk

    def towers(self, job: Job) -> Towers:
        return Towers(*projections(job))

    def learned_codes(self) -> Outputs | None:
        """Factors of all rows so far, centred: image and text have one code."""
        values = (self._factors - self._factors.mean(dim=0)).float()
        return Outputs(values, values)

    @torch.no_grad()
    def partial_fit(self, job: Job) -> Towers:
        inputs = features(job.train)
        if not self._modalities:
            self._factors = self._first(job, inputs)
        else:
            centred = self._centred(inputs)
            before = self._stacked()
            factors = self._later(job, centred)
            # (4) Old factors in terms of the new bases; what they stood for stays as it was.
            after = self._stacked()
            moved = torch.linalg.solve(after.T @ after + self._ridge(after), after.T @ before)
            self._factors = torch.cat([self._factors @ moved.T, factors])
        towers = projections(job)
        for tower, modality in zip(towers, self._modalities, strict=True):
            tower.weight.copy_(modality.hashing)
            tower.threshold.copy_(self._factors.mean(dim=0))
            if self.centre_queries:
                tower.centre.copy_(modality.mean)
        return Towers(*towers)

    def _first(self, job: Job, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Factorise the first chunk, from random factors on: its factors, (n, L)."""
        bits = job.bits

        def drawn(rows: int) -> Tensor:
            return torch.rand(rows, bits, generator=job.generator, dtype=torch.float64).to(job.device)

        factors = drawn(len(job.train))
        centred = []
        for x, weight in zip(inputs, (self.balance, 1 - self.balance), strict=True):
            mean = x.mean(dim=0)
            centred.append(x - mean)
            gram = centred[-1].T @ centred[-1]
            nothing = torch.zeros(len(gram), bits, dtype=x.dtype, device=x.device)
            hashing = drawn(len(gram))
            self._modalities.append(
                Modality(weight, mean, nothing, nothing, gram + self._ridge(gram), nothing, hashing)
            )
        last = float("inf")
        grams = [torch.linalg.cholesky(modality.gram) for modality in self._modalities]
        for iteration in range(1, self.first_iterations + 1):
            gram = factors.T @ factors
            for modality, x in zip(self._modalities, centred, strict=True):
                modality.bases = torch.linalg.solve(gram + self._ridge(gram), factors.T @ x).T
            factors = self._common(centred)
            for modality, x, triangle in zip(self._modalities, centred, grams, strict=True):
                modality.hashing = torch.cholesky_solve(x.T @ factors, triangle)
            objective = self._objective(centred, factors)
            job.log(epoch=iteration, objective=objective)
            if last - objective < STOP:
                break
            last = objective
        for modality, x in zip(self._modalities, centred, strict=True):
            modality.cross = modality.target = x.T @ factors
        self._gram = factors.T @ factors
        return factors

    def _centred(self, inputs: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Take a chunk into the running means, and subtract them from it."""
        old, new = len(self._factors), len(inputs[0])
        for modality, x in zip(self._modalities, inputs, strict=True):
            modality.mean = (old * modality.mean + new * x.mean(dim=0)) / (old + new)
        return [x - modality.mean for modality, x in zip(self._modalities, inputs, strict=True)]

    def _later(self, job: Job, centred: list[Tensor]) -> Tensor:
        """Factors of a further chunk, (n, L), while bases, hash functions and sums take it in."""
        factors = self._common(centred)
        old_gram, old = self._gram, [(m.cross, m.target, m.gram) for m in self._modalities]
        products = [x.T @ x for x in centred]
        triangles: list[Tensor] = []
        for iteration in range(1, self.iterations + 1):
            # (1) Bases, from the sums with this chunk in them.
            self._gram = old_gram + factors.T @ factors
            for modality, x, (cross, _, _) in zip(self._modalities, centred, old, strict=True):
                modality.cross = cross + x.T @ factors
                modality.bases = torch.linalg.solve(self._gram, modality.cross.T).T
            # (2) Factors, then (3) hash functions to them.
            factors = self._common(centred)
            for number, (modality, x, (_, target, gram)) in enumerate(zip(self._modalities, centred, old, strict=True)):
                modality.target, modality.gram = target + x.T @ factors, gram + products[number]
                if len(triangles) < len(old):
                    triangles.append(torch.linalg.cholesky(modality.gram))
                modality.hashing = torch.cholesky_solve(modality.target, triangles[number])
            if self.repeat_sums:
                old_gram, old = self._gram, [(m.cross, m.target, m.gram) for m in self._modalities]
                triangles = []
            job.log(epoch=iteration, objective=self._objective(centred, factors))
        return factors

    def _common(self, centred: list[Tensor]) -> Tensor:
        """(2): the factor that both modalities have in common, (n, L), given bases and hash functions."""
        image, text = self._modalities
        gram = image.weight * image.bases.T @ image.bases + text.weight * text.bases.T @ text.bases
        gram.diagonal().add_(2 * self.mu + self.gamma)
        parts = [x @ (m.weight * m.bases + self.mu * m.hashing) for m, x in zip(self._modalities, centred, strict=True)]
        return torch.linalg.solve(gram, (parts[0] + parts[1]).T).T

    def _objective(self, centred: list[Tensor], factors: Tensor) -> float:
        """The sum of norms that the released code watches; norms are not squared there."""
        total = self.gamma * factors.norm()
        for modality, x in zip(self._modalities, centred, strict=True):
            total = total + modality.weight * (x - factors @ modality.bases.T).norm()
            total = total + self.mu * (factors - x @ modality.hashing).norm()
            total = total + self.gamma * (modality.bases.norm() + modality.hashing.norm())
        return total.item()

    def _stacked(self) -> Tensor:
        """[lambda U_1; (1 - lambda) U_2], (d_1 + d_2, L)."""
        return torch.cat([modality.weight * modality.bases for modality in self._modalities])

    def _ridge(self, like: Tensor) -> Tensor:
        return self.gamma * torch.eye(like.shape[1], dtype=like.dtype, device=like.device)
