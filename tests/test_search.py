"""Every index keeps the contract; the exact one agrees with a slow oracle, whatever is added, removed and stored."""

from __future__ import annotations

import doctest
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashzoo import zoo
from hashzoo.codes import Codes, pack
from hashzoo.errors import HashzooError
from hashzoo.search import ExactIndex, Hits, Index

PAGE = Path(__file__).parents[1] / "docs" / "search.md"


def oracle(ids, ones, query, k):
    """(distance, id) of the k nearest rows of `ones`, (n, bits) bool."""
    return sorted(zip((ones != query).sum(axis=1).tolist(), np.asarray(ids).tolist(), strict=True))[:k]


def as_rows(hits):
    """Each query's (distance, id) pairs, after checking that nothing but -1 follows them."""
    assert hits.ids.dtype == np.int64
    assert hits.distances.dtype == np.int32
    assert hits.ids.shape == hits.distances.shape
    rows = []
    for ids, distances in zip(hits.ids.tolist(), hits.distances.tolist(), strict=True):
        found = ids.index(-1) if -1 in ids else len(ids)
        assert ids[found:] == distances[found:] == [-1] * (len(ids) - found)
        rows.append(list(zip(distances[:found], ids[:found], strict=True)))
    return rows


def few_codes(rng, rows, bits):
    """(rows, bits) bool with few distinct rows and small distances, so that ties abound."""
    ones = rng.random((4, bits)) > 0.5
    ones = ones[rng.integers(0, 4, rows)]
    ones[:, rng.integers(0, bits)] ^= rng.random(rows) > 0.5
    return ones


class SlowIndex(Index):
    """The contract with no tricks, and with a setting: what a plugin would write."""

    kind = "slow"
    exact = True

    def __init__(self, bits, most=100):
        super().__init__(bits, most=most)
        self.most = most
        self.stored = {}

    def __len__(self):
        return len(self.stored)

    def _add(self, codes, ids):
        self.stored |= dict(zip(ids.tolist(), codes.unpack(), strict=True))

    def _remove(self, ids):
        for number in ids.tolist():
            del self.stored[number]

    def _contains(self, ids):
        return np.array([number in self.stored for number in ids.tolist()], dtype=bool)

    def _search(self, queries, k):
        assert len(queries)
        assert 1 <= k <= len(self)
        ones = np.array(list(self.stored.values()))
        found = [oracle(list(self.stored), ones, query, min(k, self.most)) for query in queries.unpack()]
        return Hits(np.array(found)[:, :, 1], np.array(found)[:, :, 0])

    def _write(self, folder):
        codes = pack(np.array(list(self.stored.values())).reshape(len(self), self.bits))
        np.savez(folder / "all.npz", ids=np.array(list(self.stored), dtype=np.int64), data=codes.data)

    def _read(self, folder):
        with np.load(folder / "all.npz") as file:
            self._add(Codes(file["data"], self.bits), file["ids"])


both = pytest.mark.parametrize("make", [ExactIndex, SlowIndex])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([1, 7, 64, 65, 128, 129, 300]),
    st.integers(0, 40),
    st.integers(0, 5),
    st.integers(1, 45),
    st.integers(0, 2**32 - 1),
)
def test_the_exact_index_finds_what_the_oracle_finds(bits, rows, queries, k, seed):
    rng = np.random.default_rng(seed)
    ones, wanted = few_codes(rng, rows, bits), few_codes(rng, queries, bits)
    ids = rng.permutation(3 * rows)[:rows]
    index = ExactIndex(bits)
    index.add(pack(ones), ids)
    assert as_rows(index.search(pack(wanted), k)) == [oracle(ids, ones, query, k) for query in wanted]


IDS = st.lists(st.integers(0, 30), unique=True, max_size=12)
CALLS = st.one_of(
    st.tuples(st.sampled_from(["add", "remove"]), IDS),
    st.tuples(st.just("append"), st.integers(1, 9)),
    st.tuples(st.just("store"), st.none()),
)


@both
@settings(max_examples=60, deadline=None)
@given(calls=st.lists(CALLS, max_size=12), bits=st.sampled_from([3, 66]), seed=st.integers(0, 2**32 - 1))
def test_any_sequence_of_calls_does_what_it_does_to_a_dict(make, calls, bits, seed, tmp_path_factory):
    rng, index, model = np.random.default_rng(seed), make(bits), {}
    folder = tmp_path_factory.mktemp("indexes")
    for name, value in calls:
        if name in ("add", "append"):
            start = max(model, default=-1) + 1
            ids = list(range(start, start + value)) if name == "append" else value
            ones = few_codes(rng, len(ids), bits)
            index.add(pack(ones), ids)
            model |= dict(zip(ids, ones, strict=True))
        elif name == "remove" and set(value) <= model.keys():
            index.remove(value)
            model = {number: one for number, one in model.items() if number not in value}
        elif name == "remove":
            with pytest.raises(HashzooError, match=r"nothing was removed"):
                index.remove(value)
        else:
            index.save(folder)
            index = make.load(folder)
        assert len(index) == len(model)
        assert index.contains(range(40)).tolist() == [number in model for number in range(40)]
        queries = few_codes(rng, 2, bits)
        ones = np.array(list(model.values())).reshape(-1, bits)
        for k in (1, 50):
            assert as_rows(index.search(pack(queries), k)) == [oracle(list(model), ones, query, k) for query in queries]


