"""Searches over all segments of a state: each is searched by itself, and the best of all are the answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from hashzoo.codes import Codes
from hashzoo.errors import HashzooError
from hashzoo.search.base import NOTHING
from hashzoo.search.snapshot import Snapshot
from hashzoo.search.topk_standin import nearest, within

HITS = 1 << 23  # held at a time before the best are picked, and in an answer by radius
SPARSE = 8  # where no more than one row in so many is selected, these are copied out and searched alone

Found = tuple[np.ndarray, np.ndarray]


def nearest_places(snapshot: Snapshot, queries: Codes, k: int, selected: Sequence[np.ndarray | None]) -> Found:
    """The k nearest of the selected rows to each of Q queries, ties by id.

    Returns:
        (Q, k) int64 places and (Q, k) int32 Hamming distances; -1 and -1 where there are fewer.
    """
    parts = list(_searchable(snapshot, selected))
    width = sum(min(k, count) for *_, count in parts)
    places = np.full((len(queries), k), NOTHING, dtype=np.int64)
    distances = np.full((len(queries), k), NOTHING, dtype=np.int32)
    step = max(1, HITS // max(1, width))
    for begin in range(0, len(queries) if parts else 0, step):
        group = queries[begin : begin + step]
        found = []
        for start, codes, rows, allowed, count in parts:
            numbers, far = nearest(group, codes, min(k, count), allowed)
            found.append((start + (numbers if rows is None else rows[numbers]), far))
        merged = _best(snapshot, found, k)
        end = begin + len(group)
        places[begin:end, : merged[0].shape[1]], distances[begin:end, : merged[1].shape[1]] = merged
    return places, distances


def places_within(snapshot: Snapshot, queries: Codes, radius: int, selected: Sequence[np.ndarray | None]) -> Found:
    """All selected rows within a Hamming radius of each of Q queries, nearest first, ties by id.

    Returns:
        (Q, m) int64 places and (Q, m) int32 distances, m the most that a query has; -1 and -1 after the last.
    """
    found: list[list[Found]] = [[] for _ in range(len(queries))]
    total = 0
    for start, codes, rows, allowed, _ in _searchable(snapshot, selected):
        bounds, numbers, far = within(queries, codes, radius)
        for query, (begin, end) in enumerate(itertools.pairwise(bounds)):
            inside, distances = numbers[begin:end], far[begin:end]
            if allowed is not None:
                inside, distances = inside[allowed[inside]], distances[allowed[inside]]
            total += len(inside)
            found[query].append((start + (inside if rows is None else rows[inside]), distances))
        if total > HITS:
            raise HashzooError(
                f"more than {HITS:,} codes lie within {radius} bits; give k, a smaller radius, or fewer queries"
            )
    merged = [_best(snapshot, [(p[None], d[None]) for p, d in parts], None) if parts else None for parts in found]
    most = max((pair[0].shape[1] for pair in merged if pair), default=0)
    if most * len(queries) > HITS:
        raise HashzooError(f"one query has {most:,} codes within {radius} bits; give k, or ask fewer queries at a time")
    places = np.full((len(queries), most), NOTHING, dtype=np.int64)
    distances = np.full((len(queries), most), NOTHING, dtype=np.int32)
    for query, pair in enumerate(merged):
        if pair:
            places[query, : pair[0].shape[1]], distances[query, : pair[1].shape[1]] = pair[0][0], pair[1][0]
    return places, distances


def _searchable(
    snapshot: Snapshot, selected: Sequence[np.ndarray | None]
) -> Iterator[tuple[int, np.ndarray, np.ndarray | None, np.ndarray | None, int]]:
    """Of each segment with selected rows: its first place, codes, the rows that these are of (None: all), a mask of
    those that count (None: all), and how many do."""
    with snapshot.guarded():
        for segment, start, mask in zip(snapshot.segments, snapshot.starts, selected, strict=False):
            count = segment.part.rows if mask is None else int(np.count_nonzero(mask))
            if not count:
                continue
            codes, rows = segment.content.codes, None
            if mask is not None and count * SPARSE <= len(mask):
                rows, mask = np.flatnonzero(mask), None
                codes = codes[rows]
            yield int(start), codes, rows, mask, count


def _best(snapshot: Snapshot, found: list[Found], k: int | None) -> Found:
    """The k nearest among what was found in the segments, (Q, m) each; all of them if k is None."""
    if len(found) == 1:
        return found[0]
    places, distances = (np.concatenate([pair[i] for pair in found], axis=1) for i in (0, 1))
    if snapshot.in_order:  # what comes first has the smaller id
        order = np.argsort(distances.astype(np.int16), axis=1, kind="stable")[:, :k]
    else:
        ids = snapshot.taken(places.ravel(), "ids").reshape(places.shape)
        order = np.lexsort((ids, distances), axis=1)[:, :k]
    return np.take_along_axis(places, order, 1), np.take_along_axis(distances, order, 1)
