"""Compiled Hamming kernels over packed words. Importing this module imports numba; nothing else in hashzoo does.

Shapes: codes are word-major, `words` (W, n) uint64 for the database and (Q, W) for queries; labels are bit sets,
(L, n) and (Q, L) uint64. Every kernel releases the GIL, so threads run them side by side on distinct queries; a
query is always handled by one thread in one order, and so results do not depend on the number of threads.

Inner loops run over slices (`range(x.size)`, no offset arithmetic): only then does LLVM make vector popcounts of them.
All of the kernels stand in this one file because numba checks its cache against the file of the outer function alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

TILE = 4096  # database rows that stay in the first-level cache while a group of queries passes over them
SUBHISTOGRAM_ENTRIES = 1024  # up to this many counters, four interleaved copies beat waiting for the last store


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`numba.njit`, GIL released, kept on disk for later processes wherever some cache folder can be written."""
    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:  # neither the package nor any user cache folder is writable
        return numba.njit(function, nogil=True)


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
def _sum_within(values, found, k, relevant_ranks):  # type: ignore[no-untyped-def]
    """Sum of the values whose rank (or rank among the relevant) is at most k; four chains, always in one order."""
    shift = np.uint64(0 if relevant_ranks else 32)
    mask = np.uint64(0xFFFFFFFF)
    quarter = values.size // 4
    v0, v1, v2, v3 = (
        values[:quarter],
        values[quarter : 2 * quarter],
        values[2 * quarter : 3 * quarter],
        values[3 * quarter :],
    )
    f0, f1, f2, f3 = (
        found[:quarter],
        found[quarter : 2 * quarter],
        found[2 * quarter : 3 * quarter],
        found[3 * quarter :],
    )
    a = b = c = d = 0.0
    for j in range(quarter):
        a += v0[j] if ((f0[j] >> shift) & mask) <= k else 0.0
        b += v1[j] if ((f1[j] >> shift) & mask) <= k else 0.0
        c += v2[j] if ((f2[j] >> shift) & mask) <= k else 0.0
        d += v3[j] if ((f3[j] >> shift) & mask) <= k else 0.0
    for j in range(quarter, v3.size):
        d += v3[j] if ((f3[j] >> shift) & mask) <= k else 0.0
    return (a + b) + (c + d)


@compiled
def sweep(  # type: ignore[no-untyped-def]
    words,
    queries,
    labels,
    query_labels,
    shift,
    keys,
    counters,
    relevant,
    cuts,
    keep_relevant,
    precision_sums,
    cut_hits,
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
        counters: (Q, bits + 1) uint64, rank * 2^32 + rank among the relevant, reached so far; carried from block to block.
        relevant: (Q,) int64, R of each query.
        cuts, keep_relevant: (C,) uint64 and bool; a cut counts ranks among the relevant if it keeps relevant items.
        precision_sums, cut_hits: (Q, C) float64 and int64, added to: precisions at the relevant items within the
            cut, and the number of relevant items among the first k positions.
        hits_at_r: (Q,) int64, added to: relevant items among the first R.
        slots, hits: (longest rank + 1,) uint16 and (Q, K) int64: hits[q, slots[rank]] counts relevant items.
        gain_slots, gains, discounts, discounted: the same for sums of gains[level] * discounts[rank], float64.
    """
    one = np.uint64(1)
    mask = np.uint64(0xFFFFFFFF)
    level_mask = keys.dtype.type((1 << shift) - 1)
    key_shift = keys.dtype.type(shift)
    found, level = np.empty(TILE, dtype=np.uint64), np.empty(TILE, dtype=np.uint16)
    precision = np.empty(TILE, dtype=np.float64)
    for start in range(0, words.shape[1], TILE):
        stop = min(start + TILE, words.shape[1])
        tile_keys = keys[: stop - start]
        for i in range(queries.shape[0]):
            _fill_keys(words, queries[i], labels, query_labels[i], 1 << shift, start, stop, tile_keys)
            counter = counters[i]
            count = 0
            for j in range(tile_keys.size):
                bucket = tile_keys[j] >> key_shift
                shared = tile_keys[j] & level_mask
                is_relevant = np.uint64(shared != 0)
                reached = counter[bucket] + (one << np.uint64(32)) + is_relevant
                counter[bucket] = reached
                found[count] = reached
                level[count] = shared
                count += np.int64(is_relevant)
            ranks, values = found[:count], precision[:count]
            for j in range(values.size):
                values[j] = np.float64(ranks[j] & mask) / np.float64(ranks[j] >> np.uint64(32))
            for c in range(cuts.size):
                k = cuts[c]
                precision_sums[i, c] += _sum_within(values, ranks, k, keep_relevant[c])
                within = 0
                for j in range(ranks.size):
                    within += (ranks[j] >> np.uint64(32)) <= k
                cut_hits[i, c] += within
            within = 0
            r = np.uint64(relevant[i])
            for j in range(ranks.size):
                within += (ranks[j] >> np.uint64(32)) <= r
            hits_at_r[i] += within
            if slots.size > 1:
                for j in range(ranks.size):
                    rank = ranks[j] >> np.uint64(32)
                    if rank < slots.size:
                        hits[i, slots[rank]] += 1
            if gain_slots.size > 1:
                for j in range(ranks.size):
                    rank = ranks[j] >> np.uint64(32)
                    if rank < gain_slots.size:
                        discounted[i, gain_slots[rank]] += gains[level[j]] * discounts[rank]
