"""SCAHN's head and loss against slow transcriptions of the paper's formulas."""

import math

import numpy as np
import pytest
import torch
from hashzoo_resnet.head import MultiLevelHead
from hashzoo_resnet.trainer import ScahnTrainer

from hashzoo import evaluate
from hashzoo.model import encode
from hashzoo.testing import toy_job

STAGES = {"image": {"pooled": 12, "stage1": 4, "stage2": 6, "stage3": 8}, "text": {"pooled": 16}}


def test_the_final_code_is_tanh_of_the_weighted_sum_of_the_levels():
    head = MultiLevelHead(STAGES["image"], bits=8).eval()
    x = {name: torch.randn(3, width) for name, width in STAGES["image"].items()}
    *middle, final = head.levels(x)
    assert len(middle) == 4
    for row in range(3):
        for bit in range(8):
            total = sum(head.weights[level, bit].item() * middle[level][row, bit].item() for level in range(4))
            assert final[row, bit].item() == pytest.approx(math.tanh(total), abs=1e-6)
    assert torch.equal(head(x), final)


def test_the_weights_of_four_levels_start_around_a_quarter():
    weights = torch.stack([MultiLevelHead(STAGES["image"], bits=64).weights for _ in range(20)])
    assert weights.mean().item() == pytest.approx(0.25, abs=0.01)
    assert weights.std().item() == pytest.approx(1 / 64, rel=0.2)


def test_without_stages_there_is_one_level_and_it_is_the_code():
    head = MultiLevelHead({"pooled": 12}, bits=8).eval()
    x = {"pooled": torch.randn(3, 12)}
    assert len(head.levels(x)) == 1
    assert torch.equal(head(x), head.levels(x)[0])


def test_the_likelihood_is_the_papers_mean_over_pairs_and_levels():
    rng = np.random.default_rng(0)
    levels, table = rng.normal(size=(3, 5, 16)), rng.normal(size=(7, 16))
    similar = rng.integers(0, 2, size=(5, 7)).astype(float)
    terms = []
    for h in levels:
        for i in range(5):
            for j in range(7):
                theta = h[i] @ table[j] / (16 / 32)
                terms.append(math.log1p(math.exp(theta)) - similar[i, j] * theta)
    ours = ScahnTrainer(balanced_pairs=False)._likelihood(
        [torch.from_numpy(h) for h in levels], torch.from_numpy(table), torch.from_numpy(similar)
    )
    assert ours.item() == pytest.approx(np.mean(terms))


def test_it_learns_with_stages_and_without():
    for widths in (STAGES, None):
        toy = toy_job(rows=300, widths=widths, head=MultiLevelHead)
        towers = ScahnTrainer(epochs=20).fit(toy.job)
        codes = [
            encode(towers.image, torch.from_numpy(toy.image)),
            encode(towers.text, torch.from_numpy(toy.text)),
        ]
        chance = evaluate(*[torch.randn(300, 16) for _ in range(2)], toy.labels, toy.labels).map
        assert evaluate(*codes, toy.labels, toy.labels).map > chance + 0.1
        assert [line["epoch"] for line in toy.lines] == list(range(1, 21))
        assert all(math.isfinite(value) for line in toy.lines for value in line.values())
