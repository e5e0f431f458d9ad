"""DNPH (Huo et al., TOMM 2024): proxies under a softmax of distances, and codes spread by assigned random ones."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hashzoo import Job, Towers
from hashzoo.model import Outputs, Tower
from hashzoo.train import Batch
from hashzoo_clip.directions import directions
from hashzoo_clip.proxies import ProxyObjective, ProxyTrainer

ROLES = ("image", "text")


class DnphObjective(ProxyObjective):
    """The loss of DNPH.

    With D_ic = ||h_i / |h_i| - p_c / |p_c| ||^2 + margin y_ic, over the rows i of both modalities,

        -mean_i sum_c y_ic log softmax_c(-D_ic)
        - noise * (mean_i <f_i, u_i> + mean_i <g_i, v_i>)

    where the batch's random codes in {-1, +1}^bits are assigned, as u to the images and as v to the texts, such
    that the distances add up to the least (Hungarian method). A linear classifier on the features of each encoder that
    is trained along adds the cross-entropy of the first label of each row; a frozen one would not notice.

    Args:
        towers: what is trained.
        classes, bits: of the proxies, which are drawn from N(0, 1/64).
        margin: added to the distance of a row to the proxies of its own classes.
        noise: weight of the assigned codes.
        generator: draws the random codes, on the CPU.
    """

    def __init__(
        self, towers: Towers, classes: int, bits: int, margin: float, noise: float, generator: torch.Generator
    ):
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(classes, bits) / 8)
        self.classifiers = nn.ModuleDict()
        for role in ROLES:
            tower = getattr(towers, role)
            assert isinstance(tower, Tower), "this objective needs the job's own towers"
            if tower.encoder is not None:
                self.classifiers[role] = nn.Linear(tower.widths["pooled"], classes)
        self.margin, self.noise, self.generator = margin, noise, generator

    def terms(self, towers: Towers, batch: Batch) -> dict[str, Tensor]:
        outputs, logits = {}, {}
        for role in ROLES:
            tower = getattr(towers, role)
            features = tower.features(getattr(batch, role))
            outputs[role] = tower.head(features)
            if role in self.classifiers:
                logits[role] = self.classifiers[role](features["pooled"])
        random = torch.randint(0, 2, outputs["image"].shape, generator=self.generator) * 2.0 - 1
        terms = self(Outputs(**outputs), batch.labels, random.to(batch.labels.device))
        if logits:
            first = batch.labels.argmax(dim=1)
            terms["classes"] = torch.stack([cross_entropy(each, first) for each in logits.values()]).sum()
        return terms

    def forward(self, outputs: Outputs, labels: Tensor, random: Tensor) -> dict[str, Tensor]:
        """Terms by name, without those of the classifiers.

        Args:
            outputs: (B, bits) each.
            labels: (B, C) in {0, 1}.
            random: (B, bits) in {-1, +1}.
        """
        both = torch.cat([outputs.image, outputs.text])
        own = torch.cat([labels, labels])
        squared = 2 - 2 * directions(both) @ directions(self.proxies).T + self.margin * own
        along = [(values * assigned(values, random)).sum(dim=1).mean() for values in (outputs.image, outputs.text)]
        return {
            "proxies": -(own * (-squared).log_softmax(dim=1)).sum(dim=1).mean(),
            "uniform": -self.noise * (along[0] + along[1]),
        }


@torch.no_grad()
def assigned(values: Tensor, random: Tensor) -> Tensor:
    """The random codes, each given to one row, such that their distances to the rows add up to the least.

    Args:
        values: (B, bits).
        random: (B, bits).
    """
    _, choice = linear_sum_assignment(torch.cdist(values, random).cpu().numpy())
    return random[torch.from_numpy(choice).to(random.device)]


class DnphTrainer(ProxyTrainer):
    """DNPH: towers and proxies on `DnphObjective`.

    Args:
        epochs: passes over the training rows, 100 in the authors' code.
        batch: rows a step.
        lr: AdamW's learning rate of heads and classifiers, with cosine decay.
        encoder_lr: the same of encoders that are trained along.
        weight_decay: AdamW's.
        margin: added to the distance of a row to its own proxies.
        noise: weight of the assigned random codes, 0.1 in the authors' code, where CLIP is trained along.
        proxy_lr: SGD's, of the proxies.
    """

    def __init__(
        self,
        epochs: int = 50,
        batch: int = 128,
        lr: float = 1e-3,
        encoder_lr: float = 1e-5,
        weight_decay: float = 0.2,
        margin: float = 1.0,
        noise: float = 0.01,
        proxy_lr: float = 1e-4,
    ):
        super().__init__(epochs, batch, lr, encoder_lr, weight_decay, proxy_lr)
        self.margin, self.noise = margin, noise

    def objective(self, job: Job, towers: Towers) -> DnphObjective:
        return DnphObjective(towers, len(job.classes), job.bits, self.margin, self.noise, job.generator)
