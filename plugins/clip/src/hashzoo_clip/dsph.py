"""DSPH (Huo et al., TCSVT 2023): learned proxies of classes, and irrelevant rows that are driven apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashzoo import Job, Towers
from hashzoo.model import Outputs
from hashzoo.train import Batch
from hashzoo_clip.directions import directions
from hashzoo_clip.proxies import ProxyObjective, ProxyTrainer
from hashzoo_clip.thresholds import threshold


class DsphObjective(ProxyObjective):
    """The loss of DSPH on cosines of outputs and proxies.

    With y_ic = 1 where row i has class c, for each modality,

        sum_ic y_ic (1 - cos(h_i, p_c)) / sum_ic y_ic + sum_ic (1 - y_ic) [cos(h_i, p_c) - t]_+ / sum_ic (1 - y_ic)

    and, over pairs (i, j) of rows of the batch with more than one label each that share none,

        alpha * mean_ij [cos(h_i, h'_j) - t]_+

    for image-image, text-text and image-text pairs.

    Args:
        classes, bits: of the proxies, drawn by He's normal initialisation.
        alpha: weight of the irrelevant pairs.
        threshold: t.
    """

    def __init__(self, classes: int, bits: int, alpha: float, threshold: float):
        super().__init__()
        self.proxies = nn.Parameter(nn.init.kaiming_normal_(torch.empty(classes, bits), mode="fan_out"))
        self.alpha, self.threshold = alpha, threshold

    def terms(self, towers: Towers, batch: Batch) -> dict[str, Tensor]:
        return self(towers(batch.image, batch.text), batch.labels)

    def forward(self, outputs: Outputs, labels: Tensor) -> dict[str, Tensor]:
        """Terms by name.

        Args:
            outputs: (B, bits) each.
            labels: (B, C) in {0, 1}.
        """
        image, text, proxies = (directions(values) for values in (outputs.image, outputs.text, self.proxies))
        several = (labels.sum(dim=1) > 1).to(labels.dtype)
        irrelevant = several[:, None] * several * (labels @ labels.T == 0)
        positive, negative = image.new_zeros(()), image.new_zeros(())
        for values in (image, text):
            cosines = values @ proxies.T
            positive = positive + _mean_where(1 - cosines, labels)
            negative = negative + _mean_where((cosines - self.threshold).relu(), 1 - labels)
        pairs = ((image, image), (text, text), (image, text))
        apart = [_mean_where((a @ b.T - self.threshold).relu(), irrelevant) for a, b in pairs]
        return {"positive": positive, "negative": negative, "irrelevant": self.alpha * torch.stack(apart).sum()}


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where a mask of 0 and 1 is 1, and 0 where it is so nowhere."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


class DsphTrainer(ProxyTrainer):
    """DSPH: towers and proxies on `DsphObjective`; t comes from a table of codes (see `thresholds`).

    Args:
        epochs: passes over the training rows, 100 in the authors' code.
        batch: rows a step.
        lr: AdamW's learning rate of the heads, with cosine decay.
        encoder_lr: the same of encoders that are trained along.
        weight_decay: AdamW's.
        alpha: weight of irrelevant pairs.
        proxy_lr, proxy_momentum, proxy_decay: SGD's, of the proxies.
    """

    def __init__(
        self,
        epochs: int = 50,
        batch: int = 128,
        lr: float = 1e-3,
        encoder_lr: float = 1e-5,
        weight_decay: float = 0.2,
        alpha: float = 0.8,
        proxy_lr: float = 0.02,
        proxy_momentum: float = 0.9,
        proxy_decay: float = 5e-4,
    ):
        super().__init__(epochs, batch, lr, encoder_lr, weight_decay, proxy_lr, proxy_momentum, proxy_decay)
        self.alpha = alpha

    def objective(self, job: Job, towers: Towers) -> DsphObjective:
        classes = len(job.classes)
        return DsphObjective(classes, job.bits, self.alpha, threshold(job.bits, classes))
