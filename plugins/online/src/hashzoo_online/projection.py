"""What all methods share: towers that are one matrix each, and the features of a chunk in double precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashzoo import Job


class Projection(nn.Module):
    """Features (B, width) to real-valued codes (B, bits): (x - centre) W - threshold."""

    centre: Tensor
    weight: Tensor
    threshold: Tensor

    def __init__(self, width: int, bits: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("weight", torch.zeros(width, bits))
        self.register_buffer("threshold", torch.zeros(bits))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.centre) @ self.weight - self.threshold


def projections(job: Job) -> tuple[Projection, Projection]:
    """The image and the text tower, all zeros, on the job's device."""
    image, text = (Projection(sum(job.widths[role].values()), job.bits) for role in ("image", "text"))
    return image.to(job.device), text.to(job.device)


def features(job: Job) -> tuple[Tensor, Tensor]:
    """Image and text features of all rows of a chunk, (n, width) float64 each."""
    rows = torch.arange(len(job.train))
    return job.train.image(rows).double(), job.train.text(rows).double()
