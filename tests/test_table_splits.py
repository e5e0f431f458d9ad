"""Splits of tables: shares, groups, validation rows and repetition, for tables of any shape."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashzoo.data.base import Splits
from hashzoo.data.table_splits import connected, draw_splits, repeats, splits_from_file
from hashzoo.errors import HashzooError

SHARES = st.floats(0.05, 0.9)


@st.composite
def tables(draw):
    """Labels of some rows, a digest of the picture and a group of each; few of either, so that many coincide."""
    rows = draw(st.integers(2, 60))
    kinds = draw(st.integers(1, rows))
    pictures = np.array(draw(st.lists(st.integers(0, kinds), min_size=rows, max_size=rows)), dtype=np.uint8)
    groups = draw(st.lists(st.sampled_from(["", *map(str, range(kinds))]), min_size=rows, max_size=rows))
    labels = np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), dtype=bool)[:, None]
    return labels, np.repeat(pictures[:, None], 32, axis=1), groups


@settings(max_examples=150, deadline=None)
@given(tables(), SHARES, st.just(0.0) | SHARES, st.integers(0, 2**32 - 1))
def test_drawn_splits_keep_what_they_promise(table, query, val, seed):
    labels, digests, groups = table
    try:
        splits = draw_splits(labels, [digests, groups], query, val, seed)
    except HashzooError as error:
        assert str(error).startswith(("no rows are left to train on", f"{labels.sum()} rows with labels in"))  # noqa: PT017
        return
    splits.check(len(labels))
    labelled = np.flatnonzero(labels.any(axis=1))
    assert sorted([*splits.query, *splits.database]) == labelled.tolist()
    assert sorted([*splits.train, *splits.val]) == splits.database.tolist()
    assert len(splits.query) <= max(1, round(query * len(labelled)))
    assert len(splits.val) <= max(1, round(val * len(splits.database))) * (val > 0)
    assert repeats(splits, digests, groups) == []
    again = draw_splits(labels, [digests, groups], query, val, seed)
    assert (again.digest(), again.rule) == (splits.digest(), splits.rule)


@pytest.mark.parametrize(("query", "expected"), [(0.2, 40), (0.001, 1), (1, 1), (30, 30)])
def test_without_groups_a_share_or_number_is_met_exactly(query, expected):
    labels = np.ones((200, 1), dtype=bool)
    splits = draw_splits(labels, [], query, 0.1, 0)
    assert (len(splits.query), len(splits.val)) == (expected, round(0.1 * (200 - expected)))
    assert draw_splits(labels, [], query, 0.1, 1).digest() != splits.digest()


def test_the_draw_is_the_same_in_every_release():
    splits = draw_splits(np.ones((12, 1), dtype=bool), [], 4, 2, 7)
    assert (splits.query.tolist(), splits.val.tolist()) == ([3, 4, 6, 11], [9, 10])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 9), st.integers(-1, 9)), min_size=1, max_size=40))
def test_rows_are_connected_as_a_search_connects_them(pairs):
    codes = [np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True)]
    group = connected(codes, len(pairs))
    reached = {0}
    while True:
        more = {
            row
            for row, pair in enumerate(pairs)
            for other in reached
            if any(a == b >= 0 for a, b in zip(pair, pairs[other], strict=True))
        }
        if more <= reached:
            break
        reached |= more
    assert np.flatnonzero(group == group[0]).tolist() == sorted(reached)
    assert sorted(set(group.tolist())) == list(range(group.max() + 1))


def test_a_long_chain_is_one_group():
    rows = np.arange(4000)
    assert connected([rows // 2, (rows + 1) // 2], 4000).max() == 0


def test_repeats_are_counted_for_each_split_and_nothing_else():
    def rows(*numbers: int) -> np.ndarray:
        return np.array(numbers, dtype=np.int64)

    digests = np.repeat(np.array([0, 1, 2, 0, 1, 5], dtype=np.uint8)[:, None], 32, axis=1)
    splits = Splits(train=rows(3), query=rows(0, 1), database=rows(3, 4), rule="by hand", val=rows(5))
    assert repeats(splits, digests, ["", "", "", "", "", ""]) == [
        "1 of 2 query rows have a picture that is also in 'train' (first: rows 0 and 3)",
        "2 of 2 query rows have a picture that is also in 'database' (first: rows 0 and 3)",
    ]
    assert repeats(splits, np.arange(192, dtype=np.uint8).reshape(6, 32), ["a", "b", "", "c", "", "b"]) == [
        "1 of 2 query rows have an id that is also in 'val' (first: rows 1 and 5)"
    ]


@pytest.mark.parametrize(
    ("lists", "train", "database"),
    [
        ({"test": [0], "train": [1, 2], "dev": [3]}, [1, 2], [1, 2, 3]),
        ({"query": [0], "database": [1, 2, 3], "val": [3]}, [1, 2], [1, 2, 3]),
        ({"query": [0], "retrieval": [1, 2, 3], "training": [2]}, [2], [1, 2, 3]),
    ],
)
def test_of_train_and_database_one_may_be_left_out(lists, train, database, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(lists))
    splits = splits_from_file(tmp_path / "s.json", None, 4)
    assert (splits.train.tolist(), splits.database.tolist()) == (train, database)
    splits.check(4)
