import dataclasses

import torch
from hashzoo.testing import toy_job

from hashzoo_twins.trainer import TwinTables


def fit_with_val(epochs):
    """Towers, and the losses on validation rows, of a job that has some; the same start at every call."""
    torch.manual_seed(0)
    toy = toy_job()
    job = dataclasses.replace(toy.job, val=toy_job(rows=60, seed=1).job.train)
    return TwinTables(epochs=epochs, lr=0.05).fit(job), [line["val"] for line in toy.lines]


def test_the_best_epoch_on_val_is_kept():
    towers, losses = fit_with_val(epochs=8)
    best = losses.index(min(losses)) + 1
    assert len(losses) == 8 > best, "the rows of val are of another map, so that training on wears them out"
    alone, _ = fit_with_val(epochs=best)
    assert all(torch.equal(a, b) for a, b in zip(towers.parameters(), alone.parameters(), strict=True))


def test_it_learns():
    toy = toy_job()
    TwinTables(epochs=5).fit(toy.job)
    assert toy.lines[-1]["image"] < 0.8 * toy.lines[0]["image"]
