"""DSPH's loss against a slow transcription, and its thresholds against those of its authors' table."""

import math

import numpy as np
import pytest
import torch
from hashzoo_clip.dsph import DsphObjective, DsphTrainer
from hashzoo_clip.heads import LinearHead
from hashzoo_clip.thresholds import DISTANCES, griesmer, threshold

from hashzoo.model import Outputs
from hashzoo.testing import toy_job


def cosine(a, b):
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def slow(image, text, proxies, labels, alpha, t):
    total = 0.0
    for h in (image, text):
        positive, negative = [], []
        for i in range(len(h)):
            for c in range(len(proxies)):
                value = cosine(h[i], proxies[c])
                (positive.append(1 - value) if labels[i, c] else negative.append(max(value - t, 0)))
        total += sum(positive) / len(positive) + sum(negative) / len(negative)
    for a, b in ((image, image), (text, text), (image, text)):
        rows = [i for i in range(len(labels)) if labels[i].sum() > 1]
        apart = [max(cosine(a[i], b[j]) - t, 0) for i in rows for j in rows if labels[i] @ labels[j] == 0]
        total += alpha * sum(apart) / len(apart)
    return total


@pytest.fixture
def proxies(labels, codes):
    return np.random.default_rng(5).normal(size=(labels.shape[1], codes[0].shape[1]))


def function_of(labels, alpha, t):
    def ours(image, text, proxies):
        objective = DsphObjective(*proxies.shape, alpha, t)
        del objective.proxies
        objective.proxies = proxies
        return objective(Outputs(image, text), torch.from_numpy(labels))

    return ours


@pytest.mark.parametrize("t", [0.0, -0.25])
def test_the_loss_is_the_papers(agrees, codes, labels, proxies, t):
    def transcription(*arrays):
        return slow(*arrays, labels, 0.8, t)

    agrees(function_of(labels, 0.8, t), transcription, [*codes, proxies])


def test_lengths_do_not_count(codes, labels, proxies):
    image, text, p = (torch.from_numpy(each) for each in (*codes, proxies))
    ours = function_of(labels, 0.8, 0.0)
    before, after = ours(image, text, p), ours(3 * image, text / 2, 7 * p)
    assert all(before[name].item() == pytest.approx(after[name].item()) for name in before)


def test_rows_of_one_label_are_driven_apart_by_proxies_alone(codes):
    image, text = (torch.from_numpy(each) for each in codes)
    objective = DsphObjective(6, 6, alpha=0.8, threshold=0.0).double()
    assert objective(Outputs(image, text), torch.eye(6).double())["irrelevant"].item() == 0


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (21, (0, 0, 0, 0)),
        (24, (0, 0, 0, 0)),
        (10, (0, 0, -0.03125, -0.0625)),
        (80, (0.25, 0.125, 0, 0)),
        (255, (0.375, 0.1875, 0.09375, 0)),
        (291, (0.5, 0.25, 0.125, 0.0625)),
    ],
)
def test_thresholds_are_those_of_the_authors(classes, expected):
    assert tuple(threshold(bits, classes) for bits in (16, 32, 64, 128)) == expected


def test_the_table_agrees_with_the_bound():
    """No code exceeds Griesmer's bound, and more words never lie further apart."""
    for bits, distances in DISTANCES.items():
        assert list(distances) == sorted(distances, reverse=True)
        for exponent, distance in enumerate(distances, start=1):
            assert distance <= griesmer(bits, exponent)


def test_other_lengths_and_few_or_many_classes_have_a_threshold():
    assert threshold(40, 2) == threshold(40, 1) == -1
    assert threshold(40, 30) == 1 - 2 * griesmer(40, 5) / 40 == 0
    assert threshold(8, 10**6) == 0.75


def test_it_learns(gain):
    toy = toy_job(rows=200, head=LinearHead)
    assert gain(toy, DsphTrainer(epochs=60)) > 0.1
    assert [line["epoch"] for line in toy.lines] == list(range(1, 61))


def test_proxies_are_trained():
    toy = toy_job(rows=60, head=LinearHead)
    trainer, kept = DsphTrainer(epochs=2), []
    objective = trainer.objective
    trainer.objective = lambda *given: kept.append(objective(*given)) or kept[-1]
    trainer.fit(toy.job)
    fresh = objective(toy.job, toy.job.towers())
    assert not torch.allclose(kept[0].proxies, fresh.proxies)
    assert kept[0].proxies.grad is not None
