"""Exact expectations over all orders of tied items, from counts per tie group. Importing this imports numba.

A ranking is a sequence of groups; group g has n[g] items, r[g] of them relevant, in uniformly random order.
A group of one kind only (r = 0 or r = n) has one value whatever its order, so an optimistic or pessimistic ranking
is the same computation on groups split by relevance.

Expected precision at a random position of a group: McSherry and Najork, "Computing information retrieval performance
measures efficiently in the presence of tied scores", ECIR 2008. The two cuts whose denominator or number of terms
depends on the order are expectations over the (negative) hypergeometric law of what falls before the cut.
"""

from __future__ import annotations

import numpy as np

from hashzoo.kernels import compiled

NEGLIGIBLE = 1e-20  # a probability relative to the mode's, after which a unimodal law is cut
SMALL = 64
HARMONIC = np.concatenate(([0.0], np.cumsum(1.0 / np.arange(1, SMALL + 1))))


@compiled
def _harmonic_tail(n):  # type: ignore[no-untyped-def]
    """H(n) - ln n - gamma, to 2e-17 for n >= 64 (Euler and Maclaurin)."""
    square = 1.0 / (n * n)
    return 0.5 / n - square * (1.0 / 12 - square * (1.0 / 120 - square / 252))


@compiled
def harmonic_between(before, after):  # type: ignore[no-untyped-def]
    """1/(before + 1) + ... + 1/after, accurate however late and short the stretch is."""
    if after <= SMALL:
        return HARMONIC[after] - HARMONIC[before]
    head = 0.0
    if before < SMALL:
        head = HARMONIC[SMALL] - HARMONIC[before]
        before = SMALL
    a, b = float(before), float(after)
    return head + np.log1p((b - a) / a) + (_harmonic_tail(b) - _harmonic_tail(a))


@compiled
def _group_sum(items, hits, n, r, m):  # type: ignore[no-untyped-def]
    """Expected sum of precisions at the relevant items among the first m of a group, after `items` with `hits`."""
    if r == 0 or m == 0:
        return 0.0
    p = (r - 1) / (n - 1) if n > 1 else 0.0
    return r / n * (m * p + (hits + 1 - p - p * items) * harmonic_between(items, items + m))


