"""What DSPH and DNPH share: a proxy a class in the code space, with a rate of its own, beside the towers."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from hashzoo import Job, Towers, Trainer
from hashzoo.train import Batch, Descent, light


class ProxyObjective(nn.Module):
    """Terms that compare a batch with proxies.

    Attributes:
        proxies: (C, bits), trained by plain SGD; child modules are trained as heads are.
    """

    proxies: nn.Parameter

    @abstractmethod
    def terms(self, towers: Towers, batch: Batch) -> dict[str, Tensor]:
        """Terms of a batch by name, each a finite scalar, already weighted."""


class ProxyTrainer(Trainer):
    """Towers by AdamW with cosine decay, proxies by SGD with a rate that stays.

    Args:
        epochs, batch, lr, encoder_lr, weight_decay: as of hashzoo's own trainer.
        proxy_lr, proxy_momentum, proxy_decay: SGD's learning rate, momentum and weight decay.
    """

    def __init__(
        self,
        epochs: int,
        batch: int,
        lr: float,
        encoder_lr: float,
        weight_decay: float,
        proxy_lr: float,
        proxy_momentum: float = 0.0,
        proxy_decay: float = 0.0,
    ):
        self.epochs, self.batch = epochs, batch
        self.lr, self.encoder_lr, self.weight_decay = lr, encoder_lr, weight_decay
        self.proxy_lr, self.proxy_momentum, self.proxy_decay = proxy_lr, proxy_momentum, proxy_decay

    @abstractmethod
    def objective(self, job: Job, towers: Towers) -> ProxyObjective:
        """The objective of one training, with fresh proxies, on any device."""

    def fit(self, job: Job) -> Towers:
        towers = self.towers(job)
        objective = self.objective(job, towers).to(job.device)
        modules = [towers, *objective.children()]
        descent = Descent.adamw(modules, self.epochs, self.lr, self.encoder_lr, self.weight_decay)
        proxies = light(torch.optim.SGD)(
            [objective.proxies], lr=self.proxy_lr, momentum=self.proxy_momentum, weight_decay=self.proxy_decay
        )
        for epoch in range(1, self.epochs + 1):
            for batch in job.batches(self.batch):
                proxies.zero_grad()
                descent.step(objective.terms(towers, batch), len(batch.index))
                proxies.step()
            job.log(epoch=epoch, **descent.end_epoch())
        return towers