@both
def test_an_empty_index_and_no_queries(make):
    index = make(9)
    nothing = pack(np.zeros((0, 9)))
    assert as_rows(index.search(pack(np.ones((2, 9))), 3)) == [[], []]
    index.add(nothing, [])
    index.remove([])
    assert len(index) == 0
    index.add(pack(np.ones((1, 9))), [4])
    assert index.search(nothing, 3).ids.shape == (0, 3)
    assert index.contains([3, 4]).tolist() == [False, True]
    index.remove([4])
    assert as_rows(index.search(pack(np.ones((1, 9))), 1)) == [[]]


@both
def test_arguments_are_neither_changed_nor_kept(make):
    index = make(8)
    codes, ids = pack(np.eye(8)[[3, 1, 2]]), np.array([3, 1, 2])
    data, numbers = codes.data.copy(), ids.copy()
    index.add(codes, ids)
    index.search(codes, 2)
    index.contains(ids)
    np.testing.assert_array_equal(codes.data, data)
    np.testing.assert_array_equal(ids, numbers)
    query = codes[:1].data.copy()
    codes.data[:], ids[:] = 0, 0
    assert as_rows(index.search(Codes(query, 8), 1)) == [[(0, 3)]]


@both
@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda index: index.add(np.ones((1, 8)), [1]), "not ndarray; make them with hashzoo.pack"),
        (lambda index: index.add(pack(np.ones((1, 9))), [1]), "codes of 8 bits, these have 9"),
        (lambda index: index.add(pack(np.ones((2, 8))), [1]), "2 codes came with 1 ids"),
        (lambda index: index.add(pack(np.ones((2, 8))), [6, 6]), "id 6 is given twice"),
        (lambda index: index.add(pack(np.ones((2, 8))), [6, -1]), "from 0 to"),
        (lambda index: index.add(pack(np.ones((2, 8))), np.array([6, 2**63], dtype=np.uint64)), "from 0 to"),
        (lambda index: index.add(pack(np.ones((1, 8))), [6.0]), "whole numbers, not 1-D float64"),
        (lambda index: index.add(pack(np.ones((1, 8))), [True]), "whole numbers, not 1-D bool"),
        (lambda index: index.add(pack(np.ones((1, 8))), ["a"]), "whole numbers"),
        (lambda index: index.add(pack(np.ones((1, 8))), [[6]]), "not 2-D int64"),
        (lambda index: index.add(pack(np.ones((1, 8))), [[6], [7, 8]]), "whole numbers"),
        (lambda index: index.add(pack(np.ones((1, 8))), 6), "not 0-D"),
        (lambda index: index.remove([5, 7]), "id 7 is not in the index, so nothing was removed"),
        (lambda index: index.remove([8, 5, 7]), "id 8 and 1 more are not in the index"),
        (lambda index: index.remove([5, 5]), "id 5 is given twice"),
        (lambda index: index.search(np.ones((1, 8)), 1), "not ndarray"),
        (lambda index: index.search(pack(np.ones((1, 7))), 1), "these have 7"),
        *(
            (lambda index, k=k: index.search(pack(np.ones((1, 8))), k), "k, the number")
            for k in (0, -1, 1.0, True, "1")
        ),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence_and_change_nothing(make, call, reason):
    index = make(8)
    index.add(pack(np.ones((1, 8))), [5])
    with pytest.raises(HashzooError, match=reason) as refused:
        call(index)
    assert (refused.value.exit_code, "\n" in str(refused.value)) == (2, False)
    assert as_rows(index.search(pack(np.ones((1, 8))), 2)) == [[(0, 5)]]


@both
@pytest.mark.parametrize("bits", [0, 4097, 8.0, True, None])
def test_an_index_of_no_length_is_refused(make, bits):
    with pytest.raises(HashzooError, match="1 to 4096 bits"):
        make(bits)


def stored(make, folder, ids=(2, 1), **given):
    index = make(8, **given)
    index.add(pack(np.eye(8)[: len(ids)]), ids)
    index.save(folder)
    return index


def test_settings_are_stored_and_given_again(tmp_path):
    stored(SlowIndex, tmp_path / "a", most=1)
    loaded = SlowIndex.load(tmp_path / "a")
    assert (loaded.bits, loaded.settings) == (8, {"most": 1})
    assert as_rows(loaded.search(pack(np.eye(8)[:1]), 2)) == [[(0, 2)]]


def test_a_save_replaces_the_last_one_while_that_is_in_use(tmp_path):
    stored(ExactIndex, tmp_path)
    old = ExactIndex.load(tmp_path)
    (tmp_path / "content-of-a-save-that-was-killed").mkdir()
    stored(ExactIndex, tmp_path, ids=[7, 8, 9])
    assert as_rows(old.search(pack(np.eye(8)[:1]), 1)) == [[(0, 2)]]
    assert len(ExactIndex.load(tmp_path)) == 3
    assert len(list(tmp_path.glob("content-*"))) == 1


