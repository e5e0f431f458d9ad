"""Two networks that learn in turns, each against a table of the other's codes of all training rows."""

from __future__ import annotations

import copy
from typing import Any

import torch
from hashzoo import HashzooError, Job, Towers, Trainer
from torch import Tensor, nn
from torch.nn.functional import softplus

from hashzoo_twins.network import Twin


class TwinTables(Trainer):
    """Alternating training against code tables, after DCMH (Jiang and Li, CVPR 2017, section 3.2).

    As there: likelihood of pairs, binary codes shared by both modalities, two turns an epoch. Otherwise than there:
    Adam in place of SGD, tanh outputs, means in place of sums, and the best epoch on held-out rows, if there are any.

    Args:
        epochs: each has an image turn and a text turn.
        batch: rows of a step.
        lr: learning rate of Adam, the same for both networks.
        hidden: units of the hidden layer of each network.
        quantisation: weight of the distance to the shared binary codes.
        balance: weight of the squared mean of each bit over the table.
    """

    def __init__(
        self,
        epochs: int = 30,
        batch: int = 128,
        lr: float = 1e-3,
        hidden: int = 256,
        quantisation: float = 0.1,
        balance: float = 0.1,
    ):
        for name, value in {"epochs": epochs, "batch": batch, "hidden": hidden}.items():
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if not lr > 0:
            raise ValueError(f"lr must be above 0, not {lr}")
        for name, value in {"quantisation": quantisation, "balance": balance}.items():
            if not value >= 0:
                raise ValueError(f"{name} must be 0 or more, not {value}")
        self.epochs, self.batch, self.lr, self.hidden = epochs, batch, lr, hidden
        self.quantisation, self.balance = quantisation, balance

    def towers(self, job: Job) -> Towers:
        """One untrained network for each modality."""
        image, text = (sum(job.widths[role].values()) for role in ("image", "text"))
        return Towers(Twin(image, job.bits, self.hidden), Twin(text, job.bits, self.hidden)).to(job.device)

    def fit(self, job: Job) -> Towers:
        """Train in turns, and give back the networks of the last epoch, or of the best one on `job.val`."""
        towers = self.towers(job)
        rows = torch.arange(len(job.train))
        for role, tower, take in (("image", towers.image, job.train.image), ("text", towers.text, job.train.text)):
            features = take(rows)
            if not features.is_floating_point():  # pixels or tokens, for an encoder that is to be trained along
                raise HashzooError(f"twin-tables trains no encoder: leave {role}.frozen at true")
            tower.standardise(features)
        optimisers = [torch.optim.Adam(tower.parameters(), lr=self.lr) for tower in (towers.image, towers.text)]
        tables = list(encode(towers, job.train))
        best, kept = float("inf"), None
        for epoch in range(1, self.epochs + 1):
            shared = torch.where(tables[0] + tables[1] > 0, 1.0, -1.0)
            terms = {
                "image": self.turn(job, 0, towers.image, optimisers[0], tables, shared),
                "text": self.turn(job, 1, towers.text, optimisers[1], tables, shared),
            }
            if job.val is not None:
                terms["val"] = validate(towers, job, tables)
                if terms["val"] < best:
                    best, kept = terms["val"], copy.deepcopy(towers.state_dict())
            job.log(epoch=epoch, **terms)
        if kept is not None:
            towers.load_state_dict(kept)
        return towers

    def turn(
        self,
        job: Job,
        side: int,
        tower: nn.Module,
        optimiser: torch.optim.Optimizer,
        tables: list[Tensor],
        shared: Tensor,
    ) -> float:
        """One epoch of one modality; the other one's table stands still.

        Args:
            job: whose training rows are seen.
            side: 0 for images and 1 for texts.
            tower: the network of this side, which is trained.
            optimiser: of its parameters.
            tables: real codes (n, bits) of all training rows, images and texts; this side's is kept up to date.
            shared: (n, bits) in {-1, +1}, the binary codes that both modalities are drawn to.

        Returns:
            The mean loss of a row.
        """
        own, other, total = tables[side], tables[1 - side], 0.0
        for batch in job.batches(self.batch):
            codes = tower((batch.image, batch.text)[side])
            own[batch.index] = codes.detach()
            likelihood = pair_loss(codes, other, batch.labels, job.train.labels).mean()
            to_codes = (codes - shared[batch.index]).square().mean()
            rest = own.sum(dim=0) - own[batch.index].sum(dim=0)  # the mean of a bit over the table, with a gradient
            balance = ((codes.sum(dim=0) + rest) / len(own)).square().mean()
            loss = likelihood + self.quantisation * to_codes + self.balance * balance
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(codes)
        return total / len(own)


@torch.no_grad()
def encode(towers: Towers, rows: Any) -> tuple[Tensor, Tensor]:
    """Real codes (n, bits) of all `rows` (`job.train` or `job.val`), images and texts."""
    index = torch.arange(len(rows))
    return towers.image(rows.image(index)), towers.text(rows.text(index))


@torch.no_grad()
def validate(towers: Towers, job: Job, tables: list[Tensor]) -> float:
    """Mean loss of pairs of held-out queries with the tables of the other modality, both as binary codes."""
    losses = [
        pair_loss(codes.sign(), table.sign(), job.val.labels, job.train.labels).mean()
        for codes, table in zip(encode(towers, job.val), reversed(tables), strict=True)
    ]
    return (losses[0] + losses[1]).item() / 2


def pair_loss(codes: Tensor, table: Tensor, labels: Tensor, table_labels: Tensor) -> Tensor:
    """Negative log-likelihood (B, n) that rows of a batch share a label with rows of a table, or share none.

    The likelihood is sigmoid(<f, g> / 2), equation 1 of DCMH.

    Args:
        codes: (B, bits).
        table: (n, bits).
        labels: (B, C) in {0, 1}.
        table_labels: (n, C) in {0, 1}.
    """
    similar = (labels @ table_labels.T > 0).to(codes.dtype)
    theta = codes @ table.T / 2
    return softplus(theta) - similar * theta
