"""Towers that are one matrix each, and what else methods in closed form share: features and draws in double precision.

Such a method learns from features alone and makes its towers itself, so that its recipe names no heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashzoo.train import Job, Rows


class Projection(nn.Module):
    """Features (B, width) to real-valued codes (B, bits): (x - centre) W - threshold. All three are zero at first.

    They are parameters that no gradient moves: `tower.weight.copy_(...)`.
    """

    def __init__(self, width: int, bits: int):
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.weight = nn.Parameter(torch.zeros(width, bits), requires_grad=False)
        self.threshold = nn.Parameter(torch.zeros(bits), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.centre) @ self.weight - self.threshold


def projections(job: Job) -> tuple[Projection, Projection]:
    """That of the images and that of the texts, on the job's device: `Towers(*projections(job))`."""
    image, text = (Projection(sum(job.widths[role].values()), job.bits) for role in ("image", "text"))
    return image.to(job.device), text.to(job.device)


def features(rows: Rows) -> tuple[Tensor, Tensor]:
    """Image and text features of all rows, (n, width) float64 each."""
    everything = torch.arange(len(rows))
    return rows.image(everything).double(), rows.text(everything).double()


def normal(job: Job, *shape: int) -> Tensor:
    """Standard normal numbers of the job's generator, float64 on its device."""
    return torch.randn(*shape, generator=job.generator, dtype=torch.float64).to(job.device)
