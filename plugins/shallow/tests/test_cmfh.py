"""CMFH against the paper's updates with columns as samples, and the objective that they are to minimise."""

import numpy as np
import pytest
import torch
from hashzoo_shallow.cmfh import Cmfh
from hashzoo_shallow.views import Blocks

from hashzoo.testing import toy_job

BITS = 5


def centred(features):
    features = np.asarray(features, dtype=float)
    return features - features.mean(axis=0)


def slow(toy, generator, balance=0.5, mu=100.0, gamma=0.01, ridge=0.1, iterations=25):
    """P_t (bits, d_t) for features of unit mean square, and the objective after each iteration."""
    x = [centred(rows).T for rows in (toy.image, toy.text)]
    x = [part / np.sqrt(np.mean(part**2)) for part in x]
    weights, eye = [balance, 1 - balance], np.eye(BITS)
    v = torch.rand(x[0].shape[1], BITS, generator=generator, dtype=torch.float64).numpy().T
    ridges = [ridge * np.trace(part @ part.T) / len(part) for part in x]
    inverses = [np.linalg.inv(part @ part.T + r * np.eye(len(part))) for part, r in zip(x, ridges, strict=True)]
    objectives = []
    for _ in range(iterations):
        p = [v @ part.T @ inverse for part, inverse in zip(x, inverses, strict=True)]
        u = [part @ v.T @ np.linalg.inv(v @ v.T + gamma / w * eye) for w, part in zip(weights, x, strict=True)]
        left = sum(w * part.T @ part for w, part in zip(weights, u, strict=True)) + (2 * mu + gamma) * eye
        right = sum(w * u[t].T @ x[t] + mu * p[t] @ x[t] for t, w in enumerate(weights))
        v = np.linalg.inv(left) @ right
        total = gamma * np.linalg.norm(v) ** 2
        for t, w in enumerate(weights):
            total += w * np.linalg.norm(x[t] - u[t] @ v) ** 2 + mu * np.linalg.norm(v - p[t] @ x[t]) ** 2
            total += gamma * np.linalg.norm(u[t]) ** 2 + mu * ridges[t] * np.linalg.norm(p[t]) ** 2
        objectives.append(total)
    return [v @ part.T @ inverse @ part for part, inverse in zip(x, inverses, strict=True)], objectives


@pytest.mark.parametrize(
    "settings",
    [{}, {"balance": 0.3, "mu": 2.0, "gamma": 0.5, "ridge": 0.01, "iterations": 7}],
    ids=["defaults", "other constants"],
)
def test_it_is_the_slow_transcription(settings):
    toy, copy = toy_job(bits=BITS, rows=50), toy_job(bits=BITS, rows=50)
    towers = Cmfh(**settings).fit(toy.job)
    values, objectives = slow(copy, copy.job.generator, **settings)
    for tower, inputs, expected in zip((towers.image, towers.text), (toy.image, toy.text), values, strict=True):
        np.testing.assert_allclose(
            tower(torch.from_numpy(inputs)).numpy(), expected.T, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
        )
    np.testing.assert_allclose([line["objective"] for line in toy.lines], objectives, rtol=1e-9)


def test_each_update_leaves_no_gradient_of_the_objective():
    """The objective, written anew for autograd: it is flat in what was updated last, and in that alone."""
    toy = toy_job(bits=BITS, rows=50)
    trainer, weights = Cmfh(gamma=0.5, mu=3.0), (0.5, 0.5)
    rows = [torch.from_numpy(centred(part)) for part in (toy.image, toy.text)]
    ridges = [torch.tensor(0.7, dtype=torch.float64)] * 2
    generator = torch.Generator().manual_seed(1)
    v = torch.rand(50, BITS, generator=generator, dtype=torch.float64)
    hashing = [torch.rand(x.shape[1], BITS, generator=generator, dtype=torch.float64) for x in rows]

    def objective(v, u, p):
        total = 0.5 * v.square().sum()
        for weight, x, ridge, bases, weights_of in zip(weights, rows, ridges, u, p, strict=True):
            total = total + weight * (x - v @ bases).square().sum() + 3 * (v - x @ weights_of).square().sum()
            total = total + 0.5 * bases.square().sum() + 3 * ridge * weights_of.square().sum()
        return total

    blocks = [Blocks(x.__getitem__, 50, 7) for x in rows]
    u = [trainer._bases(weight, x, v) for weight, x in zip(weights, blocks, strict=True)]
    leaves = [part.clone().requires_grad_() for part in (*u, v)]
    for gradient, flat in zip(
        torch.autograd.grad(objective(leaves[2], leaves[:2], hashing), leaves), (True, True, False), strict=True
    ):
        assert (gradient.abs().max() < 1e-8) == flat
    v = trainer._factor(weights, blocks, u, hashing).requires_grad_()
    assert torch.autograd.grad(objective(v, u, hashing), v)[0].abs().max() < 1e-8
    found = trainer._objective(weights, blocks, ridges, u, hashing, v.detach())
    assert found == pytest.approx(objective(v, u, hashing).item())


def test_the_objective_falls_and_labels_change_nothing():
    one, other = toy_job(), toy_job()
    other.job.train.labels.zero_()
    states = [Cmfh().fit(toy.job).state_dict() for toy in (one, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    values = [line["objective"] for line in one.lines]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] / 2


def test_a_balance_that_leaves_one_modality_out_is_refused():
    with pytest.raises(ValueError, match="balance is a share between 0 and 1, not 0"):
        Cmfh(balance=0)
