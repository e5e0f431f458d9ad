"""DCMH (Jiang and Li, CVPR 2017): code tables of all training rows, and alternating updates."""

from __future__ import annotations

import torch
from torch import Tensor

from hashzoo import Job, Towers, Trainer
from hashzoo.losses import code_likelihood, shared_labels, sign
from hashzoo.train import Descent, light

ROLES = ("image", "text")


class DcmhTrainer(Trainer):
    """Passes over images and texts in turn; a batch of one meets the table of all codes of the other.

    With F and G the (n, bits) tables of both towers' outputs, B = sign(F + G) after each epoch, and
    theta_ij = <f_i, g_j> / 2, the loss of an image batch is (eq. 1 of the paper, image part)

        - sum_ij [S_ij theta_ij - log(1 + exp(theta_ij))] + gamma sum_i ||b_i - f_i||^2 + eta ||F^T 1||^2

    over n x batch; a text batch has the roles exchanged.

    Args:
        epochs: each is one pass over images and one over texts. The paper takes 500.
        batch: rows a step.
        optimiser: "adamw" with cosine decay, or the paper's plain "sgd", whose learning rate falls along a
            line from `lr` (10^-1.5 there) to 10^-6.
        lr: learning rate of the heads.
        encoder_lr: of encoders that are trained along; the paper has one rate for all.
        gamma: weight of the quantisation, 1 in the paper.
        eta: weight of the bit balance, 1 in the paper. Adam does not bear it: the balance looks at all rows, the
            step at one batch, and the codes swing.
        balanced_pairs: similar and dissimilar pairs weigh alike in the likelihood; not in the paper, which
            does worse where few pairs are similar.
    """

    def __init__(
        self,
        epochs: int = 25,
        batch: int = 128,
        optimiser: str = "adamw",
        lr: float = 2e-3,
        encoder_lr: float = 1e-5,
        weight_decay: float = 1e-4,
        gamma: float = 5.0,
        eta: float = 0.001,
        balanced_pairs: bool = True,
    ):
        if optimiser not in ("adamw", "sgd"):
            raise ValueError(f"optimiser is adamw or sgd, not '{optimiser}'")
        self.epochs, self.batch, self.optimiser = epochs, batch, optimiser
        self.lr, self.encoder_lr, self.weight_decay = lr, encoder_lr, weight_decay
        self.gamma, self.eta, self.balanced_pairs = gamma, eta, balanced_pairs

    def fit(self, job: Job) -> Towers:
        towers = job.towers()
        tower = {"image": towers.image, "text": towers.text}
        n = len(job.train)
        tables = {role: torch.randn(n, job.bits, generator=job.generator).to(job.device) for role in ROLES}
        codes = sign(tables["image"] + tables["text"])
        descents = {role: self._descent(tower[role]) for role in ROLES}
        for epoch in range(1, self.epochs + 1):
            means: dict[str, float] = {}
            for role, other in (ROLES, ROLES[::-1]):
                for batch in job.batches(self.batch):
                    h = tower[role](getattr(batch, role))
                    terms = self._terms(
                        h, batch.index, batch.labels, tables[role], tables[other], codes, job.train.labels
                    )
                    tables[role][batch.index] = h.detach()
                    descents[role].step(terms, len(batch.index))
                means |= {f"{role}_{name}": value for name, value in descents[role].end_epoch().items()}
            codes = sign(tables["image"] + tables["text"])
            job.log(epoch=epoch, **means)
        return towers

    def _terms(
        self, h: Tensor, index: Tensor, labels: Tensor, own: Tensor, other: Tensor, codes: Tensor, all_labels: Tensor
    ) -> dict[str, Tensor]:
        """The loss of one batch, (B, bits), against the tables, (n, bits); over n x B as in the official code."""
        n = len(own)
        similarity = shared_labels(labels, all_labels)
        column_sums = own.sum(dim=0) - own[index].sum(dim=0) + h.sum(dim=0)
        return {
            "likelihood": code_likelihood(h, other, similarity, self.balanced_pairs),
            "quantisation": self.gamma * (codes[index] - h).square().sum() / (n * len(h)),
            "balance": self.eta * column_sums.square().sum() / (n * len(h)),
        }

    def _descent(self, tower: torch.nn.Module) -> Descent:
        if self.optimiser == "adamw":
            return Descent.adamw([tower], self.epochs, self.lr, self.encoder_lr, self.weight_decay)
        last = max(self.epochs - 1, 1)
        optimiser = light(torch.optim.SGD)(tower.parameters(), lr=self.lr)
        line = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda epoch: 1 + min(epoch / last, 1) * (1e-6 / self.lr - 1)
        )
        return Descent(optimiser, line)
