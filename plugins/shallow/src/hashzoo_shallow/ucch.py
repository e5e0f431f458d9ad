"""UCCH (Hu, Zhu, Lin, Peng, Zhao, Peng: Unsupervised Contrastive Cross-Modal Hashing, TPAMI 2022). No labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hashzoo import Job, Towers, Trainer
from hashzoo.losses import sign
from hashzoo.train import Descent
from hashzoo_shallow.canonical import above_zero
from hashzoo_shallow.contrast import hash_contrast, ranking


class Ucch(Trainer):
    """Outputs of both modalities meet binary codes of all training rows, which follow them with momentum.

    With f_i and g_i the outputs of row i at unit length, and m_i its entry in a memory of all rows, the loss is

        alpha [hash_contrast(f, sign(m)) + hash_contrast(g, sign(m))] + (1 - alpha) ranking(f, g)

    and after each step m_i <- unit(momentum m_i + (1 - momentum) unit(f_i + g_i)) for the rows of the batch. In the
    first `warmup` epochs the codes are sign(f + g) of the batch alone, and m_i is taken over without momentum.

    Args:
        epochs: passes over the training rows.
        batch: rows a step.
        lr: AdamW's learning rate of the heads, with cosine decay.
        encoder_lr: the same for encoders that are trained along.
        weight_decay: AdamW's.
        alpha: weight of the contrast; the ranking has 1 - alpha.
        temperature: of the contrast, times the root of the code length.
        momentum: of the memory.
        negatives: rows of the memory that a step sees, beside the batch: drawn, or all where there are no more.
        margin: of the ranking.
        shift: of the ranking.
        warmup: epochs without the memory.
    """

    def __init__(
        self,
        epochs: int = 50,
        batch: int = 128,
        lr: float = 1e-3,
        encoder_lr: float = 1e-5,
        weight_decay: float = 1e-4,
        alpha: float = 0.7,
        temperature: float = 0.9,
        momentum: float = 0.4,
        negatives: int = 4096,
        margin: float = 0.2,
        shift: float = 0.1,
        warmup: int = 1,
    ):
        for name, share in {"alpha": alpha, "momentum": momentum}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, not {share}")
        above_zero(epochs=epochs, batch=batch, temperature=temperature, negatives=negatives)
        self.epochs, self.batch = epochs, batch
        self.lr, self.encoder_lr, self.weight_decay = lr, encoder_lr, weight_decay
        self.alpha, self.temperature, self.momentum, self.negatives = alpha, temperature, momentum, negatives
        self.margin, self.shift, self.warmup = margin, shift, warmup

    def fit(self, job: Job) -> Towers:
        towers = self.towers(job)
        descent = Descent.adamw([towers], self.epochs, self.lr, self.encoder_lr, self.weight_decay)
        memory = torch.randn(len(job.train), job.bits, generator=job.generator).to(job.device)
        for epoch in range(1, self.epochs + 1):
            warm = epoch <= self.warmup
            for batch in job.batches(self.batch):
                outputs = towers(batch.image, batch.text)
                image, text = normalize(outputs.image), normalize(outputs.text)
                mean = normalize((image + text).detach())
                if warm:
                    codes, own = sign(mean), torch.arange(len(mean), device=job.device)
                else:
                    codes, own = self._codes(job, memory, batch.index)
                descent.step(self._terms(image, text, codes, own), len(mean))
                kept = 0.0 if warm else self.momentum
                memory[batch.index] = normalize(kept * memory[batch.index] + (1 - kept) * mean)
            job.log(epoch=epoch, **descent.end_epoch())
        return towers

    def _codes(self, job: Job, memory: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The codes that a batch, rows `index` of the memory, is contrasted with, and where its own are among them."""
        if len(memory) <= self.negatives:
            return sign(memory), index.to(job.device)
        drawn = torch.randint(len(memory), (self.negatives,), generator=job.generator)
        return sign(memory[torch.cat([index, drawn])]), torch.arange(len(index), device=job.device)

    def _terms(self, image: Tensor, text: Tensor, codes: Tensor, own: Tensor) -> dict[str, Tensor]:
        contrasts = [hash_contrast(outputs, codes, own, self.temperature) for outputs in (image, text)]
        return {
            "contrast": self.alpha * (contrasts[0] + contrasts[1]),
            "ranking": (1 - self.alpha) * ranking(image, text, self.margin, self.shift),
        }
