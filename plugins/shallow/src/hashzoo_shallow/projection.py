"""What methods in closed form share: towers that are one matrix each, and centred features in double precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hashzoo import Job, Towers


class Projection(nn.Module):
    """Features (B, width) to real-valued codes (B, bits): (x - centre) W."""

    centre: Tensor
    weight: Tensor

    def __init__(self, width: int, bits: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("weight", torch.zeros(width, bits))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.centre) @ self.weight


@dataclass
class View:
    """The training rows of one modality.

    Attributes:
        rows: features less their mean, (n, width) float64.
        centre: that mean, (width,).
    """

    rows: Tensor
    centre: Tensor


def views(job: Job) -> tuple[View, View]:
    """All training rows, images and texts."""
    rows = torch.arange(len(job.train))
    return _view(job.train.image(rows)), _view(job.train.text(rows))


def empty_towers(job: Job) -> Towers:
    """Projections that are still zero, on the job's device."""
    return Towers(*_projections(job))


@torch.no_grad()
def projecting_towers(job: Job, image: tuple[View, Tensor], text: tuple[View, Tensor]) -> Towers:
    """Towers with the centres of two views and with their weights, (width, bits) each."""
    towers = _projections(job)
    for tower, (view, weight) in zip(towers, (image, text), strict=True):
        tower.centre.copy_(view.centre)
        tower.weight.copy_(weight)
    return Towers(*towers)


def normal(job: Job, *shape: int) -> Tensor:
    """Standard normal numbers of the job's generator, float64 on its device."""
    return torch.randn(*shape, generator=job.generator, dtype=torch.float64).to(job.device)


def _projections(job: Job) -> tuple[Projection, Projection]:
    image, text = (Projection(sum(job.widths[role].values()), job.bits) for role in ("image", "text"))
    return image.to(job.device), text.to(job.device)


def _view(features: Tensor) -> View:
    features = features.double()
    centre = features.mean(dim=0)
    return View(features - centre, centre)
