"""Exact search agrees with brute force for any length, number of rows, k, radius, subset and number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashzoo import scan
from hashzoo.codes import Codes, pack
from hashzoo.errors import HashzooError
from hashzoo.search import nearest, topk, within


def oracle(queries, database):
    """(Q, N) rows, nearest first, ties in row order, and their distances."""
    distances = np.array([(database != query).sum(axis=1) for query in queries]).reshape(len(queries), len(database))
    order = np.array([np.lexsort((np.arange(len(database)), row)) for row in distances], dtype=int)
    order = order.reshape(distances.shape)
    return order, np.take_along_axis(distances, order, 1)


def some_codes(rng, rows, bits):
    """(rows, bits) bool, in part with few distinct rows and small distances, so that ties abound."""
    ones = rng.random((rows, bits)) > 0.5
    if rng.random() < 0.7:
        ones = ones[rng.integers(0, min(rows, 4), rows)] if rows else ones
        ones[:, rng.integers(0, bits)] ^= rng.random(rows) > 0.5
    return ones


def check(queries, database, k, radius, allowed=None, packed=None):
    rows = np.arange(len(database)) if allowed is None else np.unique(np.arange(len(database))[allowed])
    order, far = oracle(queries, database[rows])
    stored = packed if packed is not None else pack(database)
    best, distances = nearest(pack(queries), stored, k, allowed)
    found = min(k, len(rows))
    assert (best.dtype, distances.dtype) == (np.int64, np.int32)
    assert best.shape == distances.shape == (len(queries), k)
    np.testing.assert_array_equal(best[:, :found], rows[order[:, :k]] if len(rows) else best[:, :0])
    np.testing.assert_array_equal(distances[:, :found], far[:, :k])
    assert (best[:, found:] == -1).all()
    assert (distances[:, found:] == -1).all()
    offsets, best, distances = within(pack(queries), stored, radius, allowed)
    assert (offsets.dtype, best.dtype, distances.dtype) == (np.int64, np.int64, np.int32)
    np.testing.assert_array_equal(np.diff(offsets), (far <= radius).sum(axis=1))
    np.testing.assert_array_equal(best, np.broadcast_to(rows, far.shape)[0][order[far <= radius]] if far.size else [])
    np.testing.assert_array_equal(distances, far[far <= radius])


@settings(max_examples=100, deadline=None)
@given(
    bits=st.one_of(st.sampled_from([1, 8, 16, 32, 48, 63, 64, 65, 96, 128, 129, 192, 256]), st.integers(1, 320)),
    rows=st.one_of(st.integers(0, 10), st.integers(0, 400)),
    queries=st.integers(0, 5),
    k=st.one_of(st.integers(1, 5), st.integers(1, 500)),
    radius=st.one_of(st.integers(0, 40), st.integers(0, 400)),
    subset=st.sampled_from(["all", "mask", "numbers"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_case_is_what_brute_force_finds(bits, rows, queries, k, radius, subset, seed):
    rng = np.random.default_rng(seed)
    allowed = None
    if subset == "mask":
        allowed = rng.random(rows) < rng.random()
    elif subset == "numbers":
        allowed = rng.integers(0, rows, rng.integers(0, 2 * rows)) if rows else np.empty(0, dtype=int)
    check(some_codes(rng, queries, bits), some_codes(rng, rows, bits), k, radius, allowed)


@pytest.mark.parametrize("bits", [64, 100, 128])
@pytest.mark.parametrize("order", ["random", "ever nearer", "all the same"])
@pytest.mark.parametrize("k", [1, 10, 1000, 9000])
def test_many_codes_of_which_candidates_must_be_dropped(order, k, bits):
    rng = np.random.default_rng(k)
    ones, queries = rng.random((9000, bits)) > 0.5, np.zeros((1, bits), dtype=bool)
    if order == "ever nearer":
        ones = ones[np.argsort(-ones.sum(axis=1), kind="stable")]
    elif order == "all the same":
        ones[:] = ones[0]
    check(queries, ones, k, bits // 3)  # one query and two: rows of two words are read in different ways
    check(np.repeat(queries, 2, axis=0), ones, k, bits // 3)


@pytest.mark.parametrize("bits", [3000, 4096])
def test_the_longest_codes(bits):
    rng = np.random.default_rng(0)
    ones = some_codes(rng, 300, bits)
    queries = np.concatenate([ones[:69], ~ones[:1]])
    check(queries, ones, 3, bits // 2)
    check(queries[-1:], ones, 300, bits)


@pytest.mark.parametrize("queries", [1, 7, 200])
@pytest.mark.parametrize("rows", [3, 301])
def test_results_do_not_depend_on_the_number_of_threads(queries, rows, monkeypatch):
    rng = np.random.default_rng(rows)
    ones, wanted = some_codes(rng, rows, 20), some_codes(rng, queries, 20)
    calls = []
    plain = scan.top_k
    monkeypatch.setattr(topk, "SERIAL_WORK", 0)
    monkeypatch.setattr(scan, "top_k", lambda *a: (calls.append(a), plain(*a)))
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr("numba.get_num_threads", lambda threads=threads: threads)
        calls.clear()
        check(wanted, ones, 150, 9)
        check(wanted, ones, 150, 9, allowed=np.arange(rows) % 3 > 0)
        assert len(calls) >= min(threads, 2)


@pytest.mark.parametrize("bits", [64, 128, 72])
def test_a_database_mapped_from_a_file_is_read_where_it_lies(bits, tmp_path):
    rng = np.random.default_rng(bits)
    ones = some_codes(rng, 500, bits)
    np.save(tmp_path / "codes.npy", pack(ones).data)
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    data, _, _ = topk._prepared(pack(ones[:1]), mapped, None)
    assert np.shares_memory(data, mapped)
    check(ones[:3], ones, 20, 10, packed=mapped)
    check(ones[:3], ones[100:], 20, 10, packed=mapped[100:])
    check(ones[:3], ones[::2], 20, 10, packed=mapped[::2])
    odd = np.frombuffer(b"1" + mapped.tobytes(), dtype=np.uint8, offset=1).reshape(mapped.shape)  # not aligned
    check(ones[:3], ones, 20, 10, packed=odd)


def test_the_result_is_all_that_grows_with_the_queries():
    import tracemalloc

    database = Codes(np.random.default_rng(0).integers(0, 256, (40_000, 8), dtype=np.uint8), 64)
    peaks = []
    for count in (64, 6400):
        queries = Codes(np.resize(database.data, (count, 8)), 64)
        nearest(queries[:64], database, 3)
        tracemalloc.start()
        nearest(queries, database, 3)
        peaks.append(tracemalloc.get_traced_memory()[1] - count * 3 * 12)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 6400 * 3 * 40  # 400 million distances were computed


CODES, QUERY = pack(np.ones((5, 8))), pack(np.ones((1, 8)))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        *((lambda k=k: nearest(QUERY, CODES, k), "k, the number of hits") for k in (0, -1, 1.0, True, "1")),
        *((lambda r=r: within(QUERY, CODES, r), "a radius is a whole number from 0") for r in (-1, 1.0, True)),
        (lambda: nearest(pack(np.ones((1, 9))), CODES, 1), "queries have 9 bits and the database 8"),
        (lambda: nearest(QUERY, np.ones((5, 2), dtype=np.uint8), 1), r"a \(rows, 1\) uint8 array, not \(5, 2\) uint8"),
        (lambda: nearest(QUERY, np.ones((5, 1)), 1), "not .* float64"),
        (lambda: nearest(QUERY, CODES, 1, [5]), "from 0 to 4"),
        (lambda: nearest(QUERY, CODES, 1, [-1]), "from 0 to 4"),
        (lambda: nearest(QUERY, CODES, 1, [1.0]), "float64; give one"),
        (lambda: nearest(QUERY, CODES, 1, [True, False]), r"\(5,\) bool"),
        (lambda: within(QUERY, CODES, 1, [[1]]), "1-D array of row numbers"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(call, reason):
    with pytest.raises(HashzooError, match=reason) as refused:
        call()
    assert (refused.value.exit_code, "\n" in str(refused.value)) == (2, False)