@compiled
def _sum_until_relevant(items, hits, n, r, t):  # type: ignore[no-untyped-def]
    """Expected sum of precisions at the first t < r relevant items of a group.

    Given the position x of the t-th, the t - 1 before it are spread evenly over x - 1 positions.
    P(x) is proportional to C(x - 1, t - 1) C(n - x, r - t), with its mode at (t - 1) n / (r - 1) + 1.
    """
    lowest, highest = t, n - r + t
    mode = min(max((t - 1) * n // (r - 1) + 1, lowest), highest)
    total = weights = 0.0
    weight = 1.0
    for x in range(mode, highest + 1):
        total += weight * (_group_sum(items, hits, x - 1, t - 1, x - 1) + (hits + t) / (items + x))
        weights += weight
        if x < highest:
            weight *= x / (x - t + 1) * ((n - x - r + t) / (n - x))
        if weight < NEGLIGIBLE * weights:
            break
    weight = 1.0
    for x in range(mode - 1, lowest - 1, -1):
        weight *= (x - t + 1) / x * ((n - x) / (n - x - r + t))
        total += weight * (_group_sum(items, hits, x - 1, t - 1, x - 1) + (hits + t) / (items + x))
        weights += weight
        if weight < NEGLIGIBLE * weights:
            break
    return total / weights


@compiled
def _mean_precision_of_hits(done, items, hits, n, r, m):  # type: ignore[no-untyped-def]
    """Expected (sum of precisions) / (relevant items) of a list that ends after m of a group's n items.

    `done` is the sum over the groups before. Returns the value and the probability that the list has a relevant item.
    The number of relevant items among the m is hypergeometric.
    """
    lowest, highest = max(0, m - (n - r)), min(m, r)
    mode = min(max((m + 1) * (r + 1) // (n + 2), lowest), highest)
    total = weights = empty = 0.0
    weight = 1.0
    for y in range(mode, highest + 1):
        if hits + y:
            total += weight * (done + _group_sum(items, hits, m, y, m)) / (hits + y)
        else:
            empty = weight
        weights += weight
        if y < highest:
            weight *= (r - y) / (y + 1) * ((m - y) / (n - r - m + y + 1))
        if weight < NEGLIGIBLE * weights:
            break
    weight = 1.0
    for y in range(mode - 1, lowest - 1, -1):
        weight *= (y + 1) / (r - y) * ((n - r - m + y + 1) / (m - y))
        if hits + y:
            total += weight * (done + _group_sum(items, hits, m, y, m)) / (hits + y)
        else:
            empty = weight
        weights += weight
        if weight < NEGLIGIBLE * weights:
            break
    return total / weights, 1.0 - empty / weights


@compiled
def average_precision(n, r, k, first_k_relevant, retrieved, capped, value, counted):  # type: ignore[no-untyped-def]
    """Expected AP of each query.

    Args:
        n, r: (Q, G) int64, items and relevant items of each tie group, nearest first.
        k: the cut (the database size where there is none).
        first_k_relevant: the cut keeps relevant items, not positions.
        retrieved: divide by the relevant items among the first k; else by min(R, k) if `capped`, else by R.
        value, counted: (Q,) float64, written: the expected AP (0 where the denominator is 0) and the
            probability that the denominator is positive.
    """
    for q in range(n.shape[0]):
        relevant = 0
        for g in range(r.shape[1]):
            relevant += r[q, g]
        value[q] = counted[q] = 0.0
        if relevant == 0:
            continue
        counted[q] = 1.0
        wanted = min(k, relevant)
        items = hits = 0
        total = 0.0
        cut_open = False  # the cut leaves open how many relevant items to divide by
        for g in range(n.shape[1]):
            size, good = n[q, g], r[q, g]
            if first_k_relevant and hits + good > wanted:
                total += _sum_until_relevant(items, hits, size, good, wanted - hits)
                break
            if not first_k_relevant and items + size > k:
                cut_open = retrieved
                if cut_open:
                    value[q], counted[q] = _mean_precision_of_hits(total, items, hits, size, good, k - items)
                else:
                    total += _group_sum(items, hits, size, good, k - items)
                break
            total += _group_sum(items, hits, size, good, size)
            items += size
            hits += good
            if (hits == wanted) if first_k_relevant else (items == k):
                break
        if cut_open:
            continue
        denominator = relevant
        if first_k_relevant or capped:
            denominator = wanted
        elif retrieved:
            denominator = hits
        if denominator:
            value[q] = total / denominator
        else:
            counted[q] = 0.0


@compiled
def hits_at(n, r, ranks, hits_at_ranks, hits_at_r):  # type: ignore[no-untyped-def]
    """Expected number of relevant items among the first N, and among the first R (R the query's own number).

    Args:
        n, r: (Q, G) int64 as in `average_precision`.
        ranks: (K,) int64, ascending.
        hits_at_ranks, hits_at_r: (Q, K) and (Q,) float64, written.
    """
    for q in range(n.shape[0]):
        relevant = 0
        for g in range(r.shape[1]):
            relevant += r[q, g]
        items = hits = slot = 0
        hits_at_r[q] = 0.0
        for g in range(n.shape[1]):
            size, good = n[q, g], r[q, g]
            if size == 0:
                continue
            while slot < ranks.size and ranks[slot] <= items + size:
                hits_at_ranks[q, slot] = hits + good * ((ranks[slot] - items) / size)
                slot += 1
            if items < relevant <= items + size:
                hits_at_r[q] = hits + good * ((relevant - items) / size)
            items += size
            hits += good
        while slot < ranks.size:
            hits_at_ranks[q, slot] = hits
            slot += 1


@compiled
def discounted_gain_at(n, gain, discounts, ranks, dcg):  # type: ignore[no-untyped-def]
    """Expected discounted cumulative gain at each rank.

    Args:
        n, gain: (Q, G) int64 and float64, items and summed gain of each tie group, nearest first.
        discounts: (K_max + 1,) float64, discounts[i] = sum over j <= i of 1 / log2(1 + j).
        ranks: (K,) int64, ascending, none above K_max.
        dcg: (Q, K) float64, written.
    """
    for q in range(n.shape[0]):
        items = slot = 0
        total = 0.0
        for g in range(n.shape[1]):
            size = n[q, g]
            if size == 0:
                continue
            mean = gain[q, g] / size
            while slot < ranks.size and ranks[slot] <= items + size:
                dcg[q, slot] = total + mean * (discounts[ranks[slot]] - discounts[items])
                slot += 1
            if slot == ranks.size:
                break
            total += mean * (discounts[items + size] - discounts[items])
            items += size
        while slot < ranks.size:
            dcg[q, slot] = total
            slot += 1
