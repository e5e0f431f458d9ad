"""Compiled Hamming kernels over packed words. Importing this module imports numba: import it where a kernel is needed.

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
LOW_HALF = np.uint64(0xFFFFFFFF)
PARTIAL_SUMS = 32
SUBHISTOGRAM_ENTRIES = 1024  # up to this many counters, four interleaved copies beat waiting for the last store


def compiled(function: Callable[..., Any], fastmath: bool | set[str] = False) -> Callable[..., Any]:
    """`numba.njit`, GIL released, kept on disk for later processes wherever some cache folder can be written.

    The numpy error model leaves out the test for division by zero, without which divisions are not vectorised.
    """
    try:
        return numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath, cache=True)
    except RuntimeError:  # neither the package nor any user cache folder is writable
        return numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath)


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
    """Sum of hits / rank over what `_find_relevant` found at a rank (or a rank among the relevant) of at most k.

    PARTIAL_SUMS of them side by side, always in one order, so that no addition waits for the one before.
    """
    high = np.uint64(32)
    shift = np.uint64(0) if relevant_ranks else high
    whole = found.size - found.size % PARTIAL_SUMS
    sums[:] = 0.0
    for start in range(0, whole, PARTIAL_SUMS):
        part = found[start : start + PARTIAL_SUMS]
        for j in range(PARTIAL_SUMS):
            precision = np.float64(part[j] & LOW_HALF) / np.float64(part[j] >> high)
            sums[j] += precision if ((part[j] >> shift) & LOW_HALF) <= k else 0.0
    total = 0.0
    for j in range(PARTIAL_SUMS):
        total += sums[j]
    for j in range(whole, found.size):
        if ((found[j] >> shift) & LOW_HALF) <= k:
            total += np.float64(found[j] & LOW_HALF) / np.float64(found[j] >> high)
    return total


@compiled
def _find_relevant(a_keys, b_keys, a_counter, b_counter, a_found, b_found):  # type: ignore[no-untyped-def]
    """Move the counters of two queries over a tile; found[:count] gets what they reach at the relevant items.

    Two queries in turn, so that a counter is seldom read while its last store is still under way.
    """
    one = np.uint64(1)
    step = one << np.uint64(32)
    a_count, b_count = np.uint64(0), np.uint64(0)
    for j in range(a_keys.size):
        a_key, b_key = np.uint64(a_keys[j]), np.uint64(b_keys[j])
        a_relevant, b_relevant = a_key & one, b_key & one
        reached = a_counter[a_key >> one] + (step | a_relevant)
        a_counter[a_key >> one] = reached
        a_found[a_count] = reached
        reached = b_counter[b_key >> one] + (step | b_relevant)
        b_counter[b_key >> one] = reached
        b_found[b_count] = reached
        a_count += a_relevant
        b_count += b_relevant
    return np.int64(a_count), np.int64(b_count)


@compiled
def _find_levels(keys, counter, shift, found, level):  # type: ignore[no-untyped-def]
    """`_find_relevant` of one query whose keys have more than one bit of level; level[:count] gets the levels."""
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
        keys: (2, TILE) uint16 or uint32, scratch.
        counters: (Q, bits + 1) uint64, rank * 2^32 + rank among the relevant, reached so far; kept between blocks.
        cuts, keep_relevant: (C,) uint64 (2^32 - 1: no cut) and bool: the cut keeps relevant items, not positions.
        precision_sums, cut_hits: (Q, C) float64 and int64, added to: precisions at the relevant items within the
            cut, and, where there is a cut, the number of relevant items among the first k positions.
        relevant, hits_at_r: (Q,) uint64, R, and int64, added to: relevant items among the first R; both empty if not
            wanted.
        slots, hits: (longest rank + 1,) unsigned and (Q, K) int64: hits[q, slots[rank]] counts relevant items.
        gain_slots, gains, discounts, discounted: the same for sums of gains[level] * discounts[rank], float64.
    """
    high = np.uint64(32)
    found, level = np.empty((2, TILE), dtype=np.uint64), np.ones((2, TILE), dtype=np.uint16)
    sums = np.empty(PARTIAL_SUMS, dtype=np.float64)
    spare = np.zeros(counters.shape[1], dtype=np.uint64)
    for start in range(0, words.shape[1], TILE):
        stop = min(start + TILE, words.shape[1])
        a_keys, b_keys = keys[0, : stop - start], keys[1, : stop - start]
        for a in range(0, queries.shape[0], 2):
            b = min(a + 1, queries.shape[0] - 1)  # a query left over is its own partner, with a counter of no use
            _fill_keys(words, queries[a], labels, query_labels[a], 1 << shift, start, stop, a_keys)
            _fill_keys(words, queries[b], labels, query_labels[b], 1 << shift, start, stop, b_keys)
            b_counter = counters[b] if b > a else spare
            if shift == 1:
                a_count, b_count = _find_relevant(a_keys, b_keys, counters[a], b_counter, found[0], found[1])
            else:
                a_count = _find_levels(a_keys, counters[a], shift, found[0], level[0])
                b_count = _find_levels(b_keys, b_counter, shift, found[1], level[1])
            for i in range(a, b + 1):
                reached = found[i - a, : a_count if i == a else b_count]
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
                            discounted[i, gain_slots[rank]] += gains[level[i - a, j]] * discounts[rank]


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


