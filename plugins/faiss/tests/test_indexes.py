"""The indexes of FAISS against the exact index of hashzoo, whatever is added, replaced, removed and stored."""

from __future__ import annotations

import re
from pathlib import Path

import faiss
import numpy as np
import pytest
from hashzoo_faiss.flat import FlatIndex
from hashzoo_faiss.graph import HnswIndex
from hashzoo_faiss.ivf import IvfIndex
from hashzoo_faiss.tables import MultiHashIndex
from hypothesis import given, settings
from hypothesis import strategies as st

from hashzoo import zoo
from hashzoo.codes import pack
from hashzoo.search import ExactIndex
from hashzoo.settings import keywords

README = Path(__file__).parents[1] / "README.md"
every = pytest.mark.parametrize("kind", [FlatIndex, IvfIndex, HnswIndex, MultiHashIndex])


def few_codes(rng, rows, bits):
    """(rows, bits) bool with few distinct rows and small distances, so that ties abound."""
    ones = rng.random((4, bits)) > 0.5
    ones = ones[rng.integers(0, 4, rows)]
    ones[:, rng.integers(0, bits)] ^= rng.random(rows) > 0.5
    return ones


def clusters(rows, bits, seed):
    """(rows, bits) bool about 20 centres, the same for every seed."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).random((20, bits)) > 0.5
    return centres[rng.integers(0, 20, rows)] ^ (rng.random((rows, bits)) < 0.06)


def changed(index, twin, bits, rng, steps=6):
    """Do the same to two indexes: codes come under new and present ids, in any order, and go."""
    for _ in range(steps):
        ids = rng.permutation(200)[: rng.integers(1, 60)]
        codes = pack(few_codes(rng, len(ids), bits))
        for one in (index, twin):
            one.add(codes, ids)
        present = np.flatnonzero(twin.contains(np.arange(200)))
        gone = rng.permutation(present)[: rng.integers(0, len(present) // 2 + 1)]
        for one in (index, twin):
            one.remove(gone)
        assert len(index) == len(twin)
        assert np.array_equal(index.contains(np.arange(200)), twin.contains(np.arange(200)))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1, 7, 64, 65, 100, 128]), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_flat_is_the_exact_index(bits, k, seed):
    rng = np.random.default_rng(seed)
    index, twin = FlatIndex(bits), ExactIndex(bits)
    changed(index, twin, bits, rng)
    queries = pack(few_codes(rng, 5, bits))
    ours, theirs = index.search(queries, k), twin.search(queries, k)
    assert np.array_equal(ours.ids, theirs.ids)
    assert np.array_equal(ours.distances, theirs.distances)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 100, 4000])
def test_flat_settles_ties_by_the_smaller_id_on_any_number_of_threads(threads, k):
    rng = np.random.default_rng(k)
    codes, ids = pack(few_codes(rng, 5000, 64)), rng.permutation(10000)[:5000]
    index, twin = FlatIndex(64), ExactIndex(64)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        for one in (index, twin):
            one.add(codes, ids)
        assert np.array_equal(index.search(codes[:40], k).ids, twin.search(codes[:40], k).ids)
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize(
    "index",
    [IvfIndex(30, nprobe=1000), HnswIndex(30, ef_search=400), MultiHashIndex(30, nhash=1, b=30, nflip=2)],
    ids=lambda index: index.kind,
)
@pytest.mark.parametrize("seed", range(5))
def test_an_index_that_may_look_everywhere_finds_the_nearest_after_every_change(index, seed):
    rng = np.random.default_rng(seed)
    index, twin = type(index)(index.bits, **index.settings), ExactIndex(index.bits)
    changed(index, twin, index.bits, rng)
    codes = few_codes(rng, 5, index.bits)
    for k in (1, 8, 40):
        found, wanted = index.search(pack(codes), k), twin.search(pack(codes), k)
        if index.kind == "faiss-multihash":  # one table of the whole code
            wanted.distances[wanted.distances > 2] = -1
        assert np.array_equal(found.distances, wanted.distances)


@every
def test_codes_that_are_removed_again_and_again_leave_an_index_that_is_searched_alike(kind):
    rng, bits = np.random.default_rng(0), 64
    ones = rng.random((600, bits)) > 0.5
    index = kind(bits)
    for start in range(0, 600, 100):
        index.add(pack(ones[start : start + 100]), np.arange(start, start + 100))
        index.remove(np.arange(start, start + 90))
    left = np.arange(600)[np.arange(600) % 100 >= 90]
    found = index.search(pack(ones[left]), 1)
    assert np.array_equal(found.ids[:, 0], left)
    assert not found.distances.any()
    assert not np.isin(index.search(pack(ones), 60).ids, np.setdiff1d(np.arange(600), left)).any()


@every
def test_an_index_without_codes_is_saved_and_can_be_filled(kind, tmp_path):
    kind(20).save(tmp_path)
    loaded = kind.load(tmp_path)
    assert not len(loaded)
    loaded.add(pack(np.eye(20)), np.arange(20))
    loaded.remove(np.arange(20))
    loaded.save(tmp_path)
    loaded = kind.load(tmp_path)
    assert not len(loaded)
    loaded.add(pack(np.eye(20)), np.arange(20))
    assert np.array_equal(loaded.search(pack(np.eye(20)), 1).ids[:, 0], np.arange(20))


def test_the_lists_are_learnt_again_as_codes_come():
    index, ones = IvfIndex(64), clusters(3000, 64, seed=1)
    seen = []
    for start in range(0, 3000, 100):
        index.add(pack(ones[start : start + 100]), np.arange(start, start + 100))
        seen.append(index.inner.nlist)
    assert seen[0] == 2
    assert seen == sorted(seen)
    assert 27 <= seen[-1] <= 54
    assert len(set(seen)) < 7  # not at every call
    fixed = IvfIndex(64, nlist=5)
    fixed.add(pack(ones[:78]), np.arange(78))
    assert fixed.inner.nlist == 2
    fixed.add(pack(ones[78:]), np.arange(78, 3000))
    assert fixed.inner.nlist == 5
    assert np.array_equal(fixed.search(pack(ones[::100]), 1).distances, np.zeros((30, 1)))


def test_more_probes_find_more():
    ones, queries = clusters(4000, 64, seed=1), clusters(50, 64, seed=2)
    twin = ExactIndex(64)
    twin.add(pack(ones), np.arange(4000))
    farthest = twin.search(pack(queries), 10).distances[:, -1:]
    recall = []
    for nprobe in (1, 4, 63):
        index = IvfIndex(64, nprobe=nprobe)
        index.add(pack(ones), np.arange(4000))
        found = index.search(pack(queries), 10).distances
        recall.append(((found >= 0) & (found <= farthest)).mean())
    assert recall[0] < recall[1] <= recall[2] == 1


def test_all_within_the_radius_of_the_tables_are_found():
    rng = np.random.default_rng(0)
    query = rng.random(64) > 0.5
    ones = np.tile(query, (400, 1))
    for row, code in enumerate(ones):
        code[rng.permutation(64)[: row % 20]] ^= True
    index = MultiHashIndex(64, b=16, nflip=1)  # four tables: all within 4 * 2 - 1 bits
    index.add(pack(ones), np.arange(400))
    found = index.search(pack(query[None]), 400)
    assert set(np.flatnonzero(np.arange(400) % 20 <= 7)) <= set(found.ids[0].tolist())


@pytest.mark.parametrize("kind", [HnswIndex, MultiHashIndex])
def test_a_query_is_answered_alike_alone_and_among_others_where_rows_are_dead(kind):
    ones, queries = clusters(500, 64, seed=1), pack(clusters(30, 64, seed=2))
    index = kind(64)
    index.add(pack(ones), np.arange(500))
    index.remove(np.arange(0, 500, 6))
    assert index.dead
    together = index.search(queries, 20)
    for query in range(30):
        assert np.array_equal(index.search(queries[query], 20).ids[0], together.ids[query])


@pytest.mark.parametrize("kind", [HnswIndex, MultiHashIndex])
def test_dead_rows_are_dropped_before_they_are_many(kind, tmp_path):
    codes = pack(np.random.default_rng(0).random((100, 64)) > 0.5)
    index = kind(64)
    index.add(codes, np.arange(100))
    index.remove(np.arange(20))
    assert (index.inner.ntotal, len(index)) == (100, 80)
    index.save(tmp_path)
    loaded = kind.load(tmp_path)
    assert (loaded.inner.ntotal, len(loaded), loaded.dead) == (100, 80, 20)
    assert np.array_equal(loaded.search(codes, 5).ids, index.search(codes, 5).ids)
    index.remove([20])
    assert (index.inner.ntotal, len(index), index.dead) == (79, 79, 0)


@pytest.mark.parametrize(
    ("kind", "setting", "said"),
    [
        (IvfIndex, {"nlist": -1}, "nlist is a whole number from 0"),
        (IvfIndex, {"nprobe": 0}, "nprobe is a whole number from 1"),
        (HnswIndex, {"m": 1}, "m is a whole number from 2"),
        (HnswIndex, {"ef_search": True}, "ef_search is a whole number from 1"),
        (MultiHashIndex, {"b": 64}, "b is at most 63 bits"),
        (MultiHashIndex, {"nhash": 5, "b": 16}, "5 parts of 16 bits are more than the 64 bits"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(kind, setting, said):
    with pytest.raises(ValueError, match=said):
        kind(64, **setting)


@every
def test_a_file_of_another_index_is_damage(kind, tmp_path):
    index = kind(64)
    index.add(pack(np.eye(64)), np.arange(64))
    content = tmp_path / "content"
    content.mkdir()
    index._write(content)
    other = faiss.IndexBinaryHash(64, 8)
    other.add(np.zeros((64, 8), dtype=np.uint8))
    faiss.write_index_binary(other, str(content / "codes.faiss"))
    with pytest.raises(ValueError, match=r"codes.faiss holds IndexBinaryHash of 64 bits"):
        kind(64)._read(content)


@every
def test_the_readme_names_every_setting_with_its_default(kind):
    text = README.read_text(encoding="utf-8")
    assert f"`{kind.kind}`" in text
    assert zoo.resolve_target(*resolved(kind.kind)) is kind
    for name, parameter in keywords(kind, ["bits"]).items():
        assert re.search(rf"`{name}` \({parameter.default}\)", text), name


def resolved(name):
    plugin, part = zoo.load().find("index", name)
    return plugin, part.target
