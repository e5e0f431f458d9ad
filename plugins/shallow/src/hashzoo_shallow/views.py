"""What methods in closed form share here: centred features in double precision, and the towers that centre alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hashzoo import Job, Towers
from hashzoo.linear import features, projections


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
    image, text = features(job.train)
    return _view(image), _view(text)


@torch.no_grad()
def projecting_towers(job: Job, image: tuple[View, Tensor], text: tuple[View, Tensor]) -> Towers:
    """Towers with the centres of two views and with their weights, (width, bits) each."""
    towers = projections(job)
    for tower, (view, weight) in zip(towers, (image, text), strict=True):
        tower.centre.copy_(view.centre)
        tower.weight.copy_(weight)
    return Towers(*towers)


def _view(rows: Tensor) -> View:
    centre = rows.mean(dim=0)
    return View(rows - centre, centre)
