"""Ridge regression to random codes of labels, from sums over all chunks, and what is wrong in one way each."""

import torch
from torch import nn

from hashzoo import OnlineTrainer, Outputs, Towers


class Steady(OnlineTrainer):
    bounded_state = True

    def __init__(self):
        self.sums, self.plane = {}, None

    def towers(self, job):
        return Towers(*(nn.Linear(sum(job.widths[role].values()), job.bits) for role in ("image", "text")))

    def learned_codes(self):
        return Outputs(self.codes, self.codes)

    @torch.no_grad()
    def partial_fit(self, job):
        towers, labels, rows = self.towers(job), job.train.labels, torch.arange(len(job.train))
        if self.plane is None:
            self.plane = torch.randn(len(job.classes), job.bits, generator=job.generator)
            self.centre = labels.mean(dim=0)
        self.codes = torch.where((labels - self.centre) @ self.plane > 0, 1.0, -1.0)
        for role in ("image", "text"):
            x = torch.cat([getattr(job.train, role)(rows), torch.ones(len(rows), 1)], dim=1)
            gram, cross = self.sums.get(role, (0, 0))
            gram, cross = self.sums[role] = gram + x.T @ x, cross + x.T @ self.codes
            solved = torch.linalg.solve(gram + 0.1 * gram.diagonal().mean() * torch.eye(len(gram)), cross)
            getattr(towers, role).weight.copy_(solved[:-1].T)
            getattr(towers, role).bias.copy_(solved[-1])
        job.log(epoch=1, rows=len(rows))
        return towers


class GivesNothing(Steady):
    """Has nothing to say of later chunks."""

    def partial_fit(self, job):
        later = self.plane is not None
        towers = super().partial_fit(job)
        return None if later else towers


class StandsStill(Steady):
    """Goes on with what the first chunk taught."""

    kept = None

    def partial_fit(self, job):
        towers = super().partial_fit(job)
        self.kept = self.kept or towers
        return self.kept


class LooksBack(Steady):
    """Learns from all jobs again."""

    bounded_state = False

    def __init__(self):
        super().__init__()
        self.jobs = []

    def partial_fit(self, job):
        self.jobs.append(job)
        self.sums = {}
        for earlier in self.jobs:
            towers = super().partial_fit(earlier)
        return towers


class AllCodes(Steady):
    """Gives the codes of all rows so far, and says that old ones are kept."""

    bounded_state = False
    everything = torch.empty(0)

    def partial_fit(self, job):
        towers = super().partial_fit(job)
        self.everything = torch.cat([self.everything, self.codes])
        return towers

    def learned_codes(self):
        return Outputs(self.everything, self.everything)


class Hoards(Steady):
    """Keeps all labels, for whatever they may be good for."""

    def partial_fit(self, job):
        self.labels = [*getattr(self, "labels", []), job.train.labels]
        return super().partial_fit(job)
