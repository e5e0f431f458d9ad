"""Compiled Hamming kernels over packed words. Importing this module imports numba: import it where a kernel is needed.

Shapes: codes are word-major, `words` (W, n) uint64 for the database and (Q, W) for queries; labels are bit sets,
(L, n) and (Q, L) uint64. Every kernel releases the GIL, so threads run them side by side on distinct queries; a
query is always handled by one thread in one order, and so results do not depend on the number of threads.

Inner loops run over slices (`range(x.size)`, no offset arithmetic): only then does LLVM make vector popcounts of them.
All of the kernels stand in this one file because numba checks its cache against the file of the outer function alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

TILE = 4096  # database rows that stay in the first-level cache while a group of queries passes over them
LOW_HALF = np.uint64(0xFFFFFFFF)
PARTIAL_SUMS = 32
SUBHISTOGRAM_ENTRIES = 1024  # up to this many counters, four interleaved copies beat waiting for the last store


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`numba.njit`, GIL released, kept on disk for later processes wherever some cache folder can be written.

    The numpy error model leaves out the test for division by zero, without which divisions are not vectorised.
    """
    try:
        return numba.njit(function, nogil=True, error_model="numpy", cache=True, **options)
    except RuntimeError:  # neither the package nor any user cache folder is writable
        return numba.njit(function, nogil=True, error_model="numpy", **options)


inlined = partial(compiled, forceinline=True)  # becomes a part of its caller, however long it is


