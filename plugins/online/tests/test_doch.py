"""DOCH against a slow transcription, and what must hold of its anchors, its sums and what it keeps."""

import itertools
import math

import numpy as np
import pytest
import torch
from hashzoo_online.doch import Doch, released_alpha, update_codes

from hashzoo.linear import normal
from hashzoo.testing import toy_stream

BITS = 4


class Slow:
    """All rows are kept; every new bit is a loop over rows and anchors."""

    def __init__(self, alpha, theta, anchors, rounds, iterations):
        self.alpha, self.theta, self.anchors, self.rounds, self.iterations = alpha, theta, anchors, rounds, iterations
        self.x, self.t, self.y, self.b = [], [], [], []

    def learn(self, toy):
        y = toy.labels.astype(float)
        b = np.where(normal(toy.job, len(y), BITS).numpy() > 0, 1.0, -1.0)
        p = normal(toy.job, BITS, y.shape[1]).numpy()
        for _ in range(self.rounds):
            for _ in range(self.iterations):
                anchors = []
                for labels, codes in zip(self.y or [y], self.b or [b.copy()], strict=True):
                    rows = torch.randperm(len(labels), generator=toy.job.generator)[: self.anchors].tolist()
                    anchors += [(labels[row], codes[row].copy()) for row in rows]
                self.update(b, p, y, anchors)
            all_b, all_y = np.concatenate([*self.b, b]), np.concatenate([*self.y, y])
            p = np.linalg.pinv(all_b.T @ all_b) @ all_b.T @ all_y
        for kept, new in ((self.x, toy.image), (self.t, toy.text), (self.y, y), (self.b, b)):
            kept.append(np.asarray(new, dtype=float))
        codes = np.concatenate(self.b)
        return [np.linalg.lstsq(np.concatenate(rows), codes, rcond=None)[0] for rows in (self.x, self.t)]

    def update(self, b, p, y, anchors):
        w = p @ p.T
        for k in range(BITS):
            new = []
            for i in range(len(b)):
                pull = len(anchors) * self.alpha**2 / 4 * b[i, k]
                for labels, code in anchors:
                    similar = float(any(one and other for one, other in zip(y[i], labels, strict=True)))
                    likely = 1 / (1 + math.exp(-self.alpha * sum(b[i, j] * code[j] for j in range(BITS))))
                    pull += self.alpha * (similar - likely) * code[k]
                fit = 2 * sum(y[i, c] * p[k, c] for c in range(y.shape[1]))
                fit -= 2 * sum(b[i, j] * w[j, k] for j in range(BITS) if j != k)
                new.append(1.0 if pull + self.theta * fit > 0 else -1.0)
            b[:, k] = new


@pytest.mark.parametrize(
    "constants",
    [{}, {"alpha": 0.8, "theta": 0.3, "anchors": 4, "rounds": 3, "iterations": 2}],
    ids=["released", "other constants"],
)
def test_it_is_the_slow_transcription(constants):
    trainer = Doch(**constants)
    slow = Slow(**{"alpha": 0.45, "theta": 0.1, "anchors": 50, "rounds": 7, "iterations": 3} | constants)
    for toy, copy in zip(*(toy_stream(3, 20, bits=BITS) for _ in range(2)), strict=True):
        towers = trainer.partial_fit(toy.job)
        weights = slow.learn(copy)
        np.testing.assert_array_equal(trainer.learned_codes().image.numpy(), slow.b[-1])
        np.testing.assert_array_equal(trainer.learned_codes().text.numpy(), slow.b[-1])
        # The pseudo-inverse of X^T X has half the digits of that of X.
        for tower, weight in zip((towers.image, towers.text), weights, strict=True):
            np.testing.assert_allclose(tower.weight.numpy(), weight, rtol=1e-3, atol=1e-4)


def test_a_new_bit_is_no_worse_for_the_objective_that_it_bounds():
    """(1) maximises a lower bound of the log-likelihood less theta ||Y - B P||^2, tight at the old code."""
    generator = torch.Generator().manual_seed(3)
    labels = (torch.rand(30, 5, generator=generator) > 0.6).double()
    codes, anchors = (torch.where(torch.randn(n, BITS, generator=generator) > 0, 1.0, -1.0).double() for n in (30, 12))
    anchor_labels = (torch.rand(12, 5, generator=generator) > 0.6).double()
    similar = (labels @ anchor_labels.T > 0).double()
    embedding = torch.randn(BITS, 5, generator=generator, dtype=torch.float64)
    alpha, theta = 0.45, 0.1

    def objective():
        inner = alpha * codes @ anchors.T
        likelihood = (similar * inner - torch.log1p(inner.exp())).sum()
        return (likelihood - theta * (labels - codes @ embedding).square().sum()).item()

    values = [objective()]
    for _ in range(5):
        update_codes(codes, anchors, similar, labels, embedding, alpha, theta)
        values.append(objective())
    assert values[-1] > values[0]
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values))


def test_alpha_is_the_released_one_and_lies_between_for_other_lengths():
    assert [released_alpha(bits) for bits in (8, 16, 32, 64, 128)] == pytest.approx([0.45, 0.35, 0.25, 0.15, 0.1])
    assert [released_alpha(bits) for bits in (4, 256)] == pytest.approx([0.45, 0.1])
    assert 0.25 < released_alpha(24) < 0.35


def test_chunks_may_be_smaller_than_the_anchors_and_without_labels():
    trainer = Doch()
    for toy in toy_stream(4, 10, bits=BITS):
        toy.job.train.labels[0] = 0
        towers = trainer.partial_fit(toy.job)
        assert torch.isfinite(towers.image.weight).all()
        assert trainer.learned_codes().image.abs().min() == 1


def test_without_anchors_it_is_refused():
    with pytest.raises(ValueError, match="anchors is 1 or more, not 0"):
        Doch(anchors=0)
