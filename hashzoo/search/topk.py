"""Exact search: the k nearest of packed codes, or all within a radius, by comparing every query with every code."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from hashzoo.codes import Codes, as_words
from hashzoo.errors import HashzooError
from hashzoo.evaluator.threads import allowed_threads, in_parallel

QUERIES_A_THREAD = 8  # threads share the queries if each gets so many, else the codes: few queries wait for memory
SERIAL_WORK = 1 << 21  # comparisons of two words, a millisecond or so: to wake a thread takes a third of that
NOTHING = -1  # row and distance where a query has fewer than k hits
Found = TypeVar("Found")


def nearest(queries: Codes, database: Codes | np.ndarray, k: int, allowed: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest codes of each query by Hamming distance, nearest first, those at one distance in order of rows.

    It takes as many threads as numba may use; the result does not depend on them. The database is read where it lies
    if its rows lie one after the other, and may be mapped from a file. Beside the result, memory holds the numbers of
    the allowed rows and, for each thread, a few times k candidates for each of up to 64 queries.

    Args:
        queries: Q codes.
        database: N codes of the same length, or their packed rows, (N, ceil(bits / 8)) uint8 with padding bits 0.
        k: from 1; it may pass N.
        allowed: which rows may be found: (N,) bool, or row numbers in any order.

    Returns:
        (Q, k) int64 row numbers and (Q, k) int32 distances in bits; where fewer than k rows are allowed, a query's
        row ends in -1 and -1.

    Raises HashzooError on codes of another length, rows that are not there and a k below 1.
    """
    from hashzoo.scan import top_k

    k = _whole(k, 1, "k, the number of hits for a query,")
    data, chosen, count = _prepared(queries, database, allowed)
    shape = len(queries), k
    rows, distances = np.full(shape, NOTHING, dtype=np.int64), np.full(shape, NOTHING, dtype=np.int32)

    def scan(span: slice, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = len(words), min(k, span.stop - span.start)
        found = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int32)
        top_k(data, chosen, span.start, span.stop, words, queries.bits, *found)
        return found

    for group, found in _scanned(scan, queries, count):
        near = np.concatenate([part[1] for part in found], axis=1)
        best = np.concatenate([part[0] for part in found], axis=1)
        if len(found) > 1:
            order = np.argsort(near, axis=1, kind="stable")[:, :k]  # parts are in row order: ties stay in it
            best, near = np.take_along_axis(best, order, 1), np.take_along_axis(near, order, 1)
        rows[group, : best.shape[1]], distances[group, : best.shape[1]] = best, near
    return rows, distances


def within(
    queries: Codes, database: Codes | np.ndarray, radius: int, allowed: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All codes within a Hamming distance of each query, nearest first, those at one distance in order of rows.

    Args:
        queries, database, allowed: as in `nearest`.
        radius: the largest distance, in bits, from 0.

    Returns:
        (Q + 1,) int64 offsets, (hits,) int64 row numbers and (hits,) int32 distances in bits: those of query i stand
        from offsets[i] to offsets[i + 1].
    """
    from hashzoo.scan import all_within

    radius = min(_whole(radius, 0, "a radius"), queries.bits)
    data, chosen, count = _prepared(queries, database, allowed)

    def scan(span: slice, words: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        numbers, rows, distances = all_within(data, chosen, span.start, span.stop, words, radius)
        return numbers, rows, distances

    offsets = np.zeros(len(queries) + 1, dtype=np.int64)
    rows, distances = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int32)]
    for group, found in _scanned(scan, queries, count):
        offsets[1:][group] = sum(part[0] for part in found)
        best, near = (np.concatenate([part[i] for part in found]) for i in (1, 2))
        if len(found) > 1:
            whose = np.concatenate([np.repeat(np.arange(len(part[0])), part[0]) for part in found])
            order = np.lexsort((near, whose))  # stable
            best, near = best[order], near[order]
        rows.append(best)
        distances.append(near)
    return np.cumsum(offsets), np.concatenate(rows), np.concatenate(distances)


def _scanned(scan: Callable[[slice, np.ndarray], Found], queries: Codes, count: int) -> list[tuple[slice, list[Found]]]:
    """What scans of `count` rows found for groups of queries, in parts of the database in order, on several threads."""
    if not len(queries) or not count:
        return []
    words = as_words(queries.data).view()
    words.flags.writeable = False  # see `_prepared`
    everything, everyone = slice(0, count), slice(0, len(queries))
    found: dict[int, Found] = {}
    if words.size * count <= SERIAL_WORK:
        return [(everyone, [scan(everything, words)])]
    if len(queries) >= QUERIES_A_THREAD * allowed_threads():
        groups: dict[int, slice] = {}

        def one(group: slice) -> None:
            groups[group.start], found[group.start] = group, scan(everything, words[group])

        in_parallel(one, len(queries))
        return [(groups[start], [found[start]]) for start in sorted(groups)]

    def part(rows: slice) -> None:
        found[rows.start] = scan(slice(rows.start, min(rows.stop, count)), words)

    in_parallel(part, count, count)
    return [(everyone, [found[start] for start in sorted(found)])]


def _prepared(queries: Codes, database: Codes | np.ndarray, allowed: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """The packed rows, which of them to scan (empty: all), and how many that are."""
    width = -(-queries.bits // 8)
    if isinstance(database, Codes):
        if database.bits != queries.bits:
            raise HashzooError(
                f"the queries have {queries.bits} bits and the database {database.bits}; encode both with one model"
            )
        database = database.data
    if database.ndim != 2 or database.dtype != np.uint8 or database.shape[1] != width:
        raise HashzooError(
            f"packed codes of {queries.bits} bits are a (rows, {width}) uint8 array, not {database.shape} "
            f"{database.dtype}; encode queries and database with one model"
        )
    data = np.ascontiguousarray(np.asarray(database)).view()
    data.flags.writeable = False  # as when mapped from a file: the kernels are compiled for one kind of array
    if allowed is None:
        return data, np.empty(0, dtype=np.int64), len(data)
    chosen = _row_numbers(allowed, len(data))
    return data, chosen, len(chosen)


def _row_numbers(allowed: Any, rows: int) -> np.ndarray:
    """Ascending row numbers, each once, from a mask or from row numbers in any order."""
    array = np.asarray(allowed)
    if array.dtype == np.bool_ and array.shape == (rows,):
        return np.flatnonzero(array)
    if array.ndim == 1 and not array.size:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise HashzooError(
            f"the rows that may be found are ({rows},) bool or a 1-D array of row numbers, not {array.shape} "
            f"{array.dtype}; give one of them"
        )
    if array.min() < 0 or array.max() >= rows:
        raise HashzooError(f"row numbers go from 0 to {rows - 1}, but the rows that may be found hold others")
    return np.unique(array.astype(np.int64))


def _whole(value: Any, least: int, what: str) -> int:
    try:
        if not isinstance(value, bool | np.bool_) and operator.index(value) >= least:
            return operator.index(value)
    except TypeError:
        pass
    raise HashzooError(f"{what} is a whole number from {least}, not {value!r}; give another")