STRIP = 256  # distances whose least is compared with the limit of a search in one vector loop
PART = 32  # of a strip with candidates: distances that are then looked at one by one
QUERIES_AT_ONCE = 64  # queries of a search that share one trip of the database through the cache
CANDIDATES = 1 << 20  # places for candidates of such a group together; a large k takes fewer queries at once


@compiled
def _fill_distances(words, query, start, stop, distances):  # type: ignore[no-untyped-def]
    """distances[j] = Hamming distance of row start + j."""
    word, q = words[0, start:stop], query[0]
    for j in range(distances.size):
        distances[j] = popcount(word[j] ^ q)
    for w in range(1, words.shape[0]):
        word, q = words[w, start:stop], query[w]
        for j in range(distances.size):
            distances[j] += np.uint16(popcount(word[j] ^ q))


@compiled
def _least(values):  # type: ignore[no-untyped-def]
    """The smallest value; a vector loop, which a search for the first value under a limit is not."""
    least = values[0]
    for j in range(values.size):
        least = min(least, values[j])
    return least


@compiled
def _keep_nearest(rows, distances, limit):  # type: ignore[no-untyped-def]
    """Close up the candidates that are not farther than the limit; returns their number."""
    kept = 0
    for j in range(distances.size):
        if distances[j] <= limit:
            rows[kept], distances[kept] = rows[j], distances[j]
            kept += 1
    return kept


@compiled
def _collect(tile, row, k, limit, nearer, used, counts, rows, distances):  # type: ignore[no-untyped-def]
    """Append what is nearer than the limit to the candidates rows[:used]; tile[0] is the distance of `row`.

    The limit is the distance of the k-th nearest so far (at first, more than any distance) and `nearer`, always less
    than k, the number of candidates nearer than that. An item at the limit comes too late: earlier rows win ties.
    """
    for a in range(0, tile.size, STRIP):
        strip = tile[a : a + STRIP]
        if _least(strip) >= limit:
            continue
        for b in range(0, strip.size, PART):
            part = strip[b : b + PART]
            if _least(part) >= limit:
                continue
            for j in range(part.size):
                distance = np.int64(part[j])
                if distance < limit:
                    rows[used], distances[used] = row + a + b + j, distance
                    used += 1
                    counts[distance] += 1
                    nearer += 1
                    while nearer >= k:
                        limit -= 1
                        nearer -= counts[limit]
    return limit, nearer, used


@compiled
def top_k(words, start, stop, queries, bits, rows, distances):  # type: ignore[no-untyped-def]
    """The k nearest of the database rows start..stop - 1, nearest first, ties in row order.

    Counting selection: a candidate is stored in constant time, and the candidates are sorted once, by counting.

    Args:
        words: (W, n) uint64.
        rows, distances: (Q, k) int64 and int32, written; k is at most stop - start, and 0 only with no rows at all.
    """
    k = rows.shape[1]
    # Fewer than 2k candidates are not farther than the limit, so that closing them up frees k places and a tile.
    room = max(min(3 * k + TILE, stop - start), 1)
    at_once = min(max(CANDIDATES // room, 1), QUERIES_AT_ONCE, max(queries.shape[0], 1))
    candidates, near = np.empty((at_once, room), dtype=np.int64), np.empty((at_once, room), dtype=np.uint16)
    counts = np.empty((at_once, bits + 1), dtype=np.int64)
    limits, nearer = np.empty(at_once, dtype=np.int64), np.empty(at_once, dtype=np.int64)
    used = np.empty(at_once, dtype=np.int64)
    scratch = np.empty(TILE, dtype=np.uint16)
    for first in range(0, queries.shape[0], at_once):
        group = queries[first : first + at_once]
        counts[:], limits[:], nearer[:], used[:] = 0, bits + 1, 0, 0
        for low in range(start, stop, TILE):
            tile = scratch[: min(TILE, stop - low)]
            for i in range(group.shape[0]):
                _fill_distances(words, group[i], low, low + tile.size, tile)
                if used[i] + tile.size > room:
                    used[i] = _keep_nearest(candidates[i, : used[i]], near[i, : used[i]], limits[i])
                limits[i], nearer[i], used[i] = _collect(
                    tile, low, k, limits[i], nearer[i], used[i], counts[i], candidates[i], near[i]
                )
        for i in range(group.shape[0]):
            place = 0
            for distance in range(min(limits[i], bits) + 1):  # from here on, where the next at this distance belongs
                count = counts[i, distance]
                counts[i, distance] = place
                place += count
            for j in range(used[i]):
                distance = near[i, j]
                if distance <= limits[i] and counts[i, distance] < k:
                    place = counts[i, distance]
                    rows[first + i, place], distances[first + i, place] = candidates[i, j], distance
                    counts[i, distance] = place + 1