def test_a_save_that_fails_leaves_the_last_one(tmp_path, monkeypatch):
    index = stored(ExactIndex, tmp_path)
    index.add(pack(np.ones((1, 8))), [9])

    def interrupted(*_):
        raise KeyboardInterrupt

    for place in ("hashzoo.search.base.write_json", "hashzoo.search.exact.np.save"):
        with monkeypatch.context() as patch:
            patch.setattr(place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                index.save(tmp_path)
        assert len(ExactIndex.load(tmp_path)) == 2
        assert len(list(tmp_path.glob("content-*"))) == 1


def test_an_index_that_is_replaced_while_it_is_loaded_is_read_again(tmp_path, monkeypatch):
    stored(ExactIndex, tmp_path)
    read = ExactIndex._read

    def late(index, folder):
        monkeypatch.setattr(ExactIndex, "_read", read)
        stored(ExactIndex, tmp_path, ids=[7, 8, 9])
        read(index, folder)

    monkeypatch.setattr(ExactIndex, "_read", late)
    assert len(ExactIndex.load(tmp_path)) == 3


def edited(**fields):
    def edit(folder):
        path = folder / "hashzoo-index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return edit


def cut(name):
    def edit(folder):
        (path,) = folder.glob(f"content-*/{name}")
        path.write_bytes(path.read_bytes()[:-1])

    return edit


def flipped(folder):
    (path,) = folder.glob("content-*/codes.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\7")


@pytest.mark.parametrize(
    ("damage", "reason", "code"),
    [
        (lambda folder: (folder / "hashzoo-index.json").unlink(), "there is no index in", 2),
        (lambda folder: (folder / "hashzoo-index.json").write_text("{"), "cannot be read as JSON", 1),
        (lambda folder: (folder / "hashzoo-index.json").write_text("[1]"), "was not written by an index", 2),
        (edited(format=99), "has format 99", 2),
        (edited(kind="other"), "of the kind 'other', not 'exact'", 2),
        (edited(bits=7), "does not match its digest", 1),
        (edited(settings={"lists": 4}), "does not match its digest", 1),
        (flipped, "codes.npy does not match its digest", 1),
        (cut("ids.npy"), "ids.npy does not match its digest", 1),
        (lambda folder: next(folder.glob("content-*/ids.npy")).unlink(), "is damaged", 1),
    ],
)
def test_damaged_and_foreign_folders_are_refused(damage, reason, code, tmp_path):
    stored(ExactIndex, tmp_path)
    damage(tmp_path)
    with pytest.raises(HashzooError, match=reason) as refused:
        ExactIndex.load(tmp_path)
    assert (refused.value.exit_code, "\n" in str(refused.value)) == (code, False)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(HashzooError, match=r"holds thesis.tex, no part of an index"):
        ExactIndex(8).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(HashzooError, match="cannot be written"):
        ExactIndex(8).save(tmp_path / "thesis.tex")


def test_the_exact_index_can_be_searched_while_a_thread_changes_it():
    """All codes are 0 or all are 1, and a search in between must not see some of each."""
    ids, index = np.arange(4000), ExactIndex(128)
    states = [pack(np.full((4000, 128), bit)) for bit in (False, True)]
    index.add(states[0], ids)
    stop = threading.Event()

    def change():
        while not stop.is_set():
            index.add(states[1], ids)
            index.remove(ids[:2000])
            index.add(states[0][2000:], ids[2000:])
            index.add(states[0][:2000], ids[:2000])

    with ThreadPoolExecutor(1) as pool:
        changes, seen = pool.submit(change), set()
        try:
            for _ in range(300):
                (found,) = as_rows(index.search(states[0][0], 4000))
                seen.add((len(found), *{distance for distance, _ in found}))
        finally:
            stop.set()
        changes.result()
    assert seen <= {(4000, 0), (4000, 128), (2000, 128), (2000, 0)}
    assert len(seen) > 1


def test_codes_that_a_thread_removes_while_a_search_begins_are_not_found(monkeypatch):
    monkeypatch.setattr(ExactIndex, "__len__", lambda _: 2)
    assert as_rows(ExactIndex(8).search(pack(np.ones((2, 8))), 3)) == [[], []]


def test_the_names_of_the_built_in_indexes_are_their_kinds():
    found = zoo.load()
    for name in found.plugins[0].names("index"):
        plugin, part = found.find("index", name)
        assert zoo.resolve_target(plugin, part.target).kind == name
    assert "exact" in found.plugins[0].names("index")


def test_the_examples_of_the_page_run():
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    test = doctest.DocTestParser().get_doctest("".join(examples), {}, PAGE.name, str(PAGE), 0)
    told = []
    assert doctest.DocTestRunner(verbose=False).run(test, out=told.append).failed == 0, "".join(told)
    assert len(test.examples) > 5
