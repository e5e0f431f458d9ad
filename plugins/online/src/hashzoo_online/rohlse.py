"""ROHLSE (Li, Shu, Yu, Wu: Robust online hashing with label semantic enhancement, Pattern Recognition 2024).

The updates and constants are those of the authors' released code; (1) to (9) are numbered in the README of this
package. Rows are samples: X (n, m) and T (n, m) kernel features, Y (n, C) labels, of which some may be wrong, E (n, C)
what is wrong with them, D = M Z (n, C) what they are in truth, of low rank, N (n, C) a copy of D, B (n, L) codes, V
(n, L) latent factors. All that old rows add to an update is in sums whose size does not depend on their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hashzoo import HashzooError, Job, Outputs, Towers
from hashzoo.linear import Projection, features, normal
from hashzoo.losses import sign
from hashzoo.online import OnlineTrainer
from hashzoo_online.factors import balanced_factors
from hashzoo_online.kernel import Kernel, kernel_of
from hashzoo_online.sums import Sums

RHO, GROWTH, MOST = 1.0, 1.21, 1e6  # weight of the constraints at first, its factor an iteration, and its limit


class Rohlse(OnlineTrainer):
    """Labels are cleaned while codes are learned from them; then ridge regression from kernel features to the codes.

    Args:
        alpha: weight of the rank of the cleaned labels.
        beta: weight of the errors of the labels, beside `alpha`.
        mu: weight of the regression from features to cleaned labels.
        gamma: weight of the correlation of labels, M = M Z.
        phi: weight of the distance from codes to latent factors.
        ridge: of both regressions; lambda in the paper.
        iterations: updates of a chunk.
        anchors: of the kernels, drawn from the first chunk; 0: the features as they are.
        repeat_sums: add a chunk to the sums of D and V once in each of its iterations, as the released code does for
            all chunks but the first, instead of once.
        chunk: rows of a chunk where the database does not arrive in chunks.
    """

    bounded_state = True

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 0.1,
        mu: float = 0.1,
        gamma: float = 1.0,
        phi: float = 1e-3,
        ridge: float = 0.01,
        iterations: int = 10,
        anchors: int = 1000,
        repeat_sums: bool = False,
        chunk: int = 2000,
    ):
        if anchors < 0:
            raise ValueError(f"anchors is 0 or more, not {anchors}")
        for name, value in {"alpha": alpha, "beta": beta, "mu": mu, "gamma": gamma, "phi": phi, "ridge": ridge}.items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        self.alpha, self.beta, self.mu, self.gamma, self.phi, self.ridge = alpha, beta, mu, gamma, phi, ridge
        self.iterations, self.anchors, self.repeat_sums, self.chunk = iterations, anchors, repeat_sums, chunk
        self.sums = Sums()
        self._modalities: list[Modality] = []
        self._codes: Tensor | None = None

    def towers(self, job: Job) -> Towers:
        return Towers(*(_tower(job, role, self.anchors) for role in ("image", "text")))

    def learned_codes(self) -> Outputs | None:
        """B of the last chunk: image and text have one code."""
        return None if self._codes is None else Outputs(self._codes, self._codes)

    @torch.no_grad()
    def partial_fit(self, job: Job) -> Towers:
        if len(job.train) <= job.bits:
            raise HashzooError(
                f"ROHLSE needs more rows in a chunk than bits, and has {len(job.train)} for {job.bits} bits"
            )
        inputs, first = features(job.train), not self._modalities
        if first:
            self._modalities = [_modality(job, name, x, self.anchors) for name, x in zip("XT", inputs, strict=True)]
        image, text = (modality.features(x) for modality, x in zip(self._modalities, inputs, strict=True))
        self.sums.take({"XX": image.T @ image, "TT": text.T @ text})
        codes, latent, clean, labels = self._learn(job, image, text, repeat=self.repeat_sums and not first)
        # (8) The sums take the rest of the chunk in.
        self.sums.take({"XB": image.T @ codes, "TB": text.T @ codes, "X1": image.sum(dim=0), "T1": text.sum(dim=0)})
        self.sums.take({"11": torch.tensor(len(codes), device=codes.device)})
        if first or not self.repeat_sums:
            self.sums.take({"XD": image.T @ clean, "TD": text.T @ clean, "GV": labels.T @ latent})
        self._codes = codes.float()
        # (9) Hash functions, by ridge regression to the codes of all rows so far.
        towers = self.towers(job)
        for tower, modality in zip((towers.image, towers.text), self._modalities, strict=True):
            weight = torch.linalg.solve(self._ridged(modality.name, 1.0), self.sums[f"{modality.name}B"])
            tower.load_state_dict(modality.state(weight, self.sums[f"{modality.name}1"] / self.sums["11"]))
        return towers

    def _learn(self, job: Job, image: Tensor, text: Tensor, repeat: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """B, V, D and G of a chunk from its kernel features."""
        given = job.train.labels.double()
        identity = torch.eye(given.shape[1], dtype=given.dtype, device=given.device)
        roots = [torch.linalg.cholesky(self._ridged(name, self.mu)) for name in "XT"]
        latent = (principal(job, image) + principal(job, text)) / 2
        basis, mixing = given @ _directions(given), identity
        copy, errors, labels = basis, torch.zeros_like(given), _unit(given)
        of_sum, of_copy, rho = torch.zeros_like(given), torch.zeros_like(given), RHO
        regressed = self._regressed(roots, image, text, given, repeat=False)
        for iteration in range(1, self.iterations + 1):
            # (1) B, bit by bit independent.
            codes = sign(self.phi * latent + job.bits * labels @ self._plus("GV", labels.T @ latent, repeat)).double()
            # (2) Z, then M, of D = M Z.
            near = rho / 2 * (given - errors + of_sum / rho + copy - of_copy / rho) + self.mu * regressed
            weight = rho + 2 * self.mu + self.gamma
            mixing = torch.linalg.pinv(weight * basis.T @ basis) @ basis.T @ (near + self.gamma * basis)
            inverse = torch.linalg.pinv(weight * mixing @ mixing.T + self.gamma * (identity - mixing))
            basis = near @ mixing.T @ inverse
            clean = basis @ mixing
            # (3) N, of low rank.
            copy = shrink_singular_values(clean + of_copy / rho, self.alpha / rho)
            # (4) Cleaned labels as the features predict them.
            regressed = self._regressed(roots, image, text, clean, repeat)
            # (5) E, sparse, and labels without it, of unit length.
            errors = shrink(given - clean + of_sum / rho, self.alpha * self.beta / rho)
            labels = _unit(given - errors)
            # (6) V: the closest factors that are orthogonal and balanced.
            target = job.bits * labels @ (labels.T @ codes) + self.phi * codes
            latent = balanced_factors(target, partial(normal, job))
            # (7) The multipliers of Y = D + E and N = D.
            of_sum = of_sum + rho * (given - clean - errors)
            of_copy = of_copy + rho * (clean - copy)
            rho = min(MOST, GROWTH * rho)
            job.log(
                epoch=iteration,
                errors=errors.abs().mean(),
                unexplained=(given - clean - errors).square().mean(),
                regression=(regressed - 2 * clean).square().mean(),
            )
        return codes, latent, clean, labels

    def _regressed(self, roots: list[Tensor], image: Tensor, text: Tensor, clean: Tensor, repeat: bool) -> Tensor:
        """X W_x + T W_t, (n, C), by ridge regression over all rows so far to their cleaned labels."""
        total = torch.zeros_like(clean)
        for name, x, root in zip("XT", (image, text), roots, strict=True):
            total += x @ torch.cholesky_solve(self.mu * self._plus(f"{name}D", x.T @ clean, repeat), root)
        return total

    def _plus(self, name: str, product: Tensor, repeat: bool) -> Tensor:
        """A sum with what this chunk adds to it, which stays there if it is repeated."""
        if repeat:
            self.sums.take({name: product})
            return self.sums[name]
        return self.sums.plus(name, product)

    def _ridged(self, name: str, weight: float) -> Tensor:
        gram = weight * self.sums[name * 2]
        gram.diagonal().add_(self.ridge)
        return gram


@dataclass
class Modality:
    """The kernel of a modality and the mean of its features, of the first chunk; `name` is that of its sums."""

    name: str
    kernel: Kernel
    centre: Tensor

    def features(self, x: Tensor) -> Tensor:
        """Centred kernel features, (n, m), of features (n, width)."""
        return self.kernel(x) - self.centre

    def state(self, weight: Tensor, mean: Tensor) -> dict[str, Tensor]:
        """What a tower is filled with: codes are balanced over the rows that have arrived, as their mean is 0."""
        own = {"0.anchors": self.kernel.anchors, "0.spread": self.kernel.spread}
        return own | {"1.centre": self.centre, "1.weight": weight, "1.threshold": mean @ weight}


def _modality(job: Job, name: str, rows: Tensor, anchors: int) -> Modality:
    kernel = kernel_of(job, rows, anchors)
    return Modality(name, kernel, kernel(rows).mean(dim=0))


def _tower(job: Job, role: str, anchors: int) -> torch.nn.Sequential:
    width = sum(job.widths[role].values())
    return torch.nn.Sequential(Kernel(width, anchors), Projection(anchors or width, job.bits)).to(job.device)


def principal(job: Job, rows: Tensor) -> Tensor:
    """The first principal components of centred rows (n, m), as many as bits; further ones are random."""
    directions = _directions(rows)[:, : job.bits]
    more = normal(job, rows.shape[1], job.bits - directions.shape[1])
    return rows @ torch.cat([directions, more], dim=1)


def _directions(rows: Tensor) -> Tensor:
    """Eigenvectors of the covariance, (m, m), the strongest first; the largest entry of each is above zero."""
    centred = rows - rows.mean(dim=0)
    vectors = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)


def _unit(rows: Tensor) -> Tensor:
    return rows / (rows.norm(dim=1, keepdim=True) + 1e-8)


def shrink(values: Tensor, by: float) -> Tensor:
    """The E that minimises by ||E||_1 + 1/2 ||values - E||^2: nearer to zero by so much, or zero."""
    return values.sign() * (values.abs() - by).clamp_min(0)


def shrink_singular_values(values: Tensor, by: float) -> Tensor:
    """The N that minimises by ||N||_* + 1/2 ||values - N||^2: its singular values are nearer to zero by so much."""
    left, singular, right = torch.linalg.svd(values, full_matrices=False)
    return left * (singular - by).clamp_min(0) @ right
