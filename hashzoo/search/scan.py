"""Searches over all segments of a state: each is searched by itself, and the best of all are the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hashzoo.codes import Codes
from hashzoo.errors import HashzooError
from hashzoo.search.base import NOTHING
from hashzoo.search.snapshot import Snapshot
from hashzoo.search.topk import nearest, within

HITS = 1 << 23  # held at a time before the best are picked, and in an answer by radius
PAIRS = 1 << 25  # of a query and a code that are compared at a time by radius: all of them may be hits

Found = tuple[np.ndarray, np.ndarray]


def nearest_places(snapshot: Snapshot, queries: Codes, k: int, selected: Sequence[np.ndarray | None]) -> Found:
    """The k nearest of the selected rows to each of Q queries, ties by id.

    Args:
        selected: what `Snapshot.selected` gave.

    Returns:
        (Q, k) int64 places and (Q, k) int32 Hamming distances; -1 and -1 where there are fewer.
    """
    parts = list(_searched(snapshot, selected))
    places = np.full((len(queries), k), NOTHING, dtype=np.int64)
    distances = np.full((len(queries), k), NOTHING, dtype=np.int32)
    step = max(1, HITS // max(1, sum(min(k, count) for *_, count in parts)))
    for begin in range(0, len(queries) if parts else 0, step):
        group = slice(begin, begin + step)
        found = []
        for start, codes, mask, count in parts:
            numbers, far = nearest(queries[group], codes, min(k, count), mask)
            found.append((start + numbers, far))
        best, near = _best(snapshot, found)
        width = min(k, best.shape[1])
        places[group, :width], distances[group, :width] = best[:, :width], near[:, :width]
    return places, distances


def places_within(snapshot: Snapshot, queries: Codes, radius: int, selected: Sequence[np.ndarray | None]) -> Found:
    """All selected rows within a Hamming radius of each of Q queries, nearest first, ties by id.

    Returns:
        (Q, m) int64 places and (Q, m) int32 distances, m the most that a query has; -1 and -1 after the last.
    """
    hits: list[Found] = []
    parts = list(_searched(snapshot, selected))
    step = max(1, PAIRS // max(1, sum(count for *_, count in parts)))
    total = most = 0
    for begin in range(0, len(queries), step):
        group = queries[begin : begin + step]
        found: list[list[Found]] = [[] for _ in range(len(group))]
        for start, codes, mask, _ in parts:
            offsets, numbers, far = within(group, codes, radius, mask)
            for query in range(len(group)):
                span = slice(offsets[query], offsets[query + 1])
                found[query].append((start + numbers[None, span], far[None, span]))
        for pairs in found:
            hits.append(_best(snapshot, pairs) if pairs else (np.empty((1, 0), np.int64), np.empty((1, 0), np.int32)))
            total, most = total + hits[-1][0].size, max(most, hits[-1][0].size)
        if max(total, most * len(queries)) > HITS:
            raise HashzooError(
                f"too many codes lie within {radius} bits, up to {most:,} of a query; give k, a smaller radius, or "
                f"fewer queries"
            )
    places = np.full((len(queries), most), NOTHING, dtype=np.int64)
    distances = np.full((len(queries), most), NOTHING, dtype=np.int32)
    for query, (best, near) in enumerate(hits):
        places[query, : best.size], distances[query, : near.size] = best[0], near[0]
    return places, distances


def _searched(
    snapshot: Snapshot, selected: Sequence[np.ndarray | None]
) -> Iterator[tuple[int, np.ndarray, np.ndarray | None, int]]:
    """Of each segment with selected rows: its first place, codes, which rows are selected (None: all), and how many."""
    with snapshot.guarded():
        for segment, start, mask in zip(snapshot.segments, snapshot.starts, selected, strict=False):
            count = segment.part.rows if mask is None else int(np.count_nonzero(mask))
            if count:
                yield int(start), segment.content.codes, mask, count


def _best(snapshot: Snapshot, found: list[Found]) -> Found:
    """What was found in each of the segments, (Q, m) each, as one: nearest first, ties by id."""
    places, distances = (np.concatenate([pair[i] for pair in found], axis=1) for i in (0, 1))
    if len(found) == 1:
        return places, distances
    if snapshot.in_order:  # what comes first has the smaller id; 16 bits are sorted in linear time
        order = np.argsort(distances.astype(np.int16), axis=1, kind="stable")
    else:
        ids = snapshot.taken(places.ravel(), "ids").reshape(places.shape)
        order = np.lexsort((ids, distances), axis=1)
    return np.take_along_axis(places, order, 1), np.take_along_axis(distances, order, 1)
