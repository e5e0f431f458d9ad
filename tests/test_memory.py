"""What a cell holds grows with its rows at most, and no copy of all features is among it."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hashzoo import evaluate, zoo
from hashzoo.codes import Codes, health
from hashzoo.data.base import Splits
from hashzoo.data.prepared import Rows
from hashzoo.fitting import encode_rows
from hashzoo.linear import Projection
from hashzoo.model import Towers
from hashzoo.settings import keywords, plain
from hashzoo.testing import largest_tensor, toy_job
from hashzoo.testing.kit import Subject
from hashzoo.testing.trial import recipe_of

SHORT = dict.fromkeys(("epochs", "teacher_epochs", "student_epochs", "label_epochs", "iterations", "rounds"), 1)
SHORT |= {"batch": 64, "teacher_batch": 64}
METHODS = [(plugin, method) for plugin in zoo.load().plugins for method in plugin.offers.get("method", ())]


def largest_of(plugin: zoo.Plugin, method: object, rows: int) -> int:
    """Bytes of the largest tensor of one pass over so many rows."""
    recipe = recipe_of(Subject("method", method.name, plugin, method, zoo.load()))
    head = recipe.sections.get("image_head")
    widths = {role: {"pooled": 12} for role in (*method.extra, "image", "text")}
    loss = recipe.sections["loss"].build() if "loss" in recipe.sections else None
    toy = toy_job(rows=rows, bits=8, classes=12, widths=widths, loss=loss, **({"head": head.build} if head else {}))
    section = recipe.sections["trainer"]
    short = {name: SHORT[name] for name in SHORT.keys() & keywords(section.target).keys()}
    trainer = section.target(**{**plain(section.settings), **short})
    return largest_tensor(lambda: trainer.fit(toy.job))


@pytest.mark.parametrize(("plugin", "method"), METHODS, ids=[method.name for _, method in METHODS])
def test_no_tensor_grows_with_the_square_of_the_training_rows(plugin, method):
    few, many = (largest_of(plugin, method, rows) for rows in (400, 1100))
    weights = 4 * 512 * 512  # of a hidden layer
    assert many <= 2.9 * max(few, weights)


def peak(run) -> int:
    """Bytes that numpy held at most while something ran, beyond what was there."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bytes_a_row(make, rows: int = 200_000) -> float:
    """By how much the peak of `make(n)()` grows a row, from 2^17 rows on, which fill every block."""
    first, second = (peak(make(n)) for n in (2**17, 2**17 + rows))
    return (second - first) / rows


def packed(rows: int) -> Codes:
    return Codes(np.random.default_rng(0).integers(0, 256, (rows, 8), dtype=np.uint8), 64)


def test_health_holds_a_few_copies_of_packed_codes():
    codes = {rows: packed(rows) for rows in (2**17, 2**17 + 200_000)}
    assert bytes_a_row(lambda rows: lambda: health(codes[rows])) < 40


def test_an_evaluation_holds_no_rank_of_every_item():
    queries = packed(3)
    labels = {rows: np.ones((rows, 24), dtype=np.bool_) for rows in (3, 2**17, 2**17 + 200_000)}
    codes = {rows: packed(rows) for rows in labels}

    def make(rows):
        return lambda: evaluate(queries, codes[rows], labels[3], labels[rows])

    make(2**17)()  # compiles
    assert bytes_a_row(make) < 40


def test_features_are_looked_at_in_blocks_before_they_are_stored():
    def make(rows):
        features = {role: np.zeros((rows, 64), dtype=np.float16) for role in ("image", "text")}
        splits = Splits(*(np.arange(part, part + 1) for part in (0, 1, 0)), rule="three rows")
        return Rows(["label"], np.ones((rows, 1), dtype=np.bool_), splits, features=features).check

    assert bytes_a_row(make) < 1


def test_encoding_holds_a_block_of_features():
    features = np.zeros((2**17 + 200_000, 64), dtype=np.float32)

    def make(rows):
        splits = SimpleNamespace(query=np.arange(2), database=np.arange(2, rows))
        bench = SimpleNamespace(
            dataset=SimpleNamespace(splits=splits), encoded=lambda recipe, role: SimpleNamespace(inputs=features)
        )
        towers = Towers(Projection(64, 64), Projection(64, 64))
        return lambda: encode_rows(bench, None, SimpleNamespace(bits=64, method="none"), towers)

    assert bytes_a_row(make) < 40


def test_batches_of_mapped_features_hold_no_more_than_a_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("hashzoo.features.cache.LARGE", 1)
    monkeypatch.setattr("hashzoo.storage.arrays.LARGE", 1)
    from hashzoo.encoders.described import Described
    from hashzoo.features.cache import Encoded
    from hashzoo.features.extraction import Extraction
    from hashzoo.train import Rows as TrainingRows

    np.save(tmp_path / "features.npy", np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float16))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    encoded = Encoded(mapped, {"pooled": 64}, Described({}, 64, {}, True, None), True, Extraction(), None)
    order = np.random.default_rng(0).permutation(20_000)
    labels = np.ones((20_000, 24), dtype=np.bool_)
    found = []

    def epoch():
        inputs = encoded.inputs_of(order)
        rows = TrainingRows(inputs, inputs, labels, torch.device("cpu"))
        for index in torch.arange(len(rows)).split(500):
            batch = rows.batch(index)
            found.append((batch.image.dtype, np.array_equal(batch.image.numpy(), mapped[order[index]])))

    assert peak(epoch) < 1_000_000  # a copy of all rows has 2,560,000 bytes as it is stored
    assert set(found) == {(torch.float32, True)}