def _popcount(_context: Any, word: Any) -> Any:
    """Number of ones of a uint64; numba has no np.bitwise_count."""

    def generate(_typing: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


popcount: Any = intrinsic(_popcount)


@compiled
def _fill_keys(words, query, labels, query_labels, levels, start, stop, keys):  # type: ignore[no-untyped-def]
    """keys[j] = distance * levels + level of row start + j; the level is the number of shared labels, at most 1 of 2.

    One word at a time, so that any number of bits and labels takes the same vector loops.
    """
    scale = keys.dtype.type(levels)
    first, q = words[0, start:stop], query[0]
    if labels.shape[0] == 0:
        for j in range(keys.size):
            keys[j] = popcount(first[j] ^ q) * scale
    else:
        label, ql = labels[0, start:stop], query_labels[0]
        if levels == 2:
            for j in range(keys.size):
                keys[j] = popcount(first[j] ^ q) * np.uint64(2) + np.uint64((label[j] & ql) != 0)
        else:
            for j in range(keys.size):
                keys[j] = popcount(first[j] ^ q) * np.uint64(levels) + popcount(label[j] & ql)
    for w in range(1, words.shape[0]):
        word, q = words[w, start:stop], query[w]
        for j in range(keys.size):
            keys[j] += keys.dtype.type(popcount(word[j] ^ q)) * scale
    for w in range(1, labels.shape[0]):
        label, ql = labels[w, start:stop], query_labels[w]
        if levels == 2:
            for j in range(keys.size):
                keys[j] |= keys.dtype.type((label[j] & ql) != 0)
        else:
            for j in range(keys.size):
                keys[j] += keys.dtype.type(popcount(label[j] & ql))


@compiled
def count_keys(words, queries, labels, query_labels, levels, keys, histogram):  # type: ignore[no-untyped-def]
    """Add a database block to each query's histogram over (distance, level).

    Args:
        keys: (TILE,) uint16, or uint32 where (bits + 1) * levels passes 65536; scratch.
        histogram: (Q, (bits + 1) * levels) int64, added to.
    """
    entries = histogram.shape[1]
    interleaved = entries <= SUBHISTOGRAM_ENTRIES
    parts = np.zeros((4, entries if interleaved else 1), dtype=np.uint32)
    a, b, c, d = parts[0], parts[1], parts[2], parts[3]
    for start in range(0, words.shape[1], TILE):
        stop = min(start + TILE, words.shape[1])
        tile_keys = keys[: stop - start]
        for i in range(queries.shape[0]):
            _fill_keys(words, queries[i], labels, query_labels[i], levels, start, stop, tile_keys)
            row = histogram[i]
            if not interleaved:
                for j in range(tile_keys.size):
                    row[tile_keys[j]] += 1
                continue
            quarter = tile_keys.size // 4
            k0, k1 = tile_keys[:quarter], tile_keys[quarter : 2 * quarter]
            k2, k3 = tile_keys[2 * quarter : 3 * quarter], tile_keys[3 * quarter :]
            for j in range(quarter):
                a[k0[j]] += np.uint32(1)
                b[k1[j]] += np.uint32(1)
                c[k2[j]] += np.uint32(1)
                d[k3[j]] += np.uint32(1)
            for j in range(quarter, k3.size):
                d[k3[j]] += np.uint32(1)
            for j in range(row.size):
                row[j] += np.int64(a[j] + b[j] + c[j] + d[j])
                a[j] = b[j] = c[j] = d[j] = np.uint32(0)


@compiled
def _sum_precisions(found, k, relevant_ranks, sums):  # type: ignore[no-untyped-def]
    """Sum of hits / rank over what was found at a rank (or a rank among the relevant) of at most k.

    PARTIAL_SUMS of pairs side by side, always in one order, so that no addition waits for the one before. A pair is
    added as one fraction, since divisions take most of the time: products of two ranks have fewer than 64 bits, and
    each is rounded once.
    """
    high = np.uint64(32)
    shift = np.uint64(0) if relevant_ranks else high
    whole = found.size - found.size % (2 * PARTIAL_SUMS)
    sums[:] = 0.0
    for start in range(0, whole, 2 * PARTIAL_SUMS):
        a, b = found[start : start + PARTIAL_SUMS], found[start + PARTIAL_SUMS : start + 2 * PARTIAL_SUMS]
        for j in range(PARTIAL_SUMS):
            a_hits = np.float64(a[j] & LOW_HALF) if ((a[j] >> shift) & LOW_HALF) <= k else 0.0
            b_hits = np.float64(b[j] & LOW_HALF) if ((b[j] >> shift) & LOW_HALF) <= k else 0.0
            a_rank, b_rank = np.float64(a[j] >> high), np.float64(b[j] >> high)
            sums[j] += (a_hits * b_rank + b_hits * a_rank) / (a_rank * b_rank)
    total = 0.0
    for j in range(PARTIAL_SUMS):
        total += sums[j]
    for j in range(whole, found.size):
        if ((found[j] >> shift) & LOW_HALF) <= k:
            total += np.float64(found[j] & LOW_HALF) / np.float64(found[j] >> high)
    return total


@compiled
def _find_levels(keys, counter, shift, found, level):  # type: ignore[no-untyped-def]
    """Move the counters of a query over a tile; returns the number of relevant items.

    found[:count] gets what the counters reach at the relevant items, and level[:count] their levels.
    """
    key_shift, level_mask = np.uint64(shift), np.uint64((1 << shift) - 1)
    step = np.uint64(1) << np.uint64(32)
    count = np.uint64(0)
    for j in range(keys.size):
        key = np.uint64(keys[j])
        shared = key & level_mask
        is_relevant = np.uint64(shared != 0)
        reached = counter[key >> key_shift] + (step | is_relevant)
        counter[key >> key_shift] = reached
        found[count] = reached
        level[count] = shared
        count += is_relevant
    return np.int64(count)


@compiled
def _count_within(found, k):  # type: ignore[no-untyped-def]
    """How many of the ranks are at most k."""
    within = 0
    for j in range(found.size):
        within += (found[j] >> np.uint64(32)) <= k
    return within


@compiled
def add_up(  # type: ignore[no-untyped-def]
    reached,
    level,
    i,
    cuts,
    keep_relevant,
    precision_sums,
    cut_hits,
    relevant,
    hits_at_r,
    slots,
    hits,
    gain_slots,
    gains,
    discounts,
    discounted,
    sums,
):
    """Add what the ranks of some relevant items of query i give; see `sweep`.

    Args:
        reached, level: rank * 2^32 + rank among the relevant of each of them, and its level.
        sums: (PARTIAL_SUMS,) float64, scratch.
    """
    high = np.uint64(32)
    for c in range(cuts.size):
        precision_sums[i, c] += _sum_precisions(reached, cuts[c], keep_relevant[c], sums)
        if cuts[c] < LOW_HALF:
            cut_hits[i, c] += _count_within(reached, cuts[c])
    if relevant.size:
        hits_at_r[i] += _count_within(reached, relevant[i])
    if slots.size > 1:
        for j in range(reached.size):
            rank = reached[j] >> high
            if rank < slots.size:
                hits[i, slots[rank]] += 1
    if gain_slots.size > 1:
        for j in range(reached.size):
            rank = reached[j] >> high
            if rank < gain_slots.size:
                discounted[i, gain_slots[rank]] += gains[level[j]] * discounts[rank]


@compiled
def sweep(  # type: ignore[no-untyped-def]
    words,
    queries,
    labels,
    query_labels,
    shift,
    keys,
    counters,
    cuts,
    keep_relevant,
    precision_sums,
    cut_hits,
    relevant,
    hits_at_r,
    slots,
    hits,
    gain_slots,
    gains,
    discounts,
    discounted,
):
    """Rank a database block with ties in row order, and add up what the ranks of its relevant items give.

    No ranking is built: each distance has a counter that starts at the number of nearer items, and an item's rank is
    what its counter reaches when the rows are swept in order.

    Args:
        shift: keys hold the level in their lowest `shift` bits; one bit means "shares a label".
        keys: (TILE,) uint16 or uint32, scratch.
        counters: (Q, bits + 1) uint64, rank * 2^32 + rank among the relevant, reached so far; kept between blocks.
        cuts, keep_relevant: (C,) uint64 (2^32 - 1: no cut) and bool: the cut keeps relevant items, not positions.
        precision_sums, cut_hits: (Q, C) float64 and int64, added to: precisions at the relevant items within the
            cut, and, where there is a cut, the number of relevant items among the first k positions.
        relevant, hits_at_r: (Q,) uint64, R, and int64, added to: relevant items among the first R; both empty if not
            wanted.
        slots, hits: (longest rank + 1,) unsigned and (Q, K) int64: hits[q, slots[rank]] counts relevant items.
        gain_slots, gains, discounts, discounted: the same for sums of gains[level] * discounts[rank], float64.
    """
    found, level = np.empty(TILE, dtype=np.uint64), np.empty(TILE, dtype=np.uint16)
    sums = np.empty(PARTIAL_SUMS, dtype=np.float64)
    for start in range(0, words.shape[1], TILE):
        stop = min(start + TILE, words.shape[1])
        tile_keys = keys[: stop - start]
        for i in range(queries.shape[0]):
            _fill_keys(words, queries[i], labels, query_labels[i], 1 << shift, start, stop, tile_keys)
            count = _find_levels(tile_keys, counters[i], shift, found, level)
            add_up(
                found[:count],
                level[:count],
                i,
                cuts,
                keep_relevant,
                precision_sums,
                cut_hits,
                relevant,
                hits_at_r,
                slots,
                hits,
                gain_slots,
                gains,
                discounts,
                discounted,
                sums,
            )


@compiled
def sum_levels(histogram, gains, items, relevant, gain, level_items):  # type: ignore[no-untyped-def]
    """Items, relevant items and summed gain at each distance, and items at each level.

    Args:
        histogram: (Q, distances, levels) int64.
        gains: (levels,) float64.
        items, relevant, gain: (Q, distances) int64, int64 and float64, written.
        level_items: (Q, levels) int64, added to.
    """
    for q in range(histogram.shape[0]):
        for d in range(histogram.shape[1]):
            row = histogram[q, d]
            good = 0
            total = 0.0
            for level in range(row.size):
                level_items[q, level] += row[level]
            for level in range(1, row.size):
                good += row[level]
                total += row[level] * gains[level]
            items[q, d] = row[0] + good
            relevant[q, d] = good
            gain[q, d] = total
