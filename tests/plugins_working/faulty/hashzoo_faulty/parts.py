import sys

import torch
from hashzoo_tiny.parts import Tiny
from torch import nn

from hashzoo import Towers, Trainer
from hashzoo.data.scenes import Scenes


class Breaks(Tiny):
    def __init__(self):
        raise KeyError("no such layer")


class Stumbles(Tiny):
    def prepare(self, item):
        raise OSError("the picture ends too early")


class Unsaid(Tiny):
    modality = None


class Unreadable(Scenes):
    def __init__(self):
        raise RuntimeError("the archive\nis elsewhere")


class Unlabelled(Scenes):
    """A query shares no label with any row: nothing is relevant to it."""

    name = "unlabelled"

    def __init__(self):
        super().__init__(pairs=100, pixels=16)
        self.labels[self.splits.query] = False


class Leaking(Scenes):
    name = "leaking"

    def __init__(self):
        super().__init__(pairs=100, pixels=16)
        self.splits.train[0] = self.splits.query[0]


class Constant(nn.Module):
    def __init__(self, bits, value=1.0):
        super().__init__()
        self.bits, self.value = bits, value

    def forward(self, x):
        return torch.full((len(x), self.bits), self.value)


def both(tower):
    return Towers(tower, tower)


class Collapses(Trainer):
    def fit(self, job):
        return both(Constant(job.bits))


class Forgets(Trainer):
    def fit(self, job):
        job.towers()


class Widens(Trainer):
    def fit(self, job):
        return both(Constant(job.bits + 1))


class Explodes(Trainer):
    def fit(self, job):
        return both(Constant(job.bits, float("nan")))


class Quits(Trainer):
    def fit(self, job):
        sys.exit("enough")


class Unstorable(Trainer):
    def __init__(self, schedule=object()):  # noqa: B008 - the point of the test
        self.schedule = schedule

    def fit(self, job):
        return job.towers()
