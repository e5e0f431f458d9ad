import numpy as np
import pytest
import torch
from hashzoo.testing import toy_job

from hashzoo_ccaitq.trainer import CcaItq, cca, itq_step


def test_correlations_of_a_shared_signal_are_found():
    random = np.random.default_rng(0)
    signal, noise = random.normal(size=(2000, 2)), random.normal(size=(2000, 3))
    a = np.concatenate([signal, noise], axis=1) @ random.normal(size=(5, 5))
    b = signal @ random.normal(size=(2, 4)) + 1e-3 * random.normal(size=(2000, 4))
    weight_a, weight_b, correlations = cca(a - a.mean(axis=0), b - b.mean(axis=0), ridge=1e-9, limit=3)
    assert np.all(correlations[:2] > 0.99)
    assert correlations[2] < 0.1
    assert abs(np.corrcoef(a @ weight_a[:, 0], b @ weight_b[:, 0])[0, 1]) > 0.99


@pytest.mark.parametrize("bits", [4, 9])
def test_itq_comes_nearer_at_every_step_and_keeps_orthonormal_rows(bits):
    random = np.random.default_rng(0)
    values, rotation = random.normal(size=(300, 4)), np.linalg.qr(random.normal(size=(bits, bits)))[0][:4]
    distances = []
    for _ in range(8):
        rotation, distance = itq_step(values, rotation)
        distances.append(distance)
    assert np.all(np.diff(distances) <= 1e-12)
    assert np.allclose(rotation @ rotation.T, np.eye(4))


@pytest.mark.parametrize("bits", [8, 64])
def test_a_pair_has_nearer_codes_than_strangers(bits):
    toy = toy_job(bits=bits)
    towers, rows = CcaItq(iterations=10).fit(toy.job), torch.arange(200)
    out = towers(toy.job.train.image(rows), toy.job.train.text(rows))
    differ = (out.image > 0)[:, None] != (out.text > 0)[None]
    distances = differ.float().mean(dim=2)
    assert distances.diagonal().mean() < 0.6 * distances.mean()
