"""Towers that are one matrix, and the features and draws that methods in closed form take."""

from __future__ import annotations

import numpy as np
import torch

from hashzoo import Towers
from hashzoo.linear import Projection, features, normal, projections
from hashzoo.testing import toy_job

WIDTHS = {"image": {"pooled": 5, "stage1": 3}, "text": {"pooled": 4}}


def test_a_projection_is_a_matrix_with_a_centre_and_a_threshold():
    rng = np.random.default_rng(0)
    x, centre, weight, threshold = (rng.normal(size=shape) for shape in ((7, 5), (5,), (5, 3), (3,)))
    tower = Projection(5, 3)
    assert not tower(torch.from_numpy(x).float()).any()
    for name, value in {"centre": centre, "weight": weight, "threshold": threshold}.items():
        getattr(tower, name).copy_(torch.from_numpy(value))
    expected = np.array([[sum((x[i] - centre) * weight[:, j]) - threshold[j] for j in range(3)] for i in range(7)])
    np.testing.assert_allclose(tower(torch.from_numpy(x).float()).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert list(tower.state_dict()) == ["centre", "weight", "threshold"]


def test_projections_take_all_named_features_of_a_row():
    image, text = projections(toy_job(bits=6, widths=WIDTHS).job)
    assert (image.weight.shape, text.weight.shape) == ((8, 6), (4, 6))
    assert isinstance(Towers(image, text).image, Projection)


def test_features_are_all_rows_in_their_order():
    toy = toy_job(rows=9, widths=WIDTHS)
    for found, given in zip(features(toy.job.train), (toy.image, toy.text), strict=True):
        assert found.dtype == torch.float64
        np.testing.assert_array_equal(found.numpy(), given)


def test_normal_numbers_are_those_of_the_jobs_generator():
    one, other = (normal(toy_job(seed=0).job, 400, 3) for _ in range(2))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert one.dtype == torch.float64
    assert abs(one.mean()) < 0.1
    assert abs(one.std() - 1) < 0.1
    job = toy_job(seed=0).job
    assert not torch.equal(normal(job, 4), normal(job, 4))
