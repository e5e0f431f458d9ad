"""DCMH's loss against a slow transcription, its gradient against the official code's analytic one."""

import math

import numpy as np
import pytest
import torch
from hashzoo_cnnf.dcmh import DcmhTrainer

from hashzoo import evaluate
from hashzoo.model import encode
from hashzoo.testing import toy_job

N, B, BITS, CLASSES = 9, 4, 6, 3


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    f, g = rng.normal(size=(N, BITS)), rng.normal(size=(N, BITS))
    labels = rng.integers(0, 2, size=(N, CLASSES)).astype(float)
    index = np.array([1, 4, 5, 8])
    return f, g, np.sign(f + g), labels, index, rng.normal(size=(B, BITS))


def loss_of(trainer, batch, h):
    f, g, codes, labels, index, _ = (torch.from_numpy(part) for part in batch)
    return trainer._terms(h, index, labels[index], f, g, codes, labels)


def test_the_loss_is_the_papers_over_rows_times_batch(batch):
    f, g, codes, labels, index, h = batch
    trainer = DcmhTrainer(gamma=0.7, eta=0.3, balanced_pairs=False)
    likelihood = 0.0
    for b, i in enumerate(index):
        for j in range(N):
            theta = h[b] @ g[j] / 2
            likelihood += math.log1p(math.exp(theta)) - float(labels[i] @ labels[j] > 0) * theta
    table = f.copy()
    table[index] = h
    quantisation = sum(np.sum((codes[i] - h[b]) ** 2) for b, i in enumerate(index))
    balance = np.sum(table.sum(axis=0) ** 2)
    terms = loss_of(trainer, batch, torch.from_numpy(h))
    assert terms["likelihood"].item() == pytest.approx(likelihood / (N * B))
    assert terms["quantisation"].item() == pytest.approx(0.7 * quantisation / (N * B))
    assert terms["balance"].item() == pytest.approx(0.3 * balance / (N * B))


def test_the_gradient_is_the_analytic_one_of_the_official_code(batch):
    f, g, codes, labels, index, values = batch
    trainer = DcmhTrainer(gamma=1.0, eta=1.0, balanced_pairs=False)
    h = torch.from_numpy(values).requires_grad_(True)
    sum(loss_of(trainer, batch, h).values()).backward()
    table = f.copy()
    table[index] = values
    similar = (labels[index] @ labels.T > 0).astype(float)
    sigmoid = 1 / (1 + np.exp(-(values @ g.T / 2)))
    analytic = (sigmoid - similar) @ g / 2 + 2 * (values - codes[index]) + 2 * table.sum(axis=0)
    np.testing.assert_allclose(h.grad.numpy(), analytic / (N * B), rtol=1e-10)


def test_the_table_of_the_batch_itself_counts_with_its_new_values(batch):
    """Balance looks at the column sums as they are with the batch in place, not as they were."""
    *_, h = batch
    trainer = DcmhTrainer(eta=1.0)
    zeroed = torch.from_numpy(h) * 0
    assert loss_of(trainer, batch, torch.from_numpy(h))["balance"] != loss_of(trainer, batch, zeroed)["balance"]


@pytest.mark.parametrize("settings", [{}, {"optimiser": "sgd", "lr": 0.3}], ids=["adamw", "sgd"])
def test_it_learns(settings):
    toy = toy_job(rows=300)
    before = toy.job.towers()
    after = DcmhTrainer(epochs=20, gamma=1.0, eta=0.0, **settings).fit(toy.job)

    def score(towers):
        codes = encode(towers.image, torch.from_numpy(toy.image)), encode(towers.text, torch.from_numpy(toy.text))
        return evaluate(*codes, toy.labels, toy.labels).map

    assert score(after) > score(before) + 0.1
    assert [line["epoch"] for line in toy.lines] == list(range(1, 21))


def test_sgd_falls_along_a_line_to_a_millionth():
    toy = toy_job()
    descent = DcmhTrainer(epochs=5, optimiser="sgd", lr=0.01)._descent(toy.job.towers().image)
    rates = []
    for _ in range(5):
        rates.append(descent.optimiser.param_groups[0]["lr"])
        descent.optimiser.step()
        descent.schedule.step()
    np.testing.assert_allclose(rates, np.linspace(0.01, 1e-6, 5))


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="adamw or sgd"):
        DcmhTrainer(optimiser="adam")
