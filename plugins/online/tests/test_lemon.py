"""LEMON against a transcription that forms S and keeps all rows, and what must hold of its factors and sums."""

import numpy as np
import pytest
import torch
from hashzoo_online import lemon
from hashzoo_online.factors import balanced_factors
from hashzoo_online.lemon import Lemon

from hashzoo import HashzooError
from hashzoo.linear import normal
from hashzoo.once import bytes_held
from hashzoo.testing import toy_job, toy_stream

BITS = 4


class Slow:
    """Nothing is summed up: every update goes over all rows that there ever were, with their similarity S."""

    def __init__(self, alpha, beta, gamma, xi, iterations):
        self.constants = alpha, beta, gamma, xi, iterations
        self.x, self.t, self.y, self.b, self.v = [], [], [], [], []

    def learn(self, toy):
        alpha, beta, gamma, xi, iterations = self.constants
        y = toy.labels.astype(float)
        n = len(y)
        b = np.where(normal(toy.job, n, BITS).numpy() > 0, 1.0, -1.0)
        v = normal(toy.job, n, BITS).numpy()
        r = np.linalg.svd(normal(toy.job, BITS, BITS).numpy())[0]
        all_y = np.concatenate([*self.y, y])
        all_g = all_y / np.linalg.norm(all_y, axis=1, keepdims=True)
        g = y / np.linalg.norm(y, axis=1, keepdims=True)
        similar = np.empty((n, len(all_g)))
        for i in range(n):
            for j in range(len(all_g)):
                similar[i, j] = 2 * sum(g[i, c] * all_g[j, c] for c in range(g.shape[1])) - 1
        for _ in range(iterations):
            all_v = np.concatenate([*self.v, v])
            p = np.linalg.inv(all_v.T @ all_v + gamma * np.eye(BITS)) @ all_v.T @ all_y
            z = b @ r.T + beta * y @ p.T + alpha * BITS * similar @ np.concatenate([*self.b, b])
            centred = (np.eye(n) - np.full((n, n), 1 / n)) @ z
            values, vectors = np.linalg.eigh(centred.T @ centred)
            v = np.sqrt(n) * centred @ vectors @ np.diag(values**-0.5) @ vectors.T  # the polar factor
            u_b, _, u_a = np.linalg.svd(np.concatenate([*self.b, b]).T @ np.concatenate([*self.v, v]))
            r = u_a.T @ u_b.T
            b = np.where(alpha * BITS * similar @ np.concatenate([*self.v, v]) + v @ r > 0, 1.0, -1.0)
        for kept, new in ((self.x, toy.image), (self.t, toy.text), (self.y, y), (self.b, b), (self.v, v)):
            kept.append(np.asarray(new, dtype=float))
        codes = np.concatenate(self.b)
        return [
            np.linalg.solve(rows.T @ rows + xi * np.eye(rows.shape[1]), rows.T @ codes)
            for rows in (np.concatenate(self.x), np.concatenate(self.t))
        ]


@pytest.mark.parametrize(
    "constants",
    # The released constants, and such that every term of every update matters.
    [{}, {"alpha": 0.02, "beta": 0.5, "gamma": 3.0, "xi": 7.0, "iterations": 3}],
    ids=["released", "balanced"],
)
def test_it_is_the_slow_transcription(constants):
    trainer = Lemon(**constants)
    slow = Slow(**{"alpha": 1e4, "beta": 1e4, "gamma": 0.1, "xi": 1.0, "iterations": 5} | constants)
    for toy, copy in zip(*(toy_stream(3, 30, bits=BITS) for _ in range(2)), strict=True):
        towers = trainer.partial_fit(toy.job)
        weights = slow.learn(copy)
        np.testing.assert_array_equal(trainer.learned_codes().image.numpy(), slow.b[-1])
        for tower, weight in zip((towers.image, towers.text), weights, strict=True):
            np.testing.assert_allclose(tower.weight.numpy(), weight, rtol=1e-4, atol=1e-6)
    rows = {"X": slow.x, "T": slow.t, "Y": slow.y, "B": slow.b, "V": slow.v}
    rows = {name: np.concatenate(parts) for name, parts in rows.items()}
    rows["G"] = rows["Y"] / np.linalg.norm(rows["Y"], axis=1, keepdims=True)
    rows["1"] = np.ones(len(rows["Y"]))
    assert len(trainer.sums) == 11
    for name, kept in trainer.sums.items():
        expected = rows[name[0]].T @ rows[name[1]]
        np.testing.assert_allclose(kept.numpy(), expected, rtol=1e-5, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("labels", [6, 2], ids=["of full rank", "fewer labels than bits"])
def test_factors_are_orthogonal_and_balanced_and_the_rotation_is_one(labels, monkeypatch):
    made, rotations = [], []
    svd = torch.linalg.svd

    def watched(target, drawn):
        made.append(balanced_factors(target, drawn))
        return made[-1]

    def watched_svd(matrix, **options):
        found = svd(matrix, **options)
        if not options and len(matrix) == 16 and made:
            rotations.append(found.Vh.T @ found.U.T)
        return found

    monkeypatch.setattr(lemon, "balanced_factors", watched)
    monkeypatch.setattr(torch.linalg, "svd", watched_svd)
    toy = toy_job(bits=16, rows=300, classes=max(labels, 3))
    toy.job.train.labels[:, labels:] = 0
    Lemon(chunk=100).fit(toy.job)
    assert (len(made), len(rotations) >= 15) == (15, True)
    for latent in made:
        assert (latent.T @ latent / len(latent) - torch.eye(16)).abs().max() < 1e-6
        assert latent.sum(dim=0).abs().max() / len(latent) < 1e-6
    for rotation in rotations:
        assert (rotation.T @ rotation - torch.eye(16)).abs().max() < 1e-6


def test_missing_directions_are_completed_by_random_ones():
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    target = drawn(50, 3) @ drawn(3, 8)
    for z in (target, torch.zeros(50, 8, dtype=torch.float64)):
        latent = balanced_factors(z, drawn)
        assert (latent.T @ latent / 50 - torch.eye(8)).abs().max() < 1e-9
        assert latent.sum(dim=0).abs().max() < 1e-9
    best = (balanced_factors(target, drawn) * target).sum()
    bound = 50**0.5 * torch.linalg.svdvals(target - target.mean(dim=0)).sum()
    assert best == pytest.approx(bound.item())


def test_what_it_keeps_does_not_depend_on_how_many_chunks_there_were():
    trainer, sizes = Lemon(), []
    for toy in toy_stream(5, 30, bits=BITS):
        trainer.partial_fit(toy.job)
        sizes.append(bytes_held(trainer))
    assert len(set(sizes)) == 1


def test_codes_for_a_chunk_no_larger_than_a_code_are_refused():
    with pytest.raises(HashzooError, match="LEMON needs more rows in a chunk than bits, and has 16 for 16 bits"):
        Lemon().partial_fit(toy_job(bits=16, rows=16).job)


def test_a_row_without_labels_is_learned_from_too():
    toy = toy_job(bits=BITS, rows=50)
    toy.job.train.labels[3] = 0
    trainer = Lemon()
    towers = trainer.partial_fit(toy.job)
    assert torch.isfinite(towers.image.weight).all()
    assert trainer.learned_codes().image.abs().min() == 1
