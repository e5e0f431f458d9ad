"""What depends on the order of the ranking: precisions, hits and gains of each query, under any rule for ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    ndcg_ranks: np.ndarray  # (M,) int64
    discounts: np.ndarray  # (max ndcg rank + 1,) float64, summed; see closed_forms.discounted_gain_at
    gains: np.ndarray  # (levels,) float64, the gain of an item by its number of shared labels


@dataclass(frozen=True, eq=False)
class Ranked:
    """What was computed for each query."""

    precision: np.ndarray  # (cuts, Q) average precisions, 0 where there is nothing to divide by
    counted: np.ndarray  # (cuts, Q) probability that there is
    hits: np.ndarray  # (Q, K) relevant items among the first ranks[j]
    hits_at_r: np.ndarray  # (Q,) relevant items among the first R
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
    """Tie groups as (n, level 0 excluded n, level) arrays for a rule for ties.

    Args:
        histogram: (Q, distances, levels) int64.

    Returns:
        n, r: (Q, G) int64, items and relevant items; group_levels: (G, levels) 0/1, which levels a group holds.
        Under "expected" a group is a distance; else it is one level of a distance, in the rule's order.
    """
    levels = histogram.shape[2]
    if ties == "expected":
        n = histogram.sum(axis=2)
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
