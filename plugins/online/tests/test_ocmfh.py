"""OCMFH against a transcription with columns as samples that keeps all rows, and what its settings do."""

import numpy as np
import pytest
import torch
from hashzoo_online.ocmfh import Ocmfh

from hashzoo import pack
from hashzoo.evaluator import randomisation_test
from hashzoo.fitting import encode_rows, make_job, seeded
from hashzoo.recipe import Cell
from hashzoo.testing import kit, toy_job, toy_stream
from hashzoo.testing.scenes import workbench
from hashzoo.testing.trial import recipe_of

BITS, CHUNK = 4, 40


def numpy_uniform(generator, *shape):
    return torch.rand(*shape, generator=generator, dtype=torch.float64).numpy()


class Slow:
    """The released loops, with columns as samples and inverses; `repeat` adds a chunk in every iteration."""

    def __init__(self, lam=0.5, mu=100.0, gamma=1e-3, first=100, later=10, repeat=False):
        self.lam, self.mu, self.gamma, self.first, self.later, self.repeat = lam, mu, gamma, first, later, repeat
        self.rows = 0

    def ridge(self, n):
        return self.gamma * np.eye(n)

    def common(self, x, t):
        gram = self.lam * self.u1.T @ self.u1 + (1 - self.lam) * self.u2.T @ self.u2
        right = self.lam * self.u1.T @ x + (1 - self.lam) * self.u2.T @ t + self.mu * (self.p1 @ x + self.p2 @ t)
        return np.linalg.inv(gram + (2 * self.mu + self.gamma) * np.eye(BITS)) @ right

    def objective(self, x, t, h):
        norm = np.linalg.norm
        fits = self.lam * norm(x - self.u1 @ h) + (1 - self.lam) * norm(t - self.u2 @ h)
        hashes = self.mu * (norm(h - self.p1 @ x) + norm(h - self.p2 @ t))
        sizes = sum(norm(part) for part in (self.u1, self.u2, h, self.p1, self.p2))
        return fits + hashes + self.gamma * sizes

    def learn(self, toy, generator):
        x, t = toy.image.T.astype(float), toy.text.T.astype(float)
        if not self.rows:
            self.m1, self.m2 = x.mean(axis=1, keepdims=True), t.mean(axis=1, keepdims=True)
            self.start(x - self.m1, t - self.m2, generator)
        else:
            total = self.rows + x.shape[1]
            self.m1 = (self.rows * self.m1 + x.sum(axis=1, keepdims=True)) / total
            self.m2 = (self.rows * self.m2 + t.sum(axis=1, keepdims=True)) / total
            self.go_on(x - self.m1, t - self.m2)
        self.rows += x.shape[1]
        assert self.hh.shape[1] == self.rows

    def start(self, x, t, generator):
        h = numpy_uniform(generator, x.shape[1], BITS).T
        self.p1 = numpy_uniform(generator, len(x), BITS).T
        self.p2 = numpy_uniform(generator, len(t), BITS).T
        last = np.inf
        for _ in range(self.first):
            inverse = np.linalg.inv(h @ h.T + self.ridge(BITS))
            self.u1, self.u2 = x @ h.T @ inverse, t @ h.T @ inverse
            h = self.common(x, t)
            self.p1 = h @ x.T @ np.linalg.inv(x @ x.T + self.ridge(len(x)))
            self.p2 = h @ t.T @ np.linalg.inv(t @ t.T + self.ridge(len(t)))
            now = self.objective(x, t, h)
            if last - now < 0.01:
                break
            last = now
        self.hh = h
        self.w1, self.w2, self.hsum = x @ h.T, t @ h.T, h @ h.T
        self.f1, self.f2 = h @ x.T, h @ t.T
        self.g1, self.g2 = x @ x.T + self.ridge(len(x)), t @ t.T + self.ridge(len(t))

    def go_on(self, x, t):
        h = self.common(x, t)
        old = np.concatenate([self.lam * self.u1, (1 - self.lam) * self.u2])
        names = ("w1", "w2", "hsum", "f1", "f2", "g1", "g2")
        base = {name: getattr(self, name) for name in names}
        for _ in range(self.later):
            if self.repeat:
                base = {name: getattr(self, name) for name in names}
            self.w1, self.w2, self.hsum = base["w1"] + x @ h.T, base["w2"] + t @ h.T, base["hsum"] + h @ h.T
            self.u1, self.u2 = self.w1 @ np.linalg.inv(self.hsum), self.w2 @ np.linalg.inv(self.hsum)
            h = self.common(x, t)
            self.f1, self.f2 = base["f1"] + h @ x.T, base["f2"] + h @ t.T
            self.g1, self.g2 = base["g1"] + x @ x.T, base["g2"] + t @ t.T
            self.p1, self.p2 = self.f1 @ np.linalg.inv(self.g1), self.f2 @ np.linalg.inv(self.g2)
        new = np.concatenate([self.lam * self.u1, (1 - self.lam) * self.u2])
        moved = np.linalg.inv(new.T @ new + self.ridge(BITS)) @ new.T @ old
        self.hh = np.concatenate([moved @ self.hh, h], axis=1)


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({}, {}),
        ({"repeat_sums": True}, {"repeat": True}),
        (
            {"balance": 0.3, "mu": 2.0, "gamma": 0.5, "first_iterations": 7, "iterations": 3},
            {"lam": 0.3, "mu": 2.0, "gamma": 0.5, "first": 7, "later": 3},
        ),
    ],
    ids=["released", "repeated sums", "other constants"],
)
def test_it_is_the_slow_transcription(settings, same):
    trainer, slow = Ocmfh(**settings), Slow(**same)
    for toy, copy in zip(*(toy_stream(3, CHUNK, bits=BITS) for _ in range(2)), strict=True):
        towers = trainer.partial_fit(toy.job)
        slow.learn(copy, copy.job.generator)
        scale = np.abs(slow.hh).max()
        learned = trainer.learned_codes()
        expected = (slow.hh - slow.hh.mean(axis=1, keepdims=True)).T
        np.testing.assert_allclose(learned.image.numpy(), expected, rtol=1e-3, atol=1e-4 * scale)
        assert learned.text is learned.image
        for tower, hashing, mean, inputs in (
            (towers.image, slow.p1, slow.m1, copy.image),
            (towers.text, slow.p2, slow.m2, copy.text),
        ):
            values = hashing @ (inputs.T - mean) - slow.hh.mean(axis=1, keepdims=True)
            np.testing.assert_allclose(
                tower(torch.from_numpy(inputs)).numpy(), values.T, rtol=1e-2, atol=1e-3 * np.abs(values).max()
            )


