"""Checks of indexes: on a few hundred drawn codes, against numpy."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hashzoo.codes import Codes, pack
from hashzoo.errors import HashzooError, one_line
from hashzoo.search import Hits, Index
from hashzoo.settings import keywords
from hashzoo.testing.kit import Subject, check

LENGTHS = 1, 7, 8, 64, 65, 128, 512  # inside and at the ends of bytes and words; distances that need two bytes
USUAL = 64, 32, 128, 16  # of which an index takes one at least; all other checks use the first that it takes
LARGE = 2**63 - 1, 2**53 + 1, 2**53, 2**40, 2**32, 2**31  # ids that narrower integers and floats confuse
ROWS = 40  # of distinct codes
CLUSTERS, MEMBERS = 20, 20
NEAREST = 10
THREADS, ROUNDS = 4, 5


def distinct(bits: int, rows: int = ROWS, seed: int = 0) -> Codes:
    """Random codes of which no two are equal; `bits` is 16 or more."""
    drawn = np.random.default_rng(seed)
    ones = np.unique(drawn.random((2 * rows, bits)) > 0.5, axis=0)
    return pack(drawn.permutation(ones)[:rows])


def clustered(bits: int, rows: int, seed: int) -> Codes:
    """Codes about 20 centres, from which each bit departs once in 20; two seeds draw other codes about the same."""
    centres = np.random.default_rng(0).random((CLUSTERS, bits)) > 0.5
    drawn = np.random.default_rng(seed)
    return pack(centres[np.arange(rows) % CLUSTERS] ^ (drawn.random((rows, bits)) < 0.05))


def some_ids(rows: int, seed: int = 0) -> np.ndarray:
    """(rows,) int64: with gaps, in no order."""
    return 3 * np.random.default_rng(seed).permutation(rows) + 7


def hamming(queries: Codes, codes: Codes) -> np.ndarray:
    """(Q, N) int64."""
    return np.bitwise_count(queries.data[:, None] ^ codes.data).sum(axis=2, dtype=np.int64)


def usual_length(subject: Subject) -> int | None:
    """The length that the checks use, None where the index can be built with none."""
    for bits in USUAL:
        with contextlib.suppress(Exception):
            subject.target()(bits)
            return bits
    return None


def no_index(subject: Subject) -> str:
    """Why nothing but its class can be looked at."""
    target = subject.target()
    return "" if isinstance(target, type) and issubclass(target, Index) else "it is no subclass of hashzoo.Index"


def not_built(subject: Subject) -> str:
    """Why there is no index to be filled."""
    if usual_length(subject) is None:
        return no_index(subject) or f"it can be built with none of {', '.join(map(str, USUAL))} bits"
    return no_index(subject)


def make(subject: Subject) -> Index:
    """An empty index with its default settings."""
    return subject.target()(usual_length(subject))


def assert_holds(index: Index, codes: Codes, ids: np.ndarray, when: str) -> None:
    """That an index has these distinct codes under these ids, no others, and finds each."""
    assert len(index) == len(ids), f"{when} its length is {len(index)}, not {len(ids)}"
    missed = ids[~index.contains(ids)]
    assert not len(missed), f"{when} it says that it does not contain id {missed[0]}"
    found = index.search(codes, 1).ids[:, 0]
    wrong = np.flatnonzero(found != ids)
    assert not len(wrong), (
        f"{when} a search for the very code that is stored under id {ids[wrong[0]]} finds id {found[wrong[0]]}"
    )


def assert_refused(call: Callable[[], object], what: str) -> None:
    """That a call raises HashzooError."""
    try:
        call()
    except HashzooError:
        return
    except Exception as error:
        raise AssertionError(f"{what} raises {type(error).__name__}; raise HashzooError with one sentence") from error
    raise AssertionError(f"{what} is taken; raise HashzooError with one sentence")


def same(first: Hits, second: Hits) -> bool:
    return np.array_equal(first.ids, second.ids) and np.array_equal(first.distances, second.distances)


@check("index")
def check_kind_is_the_registered_name(subject: Subject) -> None:
    """It is a subclass of Index, and its `kind`, by which stored indexes are told apart, is its registered name."""
    assert not no_index(subject), no_index(subject)
    kind = getattr(subject.target(), "kind", None)
    assert kind == subject.name, f"its kind is {kind!r}; write kind = {subject.name!r}"


@check("index", unless=no_index)
def check_a_length_is_held_or_refused_at_once(subject: Subject) -> None:
    """Codes of any length are told apart to the last bit, or the constructor refuses the length with HashzooError."""
    for bits in LENGTHS:
        try:
            index = subject.target()(bits)
        except HashzooError:
            continue
        except Exception as error:
            raise AssertionError(
                f"it cannot be built for {bits} bits ({one_line(error)}); raise HashzooError for a length that it "
                f"cannot hold, and give every other parameter a default"
            ) from error
        ones = np.random.default_rng(bits).random((12, bits)) > 0.5
        twins = ones.copy()
        twins[:, -1] ^= True
        codes = pack(np.concatenate([~ones, twins, ones]))
        index.add(codes, np.arange(len(codes)))
        for query, found in enumerate(index.search(codes, 1).ids[:, 0].tolist()):
            assert 0 <= found < len(codes), f"with {bits} bits a code that is stored is not found"
            apart = hamming(codes[query], codes[found]).item()
            assert not apart, f"with {bits} bits a search for a code that is stored finds one at a distance of {apart}"
    assert usual_length(subject), f"it takes none of {', '.join(map(str, USUAL))} bits; one of them is demanded"


@check("index", unless=not_built)
def check_hits_are_in_order_with_true_distances(subject: Subject) -> None:
    """Hits are (Q, k) int64 ids and int32 distances, nearest first, each the Hamming distance, and end in -1 and -1."""
    index = make(subject)
    codes, ids = clustered(index.bits, 3 * CLUSTERS, seed=1), some_ids(3 * CLUSTERS)
    queries = pack(np.concatenate([clustered(index.bits, 5, seed=2).unpack(), ~codes[:5].unpack()]))
    for stored in (0, len(ids)):
        index.add(codes[:stored], ids[:stored])
        for some, k in ((queries, 1), (queries, NEAREST), (queries, stored + 5), (queries[:0], NEAREST)):
            hits, said = index.search(some, k), f"{len(some)} queries for {k} hits among {stored} codes"
            for name, array, wanted in (("ids", hits.ids, np.int64), ("distances", hits.distances, np.int32)):
                assert (array.shape, array.dtype) == ((len(some), k), wanted), (
                    f"{said} give {name} {array.shape} {array.dtype}, not {(len(some), k)} {np.dtype(wanted)}"
                )
            for query, found, distances in zip(range(len(some)), hits.ids, hits.distances, strict=True):
                count = int(np.count_nonzero(found != -1))
                assert (found[count:] == -1).all(), f"{said} give a row with hits after an id of -1"
                assert (distances[count:] == -1).all(), f"{said} give the distance {distances[-1]} beside an id of -1"
                found, distances = found[:count], distances[:count]
                unknown = np.setdiff1d(found, ids[:stored])
                assert not len(unknown), f"{said} give id {unknown[0]}, which was not added"
                assert len(set(found.tolist())) == count, f"{said} give a row with an id twice"
                places = [ids.tolist().index(number) for number in found.tolist()]
                true = hamming(some[query], codes[places])[0]
                wrong = np.flatnonzero(true != distances)
                assert not len(wrong), (
                    f"{said} give {distances[wrong[0]]} as the distance of codes that differ in {true[wrong[0]]} bits"
                )
                assert (np.diff(distances) >= 0).all(), f"{said} give a row that is not sorted, nearest first"


@check("index", unless=not_built)
def check_the_nearest_are_found(subject: Subject) -> None:
    """An exact index finds the k nearest, ties by smaller id; any other finds half of the 10 nearest among clusters."""
    index = make(subject)
    rows = CLUSTERS * MEMBERS
    codes, ids, queries = clustered(index.bits, rows, seed=1), some_ids(rows), clustered(index.bits, 2 * CLUSTERS, 2)
    index.add(codes[: rows // 2], ids[: rows // 2])
    index.add(codes[rows // 2 :], ids[rows // 2 :])
    distances = hamming(queries, codes)
    if index.exact:
        for k in (1, NEAREST, rows):
            found = index.search(queries, k).ids
            for query, row in enumerate(found):
                order = np.lexsort((ids, distances[query]))[:k]
                wrong = np.flatnonzero(row != ids[order])
                assert not len(wrong), (
                    f"hit {wrong[0] + 1} of {k} is id {row[wrong[0]]} instead of {ids[order[wrong[0]]]}, the next by "
                    f"distance and then by id; say exact = False if that is meant to happen"
                )
        return
    found = index.search(queries, NEAREST).ids
    farthest = np.sort(distances, axis=1)[:, NEAREST - 1]
    near = [np.count_nonzero(np.isin(ids[distances[query] <= farthest[query]], row)) for query, row in enumerate(found)]
    recall = float(np.mean(near)) / NEAREST
    assert recall >= 0.5, (
        f"it finds {recall:.0%} of the {NEAREST} nearest of {rows} codes in {CLUSTERS} clusters; choose defaults that "
        f"find half of them"
    )


@check("index", unless=not_built)
def check_ids_are_those_given(subject: Subject) -> None:
    """Codes are found under the ids that they were added with, of any size up to 2^63 - 1, also after a load."""
    index = make(subject)
    ids = np.array([*LARGE, *some_ids(ROWS - len(LARGE))], dtype=np.int64)
    codes = distinct(index.bits)
    index.add(codes, ids)
    assert_holds(index, codes, ids, "with ids up to 2^63 - 1")
    strange = np.setdiff1d(np.concatenate([np.arange(3 * ROWS), ids[:3] - 2]), ids)
    strange = strange[index.contains(strange)]
    assert not len(strange), f"it says that it contains id {strange[0]}, which was not added"
    with tempfile.TemporaryDirectory() as folder:
        index.save(folder)
        assert_holds(type(index).load(folder), codes, ids, "with ids up to 2^63 - 1, after a load,")


@check("index", unless=not_built)
def check_an_added_id_is_replaced(subject: Subject) -> None:
    """A code that is added under an id that is present takes the place of the old one."""
    index = make(subject)
    codes, ids = distinct(index.bits, 2 * ROWS), some_ids(ROWS)
    old, new = codes[:ROWS], codes[ROWS:]
    index.add(old, ids)
    replaced = np.arange(ROWS) % 3 == 0
    index.add(new[replaced], ids[replaced])
    data = np.where(replaced[:, None], new.data, old.data)
    assert_holds(index, Codes(data, index.bits), ids, "after every third code was replaced")
    nearest = index.search(old[replaced], 1).distances[:, 0]
    assert nearest.all(), "after a code was replaced, a search for the old one still finds it"


@check("index", unless=not_built)
def check_removed_codes_are_gone(subject: Subject) -> None:
    """Removed codes are never found, others stay, an unknown id is an error that removes nothing, ids can come back."""
    index = make(subject)
    codes, ids = distinct(index.bits), some_ids(ROWS)
    index.add(codes, ids)
    gone = np.arange(ROWS) % 3 == 0
    index.remove(ids[gone])
    assert_holds(index, codes[~gone], ids[~gone], "after every third code was removed")
    assert not index.contains(ids[gone]).any(), f"it says that it contains id {ids[gone][0]}, which was removed"
    seen = np.intersect1d(index.search(codes, ROWS).ids, ids[gone])
    assert not len(seen), f"a search finds id {seen[0]}, which was removed"
    unknown = [ids[~gone][0], ids[gone][0]]
    assert_refused(lambda: index.remove(unknown), "the removal of an id that is present with one that is not")
    assert_holds(index, codes[~gone], ids[~gone], "after a removal that was refused")
    index.add(codes[gone], ids[gone])
    assert_holds(index, codes, ids, "after removed codes were added again")
    index.remove(ids)
    hits = index.search(codes, 1)
    assert not len(index), f"after everything was removed its length is {len(index)}"
    assert (hits.ids == -1).all(), f"after everything was removed a search finds id {hits.ids.max()}"


@check("index", unless=not_built)
def check_a_loaded_index_is_the_same(subject: Subject) -> None:
    """What `load` gives has the bits and settings of what was saved, answers identically and can be changed."""
    index = make(subject)
    codes, ids = distinct(index.bits, 2 * ROWS), some_ids(2 * ROWS)
    saved, more, fewer = slice(10, ROWS), slice(10, 2 * ROWS), slice(20, 2 * ROWS)
    lost = [name for name in keywords(type(index), ["bits"]) if name not in index.settings]
    assert not lost, f"its setting '{lost[0]}' is lost in a load; write super().__init__(bits, {lost[0]}={lost[0]})"
    index.add(codes[:ROWS], ids[:ROWS])
    index.remove(ids[:10])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "index"
        index.save(folder)
        loaded = type(index).load(folder)
        for said in ("bits", "settings"):
            first, second = getattr(index, said), getattr(loaded, said)
            assert first == second, f"{said} {first} came back from a load as {second}"
        assert same(index.search(codes, ROWS), loaded.search(codes, ROWS)), "after a load it gives other hits"
        try:
            loaded.add(codes[ROWS:], ids[ROWS:])
        except Exception as error:
            raise AssertionError(f"after a load no codes can be added ({one_line(error)})") from error
        assert_holds(loaded, codes[more], ids[more], "after a load and an addition")
        loaded.remove(ids[10:20])
        assert_holds(loaded, codes[fewer], ids[fewer], "after a load and a removal")
        loaded.save(folder)
        assert_holds(type(index).load(folder), codes[fewer], ids[fewer], "after a save in the place of an older one")
        assert_holds(index, codes[saved], ids[saved], "after what was loaded from its folder was changed")


@check("index", unless=not_built)
def check_damaged_files_are_refused(subject: Subject) -> None:
    """A stored index with one byte changed, or a file cut short, raises HashzooError when it is loaded."""
    index = make(subject)
    index.add(distinct(index.bits), some_ids(ROWS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index.save(folder)
        files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        for path in files:
            whole = path.read_bytes()
            middle = len(whole) // 2
            changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
            for damage, damaged in (("a byte of it changed", changed), ("its second half lost", whole[:middle])):
                path.unlink()  # what is mapped into memory stays as it was
                path.write_bytes(damaged)
                assert_refused(lambda: type(index).load(folder), f"{path.relative_to(folder)} with {damage}")
            path.write_bytes(whole)
        assert_holds(type(index).load(folder), distinct(index.bits), some_ids(ROWS), "after all damage was mended")


@check("index", unless=not_built)
def check_arguments_are_neither_changed_nor_kept(subject: Subject) -> None:
    """Arrays that are passed in stay as they are, and what the caller writes into them later changes nothing."""
    index = make(subject)
    codes, ids = distinct(index.bits), some_ids(ROWS)
    given, numbers = Codes(codes.data.copy(), codes.bits), ids.copy()
    calls: dict[str, Callable[[], object]] = {
        "add": lambda: index.add(given, numbers),
        "search": lambda: index.search(given, NEAREST),
        "contains": lambda: index.contains(numbers),
    }
    for name, call in calls.items():
        call()
        assert np.array_equal(given.data, codes.data), f"{name} changes the codes that are passed to it"
        assert np.array_equal(numbers, ids), f"{name} changes the ids that are passed to it"
    given.data[:], numbers[:] = 0, 0
    assert_holds(index, codes, ids, "after the caller's arrays were overwritten")
    numbers[:] = ids
    index.remove(numbers)
    assert np.array_equal(numbers, ids), "remove changes the ids that are passed to it"


@check("index", unless=not_built)
def check_a_query_is_always_answered_alike(subject: Subject) -> None:
    """A query gets the same hits again, alone or among others, and while other threads search."""
    index = make(subject)
    codes, queries = clustered(index.bits, CLUSTERS * MEMBERS, seed=1), clustered(index.bits, CLUSTERS, seed=2)
    index.add(codes, some_ids(len(codes)))
    together = index.search(queries, NEAREST)
    assert same(index.search(queries, NEAREST), together), "the same search gives other hits the second time"
    alone = [index.search(queries[query], NEAREST) for query in range(len(queries))]
    joined = Hits(np.concatenate([hits.ids for hits in alone]), np.concatenate([hits.distances for hits in alone]))
    assert same(joined, together), "a query that is searched alone gets other hits than among others"
    with ThreadPoolExecutor(THREADS) as pool:
        order = list(range(len(queries))) * ROUNDS
        for query, hits in zip(order, pool.map(lambda q: index.search(queries[q], NEAREST), order), strict=True):
            assert same(hits, alone[query]), "a query gets other hits while other threads search"


@check("index", unless=not_built)
def check_indexes_share_nothing(subject: Subject) -> None:
    """What is done to one index, or asked of it, is not seen by another of the same class."""
    first, second = make(subject), make(subject)
    codes = distinct(first.bits, 2 * ROWS)
    low, high = np.arange(ROWS), np.arange(ROWS, 2 * ROWS)
    first.add(codes[low], low)
    assert not len(second), "codes that were added to one index are in another"
    second.add(codes[high], high)
    for index, others in ((first, high), (second, low)):
        seen = np.intersect1d(index.search(codes, NEAREST).ids, others)
        assert not len(seen), f"id {seen[0]}, which was added to one index, is found in another"
    first.remove(low)
    assert_holds(second, codes[high], high, "after the codes of another index were removed")
