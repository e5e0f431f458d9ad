"""What depends on the order of the ranking: precisions, hits and gains of each query, under any rule for ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hashzoo.evaluator.counting import Collection, blocks, in_parallel, key_type, over_levels
from hashzoo.evaluator.protocols import Protocol


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


FIRST_RELEVANT = Cut(1, first_k_relevant=True, retrieved=False, capped=True)  # its average precision is 1 / rank


@dataclass(frozen=True, eq=False)
class Wanted:
    """What to compute: average precisions, and hits and discounted gains at ascending ranks."""

    cuts: tuple[Cut, ...]
    ranks: np.ndarray  # (K,) int64
    r_precision: bool
    ndcg_ranks: np.ndarray  # (M,) int64
    discounts: np.ndarray  # (max ndcg rank + 1,) float64, summed; see closed_forms.discounted_gain_at
    gains: np.ndarray  # (levels,) float64, the gain of an item by its number of shared labels


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


def split_ties(histogram: np.ndarray, ties: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tie groups that a rule for ties leaves.

    Args:
        histogram: (Q, distances, levels) int64.

    Returns:
        n, r: (Q, G) int64, items and relevant items of each group. level: (G,), the shared labels of a group's items.
        Under "expected" a group is a distance, without a level; else one level of a distance, in the rule's order.
    """
    levels = histogram.shape[2]
    if ties == "expected":
        n = over_levels(histogram)
        return n, n - histogram[:, :, 0], np.empty(0)
    order = np.arange(levels)[::-1] if ties == "optimistic" else np.arange(levels)
    n = np.ascontiguousarray(histogram[:, :, order]).reshape(len(histogram), -1)
    level = np.tile(order, histogram.shape[1])
    return n, n * (level > 0), level


def average_precision(n: np.ndarray, r: np.ndarray, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """(Q,) expected average precision and (Q,) probability that it is defined; see closed_forms.average_precision."""
    from hashzoo.evaluator import closed_forms

    value, counted = np.empty(len(n)), np.empty(len(n))
    k = cut.k if cut.k is not None else max(int(n[0].sum()), 1)
    closed_forms.average_precision(n, r, k, cut.first_k_relevant, cut.retrieved, cut.capped, value, counted)
    return value, counted


def ideal_gain(histogram: np.ndarray, wanted: Wanted) -> np.ndarray:
    """(Q, M) discounted gain of the items in order of shared labels."""
    from hashzoo.evaluator import closed_forms

    ideal = np.zeros((len(histogram), wanted.ndcg_ranks.size))
    if ideal.size:
        n = np.ascontiguousarray(histogram.sum(axis=1)[:, ::-1])
        closed_forms.discounted_gain_at(n, n * wanted.gains[::-1], wanted.discounts, wanted.ndcg_ranks, ideal)
    return ideal


def rank_by_groups(histogram: np.ndarray, ties: str, wanted: Wanted) -> Ranked:
    """Everything wanted, as the expectation over the orders that the rule for ties leaves open."""
    from hashzoo.evaluator import closed_forms

    n, r, level = split_ties(histogram, ties)
    queries = len(n)
    values = [average_precision(n, r, cut) for cut in wanted.cuts]
    hits, hits_at_r = np.empty((queries, wanted.ranks.size)), np.empty(queries)
    closed_forms.hits_at(n, r, wanted.ranks, hits, hits_at_r)
    gain = np.zeros((queries, wanted.ndcg_ranks.size))
    if gain.size:
        summed = histogram @ wanted.gains if ties == "expected" else n * wanted.gains[level]
        closed_forms.discounted_gain_at(n, summed, wanted.discounts, wanted.ndcg_ranks, gain)
    return Ranked(
        np.array([value for value, _ in values]).reshape(len(values), queries),
        np.array([counted for _, counted in values]).reshape(len(values), queries),
        hits,
        hits_at_r,
        gain,
        ideal_gain(histogram, wanted),
    )


def rank_by_rows(query: Collection, database: Collection, histogram: np.ndarray, wanted: Wanted) -> Ranked:
    """Everything wanted, with the items at one distance in the order of their rows."""
    from hashzoo.kernels import TILE, sweep

    queries, distances, levels = histogram.shape
    nearer, nearer_relevant, relevant = _counts_before(histogram)
    counters = (nearer.astype(np.uint64) << np.uint64(32)) | nearer_relevant.astype(np.uint64)
    shift = max(1, (levels - 1).bit_length())
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
    query_words, query_labels = query.words()
    key = key_type(distances << shift)
    for words, labels in blocks(database):

        def walk(group: slice, words: np.ndarray = words, labels: np.ndarray = labels) -> None:
            sweep(
                words,
                query_words[group],
                labels,
                query_labels[group],
                shift,
                np.empty(TILE, dtype=key),
                counters[group],
                cuts,
                keep_relevant,
                sums[group],
                cut_hits[group],
                r[group],
                hits_at_r[group],
                slots,
                hits[group],
                gain_slots,
                wanted.gains,
                discounts,
                gain[group],
            )

        in_parallel(walk, queries)
    values = [_divide(cut, sums[:, c], cut_hits[:, c], relevant) for c, cut in enumerate(wanted.cuts)]
    return Ranked(
        np.array([value for value, _ in values]),
        np.array([counted for _, counted in values]),
        np.cumsum(hits, axis=1).astype(np.float64),
        hits_at_r.astype(np.float64),
        np.cumsum(gain, axis=1),
        ideal_gain(histogram, wanted),
    )


def _counts_before(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(Q, distances) items and relevant items that are nearer than each distance, and (Q,) all the relevant."""
    n = over_levels(histogram)
    r = n - histogram[:, :, 0]
    return np.cumsum(n, axis=1) - n, np.cumsum(r, axis=1) - r, r.sum(axis=1)


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
