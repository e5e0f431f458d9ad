"""What depends on the order of the ranking: precisions, hits and gains of each query, under any rule for ties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashzoo.evaluator.counting import Collection, blocks, key_type, sliced_blocks
from hashzoo.evaluator.protocols import Protocol
from hashzoo.evaluator.threads import in_parallel


@dataclass(frozen=True)
class Cut:
    """One average precision to compute: a cut (None: the whole database) and the protocol's rules for it."""

    k: int | None
    first_k_relevant: bool
    retrieved: bool
    capped: bool

    @classmethod
    def of(cls, protocol: Protocol, k: int | None) -> Cut:
        """The protocol's rules at the cut k."""
        return cls(
            k,
            protocol.k_rule == "first_k_relevant",
            protocol.denominator == "retrieved",
            protocol.denominator == "min(R,k)",
        )


QUERIES_AT_ONCE = 1024  # whose closed forms one thread computes at a time
GROUP_WORK = 64  # operations that the closed form of one tie group takes, or so
FIRST_RELEVANT = Cut(1, first_k_relevant=True, retrieved=False, capped=True)  # its average precision is 1 / rank


@dataclass(frozen=True, eq=False)
class Wanted:
    """What to compute: average precisions, and hits and discounted gains at ascending ranks."""

    cuts: tuple[Cut, ...]
    ranks: np.ndarray  # (K,) int64
    r_precision: bool
    ndcg_ranks: np.ndarray  # (M,) int64
    discounts: np.ndarray  # (max ndcg rank + 1,) float64, summed; see closed_forms.discounted_gain_at


@dataclass(frozen=True, eq=False)
class Ranked:
    """What was computed for each query."""

    precision: np.ndarray  # (cuts, Q) average precisions, 0 where there is nothing to divide by
    counted: np.ndarray  # (cuts, Q) probability that there is
    hits: np.ndarray  # (Q, K) relevant items among the first ranks[j]
    hits_at_r: np.ndarray  # (Q,) relevant items among the first R; zeros unless r_precision is wanted
    gain: np.ndarray  # (Q, M) discounted cumulative gain at ndcg_ranks[j]
    ideal: np.ndarray  # (Q, M) the same for the best order


def discounts_to(rank: int) -> np.ndarray:
    """(rank + 1,) float64: entry i is the sum over j = 1..i of 1 / log2(1 + j)."""
    return np.concatenate(([0.0], np.cumsum(1.0 / np.log2(np.arange(2, rank + 2)))))


def scaled_gains(levels: int) -> np.ndarray:
    """(levels,) 2^s - 1 for s shared labels, divided by 2^(levels - 1) so that any number of labels stays finite.

    NDCG is a ratio of gains, in which the factor cancels.
    """
    exponent = np.arange(levels, dtype=np.float64) - (levels - 1)
    return np.exp2(exponent) - np.exp2(-(levels - 1.0))


@dataclass(frozen=True, eq=False)
class Counts:
    """What one pass over the database found for each query: how many items lie at each distance."""

    histogram: np.ndarray  # (Q, distances, levels) int64, by number of shared labels
    gains: np.ndarray  # (levels,) float64
    n: np.ndarray  # (Q, distances) int64, all items
    r: np.ndarray  # (Q, distances) int64, relevant items
    gain: np.ndarray  # (Q, distances) float64, summed gain
    level_items: np.ndarray  # (Q, levels) int64, all items by number of shared labels

    @classmethod
    def of(cls, histogram: np.ndarray) -> Counts:
        """The counts of a (Q, distances, levels) histogram."""
        from hashzoo.kernels import sum_levels

        queries, distances, levels = histogram.shape
        gains, shape = scaled_gains(levels), (queries, distances)
        n, r, gain = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64), np.empty(shape)
        level_items = np.zeros((queries, levels), dtype=np.int64)
        sum_levels(histogram, gains, n, r, gain, level_items)
        return cls(histogram, gains, n, r, gain, level_items)


