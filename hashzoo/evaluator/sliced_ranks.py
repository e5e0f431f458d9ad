"""Ranks of relevant items from bit slices: other items are counted in bulk. Importing this imports numba.

512 rows at a time, the digits of their distances (see `bit_slices`) are turned into one set of rows for each distance.
How many rows lie at it before some row is a popcount of that set, so that only relevant rows are looked at one by one.
"""

from __future__ import annotations

import numpy as np

from hashzoo.evaluator.bit_slices import (
    DIGITS,
    LEVEL_DIGITS,
    STRIDE,
    TABLE_TRIPLES,
    TILE,
    TRIPLE,
    find_entries,
    find_wanted,
    sum_labels,
    sum_tile,
)
from hashzoo.evaluator.lanes import WORDS, any_bit, load, popcounts, running_sums, splat, spread, store
from hashzoo.kernels import PARTIAL_SUMS, add_up, compiled, inlined, popcount

MOST_BITS = 255  # a distance is kept in a byte
LOW = 8  # distances of which the digits above the third are the same
HIGHEST = 32  # more than MOST_BITS // LOW
ONE = np.uint64(1)


@inlined
def _enter(rows, distance, count, places, sets, ranks):  # type: ignore[no-untyped-def]
    """Write the set of rows at a distance, and the rank of the last of them in each word; move on the counter.

    Args:
        count: 2^32 times the number of the rows in the words so far.
    """
    at = WORDS * distance
    store(sets, at, rows)
    store(ranks, at, splat(places[distance]) + count)
    places[distance] = ranks[at + WORDS - 1]