def test_the_running_mean_is_that_of_all_rows():
    trainer, toys = Ocmfh(first_iterations=2, iterations=1), toy_stream(3, CHUNK, bits=BITS)
    for toy in toys:
        towers = trainer.partial_fit(toy.job)
    np.testing.assert_allclose(towers.text.centre.numpy(), np.concatenate([t.text for t in toys]).mean(0), atol=1e-6)
    raw = Ocmfh(first_iterations=2, iterations=1, centre_queries=False).partial_fit(toys[0].job)
    assert not raw.text.centre.any()


def test_labels_change_nothing():
    one, other = toy_job(), toy_job()
    other.job.train.labels.zero_()
    states = [Ocmfh(chunk=50).fit(toy.job).state_dict() for toy in (one, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_objective_falls():
    toy = toy_job()
    Ocmfh().partial_fit(toy.job)
    values = [line["objective"] for line in toy.lines]
    assert len(values) > 3
    assert values[-1] < values[0] / 2


def test_a_balance_that_leaves_one_modality_out_is_refused():
    with pytest.raises(ValueError, match="balance is a share between 0 and 1, not 1"):
        Ocmfh(balance=1)


def test_it_beats_random_codes_on_scenes_with_a_ridge_for_few_rows():
    bench = workbench()
    (subject,) = [subject for subject in kit.subjects("ocmfh") if subject.kind == "method"]
    recipe, cell = recipe_of(subject), Cell("ocmfh", "trial", 32, 0)
    with seeded(0, 1):
        towers = Ocmfh(gamma=1.0).fit(make_job(bench, recipe, cell, lambda **terms: None))
        codes = encode_rows(bench, recipe, cell, towers)
    rng = np.random.default_rng(0)
    drawn = {name: pack(rng.random((len(c), 32)) < 0.5) for name, c in codes.items()}
    found, chance = (bench.track.score(c)[1] for c in (codes, drawn))
    for direction in ("i2t", "t2i"):
        assert found[direction].mean() > chance[direction].mean() + 0.05
        assert randomisation_test(found[direction], chance[direction]) < 0.01
