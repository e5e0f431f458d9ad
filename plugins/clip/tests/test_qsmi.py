"""DNpH's loss against a slow transcription of it."""

import math

import numpy as np
import pytest
import torch
from hashzoo_clip.heads import LinearHead
from hashzoo_clip.qsmi import Qsmi

from hashzoo.testing import toy_job
from hashzoo.train import GradientTrainer


def slow(image, text, labels):
    rows = len(image)
    similar = [[float(labels[i] @ labels[j] > 0) for j in range(rows)] for i in range(rows)]
    needs = rows**2 / sum(map(sum, similar))
    total = 0.0
    for a, b in ((image, image), (text, text), (image, text)):
        for i in range(rows):
            for j in range(rows):
                cosine = float(a[i] @ b[j]) / math.sqrt(float(a[i] @ a[i]) * float(b[j] @ b[j]))
                near = (cosine + 1) / 2
                total += (similar[i][j] * near - 1) ** 2 + near**2 / needs
    return total / rows**2


def test_the_loss_is_the_papers(agrees, of_loss, codes, labels):
    agrees(of_loss(Qsmi()), lambda image, text: slow(image, text, labels), list(codes))


def test_lengths_do_not_count(of_loss, codes):
    image, text = (torch.from_numpy(each) for each in codes)
    before, after = of_loss(Qsmi())(image, text), of_loss(Qsmi())(4 * image, text / 3)
    assert all(before[name].item() == pytest.approx(after[name].item()) for name in before)


def test_codes_that_follow_the_labels_cost_less_than_equal_ones(of_loss, labels):
    follow = torch.from_numpy(np.where(labels @ labels.T > 0, 1.0, -1.0))
    same = torch.ones_like(follow)
    cost = [sum(of_loss(Qsmi())(each, each).values()).item() for each in (follow, same)]
    assert cost[0] < cost[1]


def test_it_learns(gain):
    toy = toy_job(rows=200, head=LinearHead, loss=Qsmi())
    assert gain(toy, GradientTrainer(epochs=20, weight_decay=0.2)) > 0.1
