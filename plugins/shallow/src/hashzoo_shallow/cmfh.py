"""CMFH (Ding, Guo, Zhou: Collective Matrix Factorization Hashing for Multimodal Data, CVPR 2014)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hashzoo import Job, Towers, Trainer
from hashzoo.linear import projections
from hashzoo_shallow.canonical import above_zero
from hashzoo_shallow.views import Blocks, View, mean_square, product, projecting_towers, total, views


class Cmfh(Trainer):
    """One latent factor for both modalities, found together with the projections that give it for new rows.

    X_t (n, d_t) are the features of modality t, centred and divided by their root mean square, V (n, bits) the
    common factor, U_t (bits, d_t) its bases and P_t (d_t, bits) the hash functions. With w_1 = balance,
    w_2 = 1 - balance, the objective is

        sum_t [ w_t ||X_t - V U_t||^2 + mu ||V - X_t P_t||^2 + gamma ||U_t||^2 + mu r_t ||P_t||^2 ] + gamma ||V||^2

    and from a random V each iteration minimises it over one of them after another:

        P_t = (X_t^T X_t + r_t I)^-1 X_t^T V
        U_t = (w_t V^T V + gamma I)^-1 w_t V^T X_t
        V   = sum_t (w_t X_t U_t^T + mu X_t P_t) (sum_t w_t U_t U_t^T + (2 mu + gamma) I)^-1

    In the paper r_t = gamma / mu. The codes are sign(X_t P_t): V is centred as the features are.

    Args:
        balance: weight of the images, lambda in the paper; texts have 1 - balance.
        mu: weight of the hash functions.
        gamma: ridge of the factors.
        ridge: of the hash functions, as a share of the mean of the diagonal of X_t^T X_t; above 0.
        iterations: rounds of updates.
    """

    def __init__(
        self,
        balance: float = 0.5,
        mu: float = 100.0,
        gamma: float = 0.01,
        ridge: float = 0.1,
        iterations: int = 25,
    ):
        if not 0 < balance < 1:
            raise ValueError(f"balance is a share between 0 and 1, not {balance}")
        above_zero(mu=mu, gamma=gamma, ridge=ridge, iterations=iterations)
        self.balance, self.mu, self.gamma, self.ridge = balance, mu, gamma, ridge
        self.iterations = iterations

    def towers(self, job: Job) -> Towers:
        return Towers(*projections(job))

    def fit(self, job: Job) -> Towers:
        image, text = views(job)
        scales = [root_mean_square(view) for view in (image, text)]
        rows = [_scaled(view.rows, scale) for view, scale in zip((image, text), scales, strict=True)]
        weights = (self.balance, 1 - self.balance)
        squares = [product(x, x) for x in rows]
        ridges = [
            self.ridge * total(block.square().sum() for _, block in x) / len(square)
            for x, square in zip(rows, squares, strict=True)
        ]
        grams = [
            torch.linalg.cholesky(square + ridge * _identity(len(square), square))
            for square, ridge in zip(squares, ridges, strict=True)
        ]

        def hash_functions(factor: Tensor) -> list[Tensor]:
            """P_t of both modalities."""
            return [torch.cholesky_solve(product(x, factor), gram) for x, gram in zip(rows, grams, strict=True)]

        factor = torch.rand(len(job.train), job.bits, generator=job.generator, dtype=torch.float64).to(job.device)
        for iteration in range(1, self.iterations + 1):
            hashing = hash_functions(factor)
            bases = [self._bases(weight, x, factor) for weight, x in zip(weights, rows, strict=True)]
            factor = self._factor(weights, rows, bases, hashing)
            job.log(epoch=iteration, objective=self._objective(weights, rows, ridges, bases, hashing, factor))
        hashing = [p / scale for p, scale in zip(hash_functions(factor), scales, strict=True)]
        return projecting_towers(job, (image.centre, hashing[0]), (text.centre, hashing[1]))

    def _bases(self, weight: float, x: Blocks, factor: Tensor) -> Tensor:
        """U_t."""
        ridge = self.gamma * _identity(factor.shape[1], factor)
        cross = total(weight * factor[part].T @ block for part, block in x)
        return torch.linalg.solve(weight * factor.T @ factor + ridge, cross)

    def _factor(
        self, weights: Sequence[float], rows: Sequence[Blocks], bases: Sequence[Tensor], hashing: Sequence[Tensor]
    ) -> Tensor:
        """V."""
        gram = (2 * self.mu + self.gamma) * _identity(len(bases[0]), bases[0])
        for weight, u in zip(weights, bases, strict=True):
            gram += weight * u @ u.T
        sides = [weight * u.T + self.mu * p for weight, u, p in zip(weights, bases, hashing, strict=True)]
        factor = torch.empty(len(rows[0]), len(gram), dtype=gram.dtype, device=gram.device)
        for (part, image), (_, text) in zip(*rows, strict=True):
            target = image @ sides[0] + text @ sides[1]
            factor[part] = torch.linalg.solve(gram, target.T).T
        return factor

    def _objective(
        self,
        weights: Sequence[float],
        rows: Sequence[Blocks],
        ridges: Sequence[Tensor],
        bases: Sequence[Tensor],
        hashing: Sequence[Tensor],
        factor: Tensor,
    ) -> float:
        value = self.gamma * factor.square().sum()
        for weight, x, ridge, u, p in zip(weights, rows, ridges, bases, hashing, strict=True):
            errors = total(
                torch.stack([(block - factor[part] @ u).square().sum(), (factor[part] - block @ p).square().sum()])
                for part, block in x
            )
            value += weight * errors[0] + self.gamma * u.square().sum()
            value += self.mu * (errors[1] + ridge * p.square().sum())
        return value.item()


def root_mean_square(view: View) -> Tensor:
    """Of all centred features; 1 where they never change."""
    scale = mean_square(view.rows).sqrt()
    return torch.where(scale > 0, scale, 1.0)


def _scaled(rows: Blocks, scale: Tensor) -> Blocks:
    return rows.map(lambda block: block / scale)


def _identity(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)
