"""DNPH's loss against a slow transcription; the assignment of random codes against trying all of them."""

import itertools
import math

import numpy as np
import pytest
import torch
from hashzoo_clip.dnph import DnphObjective, DnphTrainer, assigned
from hashzoo_clip.heads import LinearHead

from hashzoo import Encoder
from hashzoo.model import Outputs, Tower, Towers
from hashzoo.testing import toy_job
from hashzoo.train import Batch


class Doubling(Encoder):
    """A text or image encoder with one parameter, that gives what it takes, times two."""

    modality, dim = "text", 16

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(2.0))

    def prepare(self, item):
        return item

    def forward(self, x):
        return self.factor * x

    def card(self):
        return {"encoder": "doubling"}


def best(values, random):
    """The assignment of the least sum of distances, of all there are."""

    def cost(order):
        return sum(math.dist(values[i], random[j]) for i, j in enumerate(order))

    return random[list(min(itertools.permutations(range(len(values))), key=cost))]


def slow(image, text, proxies, labels, margin, noise, random):
    units = [p / np.linalg.norm(p) for p in proxies]
    total = 0.0
    for h in (image, text):
        for i in range(len(h)):
            unit = h[i] / np.linalg.norm(h[i])
            near = [
                math.exp(-float((unit - p) @ (unit - p)) - margin * y) for p, y in zip(units, labels[i], strict=True)
            ]
            total -= sum(y * math.log(value / sum(near)) for value, y in zip(near, labels[i], strict=True))
    total /= 2 * len(image)
    for h in (image, text):
        given = best(h, random)
        total -= noise * sum(float(h[i] @ given[i]) for i in range(len(h))) / len(h)
    return total


def of_frozen(classes, bits, margin=1.0, noise=0.1):
    towers = toy_job().job.towers()
    return DnphObjective(towers, classes, bits, margin, noise, torch.Generator())


@pytest.fixture
def proxies(labels, codes):
    return np.random.default_rng(5).normal(size=(labels.shape[1], codes[0].shape[1]))


@pytest.fixture
def random(codes):
    return np.sign(np.random.default_rng(6).normal(size=codes[0].shape))


@pytest.mark.parametrize("margin", [1.0, 0.0])
def test_the_loss_is_the_papers(agrees, codes, labels, proxies, random, margin):
    rows = slice(0, 4)  # all assignments of six rows, at each step of each difference, would take minutes

    def ours(image, text, proxies):
        objective = of_frozen(*proxies.shape, margin=margin, noise=0.3)
        del objective.proxies
        objective.proxies = proxies
        return objective(Outputs(image, text), torch.from_numpy(labels[rows]), torch.from_numpy(random[rows]))

    def transcription(*arrays):
        return slow(*arrays, labels[rows], margin, 0.3, random[rows])

    agrees(ours, transcription, [*(each[rows].copy() for each in codes), proxies])


def test_the_assignment_is_the_best_of_all(codes, random):
    found = assigned(torch.from_numpy(codes[0]), torch.from_numpy(random)).numpy()
    np.testing.assert_array_equal(found, best(codes[0], random))
    assert sorted(map(tuple, found)) == sorted(map(tuple, random))


def test_lengths_do_not_count_for_proxies(codes, labels, random):
    image, text, own, drawn = (torch.from_numpy(each) for each in (*codes, labels, random))
    objective = of_frozen(labels.shape[1], image.shape[1]).double()
    terms = [objective(Outputs(scale * image, text), own, drawn)["proxies"].item() for scale in (1, 5)]
    assert terms[0] == pytest.approx(terms[1])


def test_a_frozen_encoder_has_no_classifier_and_one_that_is_trained_learns_from_its_own():
    toy = toy_job(rows=60, head=LinearHead)
    frozen = toy.job.towers()
    trained = Tower(LinearHead({"pooled": 16}, 16), {"pooled": 16}, Doubling())
    towers = Towers(frozen.image, trained)
    objective = DnphObjective(towers, len(toy.job.classes), 16, 1.0, 0.0, toy.job.generator)
    assert list(objective.classifiers) == ["text"]
    batch = toy.job.train.batch(torch.arange(20))
    terms = objective.terms(towers, batch)
    logits = objective.classifiers["text"](trained.features(batch.text)["pooled"]).log_softmax(dim=1)
    first = [next(c for c, on in enumerate(row) if on) for row in batch.labels]
    assert terms["classes"].item() == pytest.approx(
        -np.mean([logits[i, c].item() for i, c in enumerate(first)]), rel=1e-5
    )
    terms["classes"].backward()
    assert trained.encoder.factor.grad.abs() > 0
    assert "classes" not in of_frozen(6, 16).terms(frozen, Batch(batch.index, batch.image, batch.text, batch.labels))


def test_it_learns(gain):
    toy = toy_job(rows=200, head=LinearHead)
    assert gain(toy, DnphTrainer(epochs=60)) > 0.1
    assert [line["epoch"] for line in toy.lines] == list(range(1, 61))
