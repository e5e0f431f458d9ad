"""Radial basis functions around anchors, which make a linear hash function one of a curved shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashzoo import Job


class Kernel(nn.Module):
    """Features (B, width) to (B, anchors): exp(-||x - a||^2 / (2 spread)). Without anchors: the features themselves."""

    anchors: Tensor
    spread: Tensor

    def __init__(self, width: int, anchors: int):
        super().__init__()
        self.register_buffer("anchors", torch.zeros(anchors, width))
        self.register_buffer("spread", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if not len(self.anchors):
            return x
        return torch.exp(torch.cdist(x, self.anchors).square() / (-2 * self.spread))


def kernel_of(job: Job, rows: Tensor, anchors: int) -> Kernel:
    """Anchors drawn from rows (n, width) of float64; the spread is the mean squared distance of the rows to them.

    Where there are fewer rows than anchors the last ones are zero.
    """
    kernel = Kernel(rows.shape[1], anchors).to(rows)
    chosen = torch.randperm(len(rows), generator=job.generator)[:anchors].to(rows.device)
    kernel.anchors[: len(chosen)] = rows[chosen]
    if len(chosen):
        spread = torch.cdist(rows, rows[chosen]).square().mean()
        kernel.spread.copy_(torch.where(spread > 0, spread, 1.0))
    return kernel
