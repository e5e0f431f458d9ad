"""SCAHN (Wang et al., Neurocomputing 2020): likelihoods of every level against tables of all training codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashzoo import Job, Towers, Trainer
from hashzoo.losses import code_likelihood, quantisation, shared_labels, sign
from hashzoo.model import Tower, encode
from hashzoo.train import Descent
from hashzoo_resnet.head import MultiLevelHead

ROLES = ("image", "text")


class ScahnTrainer(Trainer):
    """Passes over images and texts in turn; each batch meets the code tables of all training rows.

    For h of a batch and a table O, theta = h O^T / alpha with alpha = bits / 32. The loss of a pass is
    inter-modal (against the other modality's table) + `intra` times intra-modal (against its own) +
    `pairwise` times the pairs inside the batch, each averaged over the middle and final codes, + the
    quantisation to B = sign(F + G), which is renewed after every epoch.

    Args:
        epochs: each is one pass over images and one over texts.
        batch: rows a step.
        lr: AdamW's learning rate of the heads, with cosine decay (the paper: SGD from 10^-1.1, 500 epochs).
        encoder_lr: of encoders that are trained along.
        intra: weight of the intra-modal likelihood (the paper's lambda, 1 there).
        pairwise: weight of the pairs inside the batch (the paper's gamma, 0.01).
        quantisation: weight of the quantisation (the paper's beta, 2 there).
        balanced_pairs: similar and dissimilar pairs weigh alike; departs from the paper.
    """

    def __init__(
        self,
        epochs: int = 20,
        batch: int = 128,
        lr: float = 2e-3,
        encoder_lr: float = 1e-5,
        weight_decay: float = 1e-4,
        intra: float = 0.3,
        pairwise: float = 0.01,
        quantisation: float = 0.2,
        balanced_pairs: bool = True,
    ):
        self.epochs, self.batch, self.lr = epochs, batch, lr
        self.encoder_lr, self.weight_decay = encoder_lr, weight_decay
        self.intra, self.pairwise = intra, pairwise
        self.quantisation, self.balanced_pairs = quantisation, balanced_pairs

    def fit(self, job: Job) -> Towers:
        towers = job.towers()
        tower = {"image": towers.image, "text": towers.text}
        other = {"image": "text", "text": "image"}
        train_inputs = {"image": job.train.image, "text": job.train.text}
        rows = torch.arange(len(job.train))
        tables = {
            role: torch.cat([encode(tower[role], train_inputs[role](part)) for part in rows.split(4096)]).to(job.device)
            for role in ROLES
        }
        shared = sign(tables["image"] + tables["text"])
        descents = {
            role: Descent.adamw([tower[role]], self.epochs, self.lr, self.encoder_lr, self.weight_decay)
            for role in ROLES
        }
        for epoch in range(1, self.epochs + 1):
            means: dict[str, float] = {}
            for role in ROLES:
                for batch in job.batches(self.batch):
                    levels = _levels(tower[role], getattr(batch, role))
                    tables[role][batch.index] = levels[-1].detach()
                    similar = shared_labels(batch.labels, job.train.labels)
                    inside = shared_labels(batch.labels, batch.labels)
                    inter = tables[other[role]]
                    terms = {
                        "inter": self._likelihood(levels, inter, similar),
                        "intra": self.intra * self._likelihood(levels, tables[role], similar),
                        "pairwise": self.pairwise * self._likelihood(levels, inter[batch.index], inside),
                        "quantisation": self.quantisation * quantisation(levels[-1], shared[batch.index]),
                    }
                    descents[role].step(terms, len(batch.index))
                means |= {f"{role}_{name}": value for name, value in descents[role].end_epoch().items()}
            shared = sign(tables["image"] + tables["text"])
            job.log(epoch=epoch, **means)
        return towers

    def _likelihood(self, levels: list[Tensor], table: Tensor, similarity: Tensor) -> Tensor:
        """Mean over the levels of the pair likelihood, with theta = h O^T / (bits / 32)."""
        scale = 32 / table.shape[1]
        terms = [code_likelihood(h, table, similarity, self.balanced_pairs, scale) for h in levels]
        return torch.stack(terms).mean()


def _levels(tower: nn.Module, x: Tensor) -> list[Tensor]:
    """Codes of all levels of a tower, the final one last."""
    assert isinstance(tower, Tower)
    assert isinstance(tower.head, MultiLevelHead), "a recipe of this trainer needs MultiLevelHead for both modalities"
    return tower.head.levels(tower.features(x))