def split_ties(n: np.ndarray, r: np.ndarray, ties: str) -> tuple[np.ndarray, np.ndarray]:
    """(Q, G) items and relevant items of the groups whose inner order a rule leaves open or does not matter.

    Under "expected" a group is a distance; else the relevant and the other items of a distance are two groups.
    """
    if ties == "expected":
        return n, r
    first = 0 if ties == "optimistic" else 1
    items, relevant = np.empty((*n.shape, 2), dtype=np.int64), np.zeros((*n.shape, 2), dtype=np.int64)
    items[:, :, first] = relevant[:, :, first] = r
    items[:, :, 1 - first] = n - r
    return items.reshape(len(n), -1), relevant.reshape(len(n), -1)


def average_precision(n: np.ndarray, r: np.ndarray, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """(Q,) expected average precision and (Q,) probability that it is defined; see closed_forms.average_precision."""
    from hashzoo.evaluator import closed_forms

    value, counted = np.empty(len(n)), np.empty(len(n))
    k = cut.k if cut.k is not None else max(int(n[0].sum()), 1)

    def compute(group: slice) -> None:
        rules = cut.first_k_relevant, cut.retrieved, cut.capped
        closed_forms.average_precision(n[group], r[group], k, *rules, value[group], counted[group])

    in_parallel(compute, len(n), QUERIES_AT_ONCE, GROUP_WORK * n.shape[1])
    return value, counted


def ideal_gain(counts: Counts, wanted: Wanted) -> np.ndarray:
    """(Q, M) discounted gain of the items in order of shared labels."""
    from hashzoo.evaluator import closed_forms

    ideal = np.zeros((len(counts.n), wanted.ndcg_ranks.size))
    if ideal.size:
        n = np.ascontiguousarray(counts.level_items[:, ::-1])
        closed_forms.discounted_gain_at(n, n * counts.gains[::-1], wanted.discounts, wanted.ndcg_ranks, ideal)
    return ideal


def expected_gain(counts: Counts, ties: str, wanted: Wanted) -> np.ndarray:
    """(Q, M) discounted gain; unless ties are "expected", those with most (or fewest) shared labels stand first."""
    from hashzoo.evaluator import closed_forms

    discounted = np.zeros((len(counts.n), wanted.ndcg_ranks.size))
    if discounted.size:
        n, gain = counts.n, counts.gain
        if ties != "expected":
            order = slice(None, None, -1 if ties == "optimistic" else 1)
            n = np.ascontiguousarray(counts.histogram[:, :, order])
            gain = (n * counts.gains[order]).reshape(len(n), -1)
            n = n.reshape(len(n), -1)
        closed_forms.discounted_gain_at(n, gain, wanted.discounts, wanted.ndcg_ranks, discounted)
    return discounted


def rank_by_groups(counts: Counts, ties: str, wanted: Wanted) -> Ranked:
    """Everything wanted, as the expectation over the orders that the rule for ties leaves open."""
    from hashzoo.evaluator import closed_forms

    n, r = split_ties(counts.n, counts.r, ties)
    values = [average_precision(n, r, cut) for cut in wanted.cuts]
    hits, hits_at_r = np.empty((len(n), wanted.ranks.size)), np.empty(len(n))
    closed_forms.hits_at(n, r, wanted.ranks, hits, hits_at_r)
    return Ranked(
        np.array([value for value, _ in values]),
        np.array([counted for _, counted in values]),
        hits,
        hits_at_r,
        expected_gain(counts, ties, wanted),
        ideal_gain(counts, wanted),
    )


def rank_by_rows(query: Collection, database: Collection, counts: Counts, wanted: Wanted) -> Ranked:
    """Everything wanted, with the items at one distance in the order of their rows."""
    from hashzoo.evaluator import bit_slices, sliced_ranks

    queries, distances, levels = counts.histogram.shape
    nearer, nearer_relevant = np.cumsum(counts.n, axis=1) - counts.n, np.cumsum(counts.r, axis=1) - counts.r
    relevant = counts.r.sum(axis=1)
    no_cut = 2**32 - 1
    cuts = np.array([no_cut if cut.k is None else min(cut.k, no_cut) for cut in wanted.cuts], dtype=np.uint64)
    keep_relevant = np.array([cut.first_k_relevant for cut in wanted.cuts])
    sums, cut_hits = np.zeros((queries, cuts.size)), np.zeros((queries, cuts.size), dtype=np.int64)
    hits_at_r = np.zeros(queries, dtype=np.int64)
    r = relevant.astype(np.uint64) if wanted.r_precision else np.empty(0, dtype=np.uint64)
    ranks = np.minimum(wanted.ranks, len(database))
    slots, hits = _slots(ranks), np.zeros((queries, ranks.size), dtype=np.int64)
    gain_slots, gain = _slots(wanted.ndcg_ranks), np.zeros((queries, wanted.ndcg_ranks.size))
    discounts = np.diff(wanted.discounts, prepend=0.0)

    def wishes(group: slice) -> tuple[Any, ...]:
        """What the kernels add up for some queries, and where."""
        found = cuts, keep_relevant, sums[group], cut_hits[group], r[group], hits_at_r[group], slots, hits[group]
        return *found, gain_slots, counts.gains, discounts, gain[group]

    rank = _sweep_slices if distances - 1 <= sliced_ranks.MOST_BITS and levels <= bit_slices.MOST_LEVELS else _sweep
    rank(query, database, distances - 1, levels, nearer.astype(np.uint64), nearer_relevant.astype(np.uint64), wishes)
    values = [_divide(cut, sums[:, c], cut_hits[:, c], relevant) for c, cut in enumerate(wanted.cuts)]
    return Ranked(
        np.array([value for value, _ in values]),
        np.array([counted for _, counted in values]),
        np.cumsum(hits, axis=1).astype(np.float64),
        hits_at_r.astype(np.float64),
        np.cumsum(gain, axis=1),
        ideal_gain(counts, wanted),
    )


Wishes = Callable[[slice], tuple[Any, ...]]


def _sweep_slices(
    query: Collection,
    database: Collection,
    bits: int,
    levels: int,
    nearer: np.ndarray,
    nearer_relevant: np.ndarray,
    wishes: Wishes,
) -> None:
    """Add up what the ranks give, with 512 rows of a bit-sliced database at a time.

    Args:
        nearer, nearer_relevant: (Q, distances) uint64, items nearer than each distance.
    """
    from hashzoo.evaluator.sliced_ranks import LOW, sweep_slices

    room = ((0, 0), (0, -nearer.shape[1] % LOW))
    places, relevant_places = np.pad(nearer << np.uint64(32), room), np.pad(nearer_relevant, room)
    codes, sets = query.words()
    for block in sliced_blocks(database, bits):

        def walk(group: slice, block: tuple[np.ndarray, np.ndarray, int] = block) -> None:
            sides = codes[group], sets[group], levels, places[group], relevant_places[group]
            sweep_slices(*block, bits, *sides, *wishes(group))

        in_parallel(walk, len(query), each=len(database))


def _sweep(
    query: Collection,
    database: Collection,
    bits: int,
    levels: int,
    nearer: np.ndarray,
    nearer_relevant: np.ndarray,
    wishes: Wishes,
) -> None:
    """`_sweep_slices`, for codes and labels of any number, one row after the other."""
    from hashzoo.kernels import TILE, sweep

    shift = max(1, (levels - 1).bit_length())
    counters, key = (nearer << np.uint64(32)) | nearer_relevant, key_type((bits + 1) << shift)
    codes, sets = query.words()
    for words, labels in blocks(database):

        def walk(group: slice, words: np.ndarray = words, labels: np.ndarray = labels) -> None:
            keys = np.empty(TILE, dtype=key)
            sweep(words, codes[group], labels, sets[group], shift, keys, counters[group], *wishes(group))

        in_parallel(walk, len(query), each=len(database))


def _slots(ranks: np.ndarray) -> np.ndarray:
    """(last rank + 1,) unsigned: for each rank from 1, the first of the ascending `ranks` that is not before it."""
    last = int(ranks[-1]) if ranks.size else 0
    return np.searchsorted(ranks, np.arange(last + 1)).astype(key_type(ranks.size))


def _divide(cut: Cut, total: np.ndarray, hits: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precisions from summed precisions; and 1 where the denominator is positive, else 0."""
    if cut.k is None:
        denominator = relevant
    elif cut.retrieved:
        denominator = hits
    elif not (cut.capped or cut.first_k_relevant):
        denominator = relevant
    else:
        denominator = np.minimum(relevant, cut.k)
    value = np.divide(total, denominator, out=np.zeros(len(total)), where=denominator > 0)
    return value, (denominator > 0).astype(np.float64)
