"""Rows in blocks: closed forms find the same from many blocks as from one, and hold a block of features at most."""

import pytest
import torch
from hashzoo_shallow import ccaitq, views
from hashzoo_shallow.ccaitq import CcaItq
from hashzoo_shallow.cmfh import Cmfh
from hashzoo_shallow.cvh import Cvh
from hashzoo_shallow.scm import Scm
from hashzoo_shallow.views import Blocks, mean_square, product, total

from hashzoo.testing import largest_tensor, toy_job

TRAINERS = [CcaItq(iterations=5), Cvh(), Scm(), Scm(fall_back=False), Cmfh(iterations=3)]
WIDTHS = {"image": {"pooled": 64}, "text": {"pooled": 48}}


def blocks_of(monkeypatch, numbers):
    for module in (views, ccaitq):
        monkeypatch.setattr(module, "BLOCK_NUMBERS", numbers)


def counted(x, size):
    """Blocks of some rows, and how often each was made."""
    made = []

    def make(part):
        made.append(part.start)
        return x[part].clone()

    return Blocks(make, len(x), size), made


@pytest.mark.parametrize("size", [1, 4, 10, 30])
def test_sums_over_blocks_are_those_of_all_rows(size):
    x, y = (torch.randn(10, width, dtype=torch.float64) for width in (3, 2))
    rows, others = counted(x, size)[0], counted(y, size)[0]
    assert [part.indices(10) for part, _ in rows] == [(n, min(n + size, 10), 1) for n in range(0, 10, size)]
    torch.testing.assert_close(torch.cat([block for _, block in rows]), x, rtol=0, atol=0)
    for other in (others, y):
        torch.testing.assert_close(product(rows, other), x.T @ y)
    torch.testing.assert_close(mean_square(rows), x.square().mean())
    torch.testing.assert_close(mean_square(rows.map(lambda block: 2 * block.T)), 4 * x.square().mean())
    torch.testing.assert_close(total(block.sum(dim=0) for _, block in rows), x.sum(dim=0))


def test_one_block_is_kept_and_several_are_made_anew():
    x = torch.randn(10, 3)
    for size, times in ((10, 1), (5, 2)):
        rows, made = counted(x, size)
        for _ in range(2):
            assert len(list(rows)) == 10 // size
        assert made.count(0) == times
        doubled = rows.map(lambda block: 2 * block)
        for _ in range(2):
            torch.testing.assert_close(torch.cat([block for _, block in doubled]), 2 * x)
        torch.testing.assert_close(torch.cat([block for _, block in rows]), x)


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: type(trainer).__name__)
def test_towers_of_many_blocks_are_those_of_one(trainer, monkeypatch):
    codes = []
    for numbers in (2**26, 2048):
        blocks_of(monkeypatch, numbers)
        toy = toy_job(rows=150, bits=5, widths=WIDTHS)  # more bits than labels: rotations that are not unique
        towers = trainer.fit(toy.job)
        codes.append(towers(torch.from_numpy(toy.image), torch.from_numpy(toy.text)))
    for role in ("image", "text"):
        torch.testing.assert_close(getattr(codes[1], role), getattr(codes[0], role), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: type(trainer).__name__)
def test_features_are_never_held_all_at_once(trainer, monkeypatch):
    rows, bits = 1500, 8
    blocks_of(monkeypatch, 4096)
    toy = toy_job(rows=rows, bits=bits, widths=WIDTHS)
    assert largest_tensor(lambda: trainer.fit(toy.job)) <= 8 * max(2 * rows * bits, 64 * 64)
