"""DADH's terms and its discrete codes against loops, and that it learns."""

import math

import numpy as np
import pytest
import torch
from hashzoo_adversarial.dadh import DadhTrainer, discrete_codes
from hashzoo_adversarial.heads import FeatureHead

from hashzoo import Outputs, evaluate
from hashzoo.model import encode
from hashzoo.testing import toy_job

B, BITS = 5, 4
RNG = np.random.default_rng(3)
LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=float)
IMAGE, TEXT = (np.tanh(RNG.normal(size=(B, BITS))) for _ in range(2))
CODES = RNG.choice([-1.0, 1.0], size=(B, BITS))


def head(widths, bits):
    return FeatureHead(widths, bits, hidden=(32,), feature=16, batch_norm=True)


def cosine(a, b):
    return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))


def slow(image, text):
    total = 0.0
    shared = LABELS @ LABELS.T
    for source, target in ((image, text), (text, image)):
        for a in range(B):
            ideal = sum((2**r - 1) / math.log2(rank + 2) for rank, r in enumerate(sorted(shared[a])[::-1]))
            for p in range(B):
                for n in range(B):
                    if shared[a, p] > 0 and shared[a, n] == 0:
                        weight = ((2 ** shared[a, p] - 1) - (2 ** shared[a, n] - 1)) / ideal
                        hinge = cosine(source[a], target[n]) - cosine(source[a], target[p]) + 0.4
                        total += 3 * max(0.0, weight * hinge)
    total += 0.5 * sum(np.sum((CODES - h) ** 2) for h in (image, text))
    return total / B


def test_the_loss_and_its_gradient_are_those_written_down():
    trainer = DadhTrainer(alpha=3, beta=0.5)
    inputs = [torch.from_numpy(part).requires_grad_() for part in (IMAGE, TEXT)]
    loss = sum(trainer._terms(Outputs(*inputs), torch.from_numpy(LABELS), torch.from_numpy(CODES)).values())
    assert loss.item() == pytest.approx(slow(IMAGE, TEXT), rel=1e-10)
    loss.backward()
    for number, part in enumerate(inputs):
        for place in ((0, 0), (2, 3)):
            moved = [[IMAGE.copy(), TEXT.copy()] for _ in range(2)]
            moved[0][number][place] += 1e-6
            moved[1][number][place] -= 1e-6
            assert part.grad[place].item() == pytest.approx((slow(*moved[0]) - slow(*moved[1])) / 2e-6, abs=1e-6)


def test_discrete_codes_are_signs_of_the_ridge_regression_and_a_share_of_the_outputs():
    sums = IMAGE + TEXT
    for mu in (1e-5, 10.0):
        inverse = np.linalg.inv(LABELS.T @ LABELS + 0.5 * np.eye(3))
        expected = np.where(LABELS @ (inverse @ LABELS.T @ CODES) + 0.5 * mu * sums > 0, 1.0, -1.0)
        found = discrete_codes(*(torch.from_numpy(part) for part in (CODES, sums, LABELS)), 0.5, mu)
        np.testing.assert_array_equal(found.numpy(), expected)
    assert not np.array_equal(expected, CODES)


def test_rows_with_the_same_labels_get_the_same_discrete_code():
    labels = torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    codes = discrete_codes(torch.from_numpy(CODES[:3]).float(), torch.randn(3, BITS), labels, 1.0, 0.0)
    assert torch.equal(codes[0], codes[2])


def test_it_learns():
    toy = toy_job(rows=200, head=head)

    def score(towers):
        codes = encode(towers.image, torch.from_numpy(toy.image)), encode(towers.text, torch.from_numpy(toy.text))
        return evaluate(*codes, toy.labels, toy.labels).map

    before = score(toy.job.towers())
    assert score(DadhTrainer(epochs=12).fit(toy.job)) > before + 0.1
    assert [line["epoch"] for line in toy.lines] == list(range(1, 13))
    assert {"triplets", "quantisation", "adversary"} <= toy.lines[0].keys()
