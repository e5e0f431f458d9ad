"""A trainer that is over in a moment, and what is wrong in one way each."""

import os

import torch
from torch import nn

from hashzoo.data.scenes import Scenes
from hashzoo.model import Towers
from hashzoo.train import Descent, GradientTrainer, Trainer

EPOCHS = 4


class Quick(GradientTrainer):
    def __init__(self, epochs: int = EPOCHS, lr: float = 2e-2):
        super().__init__(epochs=epochs, batch=80, lr=lr)


class Staged(Trainer):
    """Numbers the epochs of its two stages through, and measures something between them."""

    def fit(self, job):
        towers = job.towers()
        descent = Descent.adamw([towers], EPOCHS, 2e-2, 1e-5)
        for epoch in range(1, EPOCHS + 1):
            stage = "first" if epoch < EPOCHS else "second"
            if stage == "second":
                job.log(stage=stage, rows=len(job.train))
            for batch in job.batches(80):
                descent.step(job.loss(towers(batch.image, batch.text), batch), len(batch.index))
            job.log(stage=stage, epoch=epoch, **descent.end_epoch())
        return towers


def shift(towers, generator):
    with torch.no_grad():
        for parameter in towers.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator)
    return towers


class Diverges(Quick):
    def fit(self, job):
        towers = super().fit(job)
        nn.init.constant_(towers.text.head.layers[0].bias, float("nan"))
        return towers


class Unseeded(Quick):
    def fit(self, job):
        return shift(super().fit(job), torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "little")))


class OwnSeed(Quick):
    def fit(self, job):
        torch.manual_seed(1)
        job.generator.manual_seed(1)
        return super().fit(job)


class AltersLabels(Quick):
    def fit(self, job):
        towers = super().fit(job)
        job.train.labels.mul_(2).sub_(1)
        return towers


class Logs(Quick):
    def fit(self, job):
        log = job.log
        job.log = lambda **terms: self.log(log, terms)
        return super().fit(job)


class CountsFromZero(Logs):
    def log(self, log, terms):
        log(**terms | {"epoch": terms["epoch"] - 1})


class LogsNothing(Logs):
    def log(self, log, terms):
        pass


class LogsInfinity(Logs):
    def log(self, log, terms):
        log(**terms, ratio=torch.tensor(float("inf")))


class OwnModules(Quick):
    def fit(self, job):
        towers = super().fit(job)
        return Towers(nn.Sequential(towers.image), nn.Sequential(towers.text))


class Environment(Quick):
    def fit(self, job):
        os.environ["HASHZOO_UNFIT"] = str(int(os.environ.get("HASHZOO_UNFIT", "0")) + 1)
        return super().fit(job)


class NeedsVal(Quick):
    def fit(self, job):
        towers = super().fit(job)
        job.log(val_rows=len(job.val))
        return towers


class DescendsOnVal(Quick):
    def fit(self, job):
        towers = super().fit(job)
        if job.val is not None:
            batch = job.val.batch(torch.arange(len(job.val)))
            descent = Descent.adamw([towers], 1, 1e-3, 1e-5)
            descent.step(job.loss(towers(batch.image, batch.text), batch), len(batch.index))
        return towers


def behind(function, name):
    """A variable that a function of the job has kept from where it was made."""
    kept = dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in function.__closure__), strict=True))
    return kept[name]


class ReadsQueries(Quick):
    def fit(self, job):
        dataset = behind(job.text_inputs, "bench").dataset
        dataset.text(int(dataset.splits.query[0]))
        return super().fit(job)


class BuildsData(Quick):
    def fit(self, job):
        Scenes(pairs=100, pixels=16)
        return super().fit(job)


class Transductive(Quick):
    """Centres images over all rows that there are."""

    def fit(self, job):
        towers = super().fit(job)
        bench, recipe = behind(job.text_inputs, "bench"), behind(job.text_inputs, "recipe")
        towers.image.mean.copy_(torch.from_numpy(bench.encoded(recipe, "image").features.mean(axis=0)))
        return towers


class Constant(Quick):
    """Bits that are all 1 for texts, whatever the text."""

    def fit(self, job):
        towers = super().fit(job)
        nn.init.constant_(towers.text.head.layers[0].bias, 1e3)
        return towers


class LearnsTheOpposite(Quick):
    """Texts get the complement of what they should."""

    def fit(self, job):
        towers = super().fit(job)
        with torch.no_grad():
            for parameter in towers.text.head.parameters():
                parameter.neg_()
        return towers


class Threads(Quick):
    """Learns the less the more threads there are."""

    def fit(self, job):
        self.lr /= 100 ** (torch.get_num_threads() - 1)
        return super().fit(job)