@compiled
def _sort_rows(digits, at, bits, highs, places, sets, ranks):  # type: ignore[no-untyped-def]
    """Find the rows of a chunk at each distance.

    Args:
        digits, at: planes of the distances.
        highs: (HIGHEST * WORDS,) uint64, scratch: rows by the digits above the third.
        places: (distances,) uint64, rank * 2^32 of the last item so far at each distance; moved past this chunk.
        sets, ranks: (distances * WORDS,) uint64, written where there are rows: those at distance d, and, times 2^32,
            the rank of the last of them in the words up to i, at d * WORDS + i.
    """
    store(highs, 0, splat(np.uint64(0xFFFFFFFFFFFFFFFF)))
    top = 0
    while (bits // LOW) >> top:
        top += 1
    count = 1
    for k in range(top - 1, -1, -1):
        plane = load(digits, at + (3 + k) * WORDS)
        for i in range(count - 1, -1, -1):
            rows = load(highs, i * WORDS)
            ones = rows & plane
            store(highs, 2 * i * WORDS, rows ^ ones)
            store(highs, (2 * i + 1) * WORDS, ones)
        count *= 2
    quarter, half, first = splat(np.uint64(16)), splat(np.uint64(32)), splat(np.uint64(0xFFFF))
    d0, d1, d2 = load(digits, at), load(digits, at + WORDS), load(digits, at + 2 * WORDS)
    for high in range(bits // LOW + 1):
        rows = load(highs, high * WORDS)
        if not any_bit(rows):
            continue
        distance = high * LOW
        upper = rows & d2
        for four in (rows ^ upper, upper):
            two = four & d1
            zero = four ^ two
            one, three = zero & d0, two & d0
            zero, two = zero ^ one, two ^ three
            # Four numbers of rows, each at most 512, in the quarters of a word are summed over the words at once.
            counts = popcounts(zero) | (popcounts(one) << quarter)
            counts = running_sums(counts | (popcounts(two) << half) | (popcounts(three) << (half + quarter)))
            _enter(zero, distance, (counts & first) << half, places, sets, ranks)
            _enter(one, distance + 1, ((counts >> quarter) & first) << half, places, sets, ranks)
            _enter(two, distance + 2, counts & (first << half), places, sets, ranks)
            _enter(three, distance + 3, (counts >> quarter) & (first << half), places, sets, ranks)
            distance += LOW // 2


@compiled
def _find_ranks(distances, relevant, at, sets, ranks, relevant_places, found, count):  # type: ignore[no-untyped-def]
    """Append rank * 2^32 + rank among the relevant of each relevant row of a chunk, in row order; returns their number.

    Args:
        distances: (64 * WORDS,) uint8.
        relevant, at: the plane of relevant rows.
        relevant_places: (distances,) uint64, rank among the relevant of the last relevant item so far at each distance.
    """
    for w in range(WORDS):
        rest = relevant[at + w]
        line = distances[64 * w : 64 * w + 64]
        while rest:
            row = popcount(~rest & (rest - ONE))
            rest &= rest - ONE
            distance = np.uint64(line[row])
            place = distance * np.uint64(WORDS) + np.uint64(w)
            later = popcount(sets[place] >> row) - ONE
            reached = relevant_places[distance] + ONE
            relevant_places[distance] = reached
            found[count] = ranks[place] - (later << np.uint64(32)) + reached
            count += ONE
    return count


@compiled
def _find_levels(levels, relevant, at, level, count):  # type: ignore[no-untyped-def]
    """Append the levels of the relevant rows of a chunk, in row order."""
    for w in range(WORDS):
        rest = relevant[at + w]
        line = levels[64 * w : 64 * w + 64]
        while rest:
            row = popcount(~rest & (rest - ONE))
            rest &= rest - ONE
            level[count] = line[row]
            count += ONE


@compiled
def sweep_slices(  # type: ignore[no-untyped-def]
    planes,
    label_planes,
    rows,
    bits,
    queries,
    query_labels,
    levels,
    places,
    relevant_places,
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

    Args:
        planes, label_planes, rows, levels: as in `bit_slices.count_bit_slices`; up to MOST_BITS bits.
        places: (Q, distances) uint64, rank * 2^32 of the last item so far at each distance, at first the number of
            nearer items; distances up to the next multiple of LOW.
        relevant_places: the same among the relevant items, not multiplied.
        cuts, ...: as in `kernels.sweep`.
    """
    triples = planes.shape[1] // TRIPLE
    entries = find_entries(queries, bits, triples)
    table = np.zeros((8 * TABLE_TRIPLES + 1) * 2 * WORDS, dtype=np.uint64)
    classes = label_planes.shape[1]
    wanted, sizes = find_wanted(query_labels, classes)
    digits = np.empty(queries.shape[0] * STRIDE, dtype=np.uint64)
    masks = np.zeros((1 + LEVEL_DIGITS) * TILE, dtype=np.uint64)
    highs = np.empty(HIGHEST * WORDS, dtype=np.uint64)
    sets = np.zeros(places.shape[1] * WORDS, dtype=np.uint64)
    ranks = np.zeros(places.shape[1] * WORDS, dtype=np.uint64)
    far, shared = np.empty(64 * WORDS, dtype=np.uint8), np.empty(64 * WORDS, dtype=np.uint8)
    found, level = np.empty(64 * TILE, dtype=np.uint64), np.ones(64 * TILE, dtype=np.uint16)
    sums = np.empty(PARTIAL_SUMS, dtype=np.float64)
    flat, flat_labels = planes.reshape(-1), label_planes.reshape(-1)
    step = classes * WORDS
    for start in range(0, planes.shape[0], TILE // WORDS):
        chunks = min(TILE // WORDS, planes.shape[0] - start)
        sum_tile(flat, start, chunks, triples, entries, table, digits)
        for q in range(queries.shape[0]):
            sum_labels(flat_labels, start * step, step, chunks, wanted[q, : sizes[q]], levels, masks, TILE)
            if levels > 2:
                for i in range(0, chunks * WORDS, WORDS):
                    low, high = load(masks, TILE + i), load(masks, 3 * TILE + i)
                    store(masks, i, low | load(masks, 2 * TILE + i) | high | load(masks, 4 * TILE + i))
            any_shared = masks[:TILE] if levels > 2 else masks[TILE : 2 * TILE]
            count = np.uint64(0)
            for chunk in range(chunks):
                at = q * STRIDE + chunk * DIGITS * WORDS
                _sort_rows(digits, at, bits, highs, places[q], sets, ranks)
                for w in range(WORDS):
                    spread(far, 64 * w, digits, at + w, WORDS, 8)
                if levels > 2 and gain_slots.size > 1:
                    for w in range(WORDS):
                        spread(shared, 64 * w, masks, TILE + chunk * WORDS + w, TILE, 4)
                    _find_levels(shared, any_shared, chunk * WORDS, level, count)
                count = _find_ranks(far, any_shared, chunk * WORDS, sets, ranks, relevant_places[q], found, count)
            size = np.int64(count)
            add_up(
                found[:size],
                level[:size],
                q,
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
    padding = np.uint64(planes.shape[0] * planes.shape[2] * 64 - rows)
    for q in range(queries.shape[0]):
        ones = np.uint64(0)
        for w in range(queries.shape[1]):
            ones += popcount(queries[q, w])
        places[q, ones] -= padding << np.uint64(32)  # what follows the last row looks like codes of zeros, not relevant
