"""Histograms of distances without computing a distance: rows are counted 512 at a time. Importing this imports numba.

The database is held bit-sliced: plane b has bit b of every row, 64 rows to a word. For each query, carry-save adders
(Warren, Hacker's Delight, chapter 5) add up the planes of differing bits, which gives the binary digits of 512
distances at once; the digits of the number of shared labels come the same way. A row's digits are a set, and an AND
of planes with a popcount says in how many rows' sets all digits of a number S are. From these superset counts, of
which there are no more than histogram entries, Moebius inversion gives the histogram: in place of a scattered
increment for each pair there are a few vector instructions for each entry and 512 pairs.

Every number in a histogram is an exact integer, whatever the order of rows.
"""

from __future__ import annotations

import numpy as np

from hashzoo.evaluator.lanes import WORDS, any_bit, load, popcounts, splat, store, sums
from hashzoo.kernels import compiled, popcount

CHUNK_ROWS = 64 * WORDS
TILE = 128  # words a plane for which a query's counts stay in registers
MOST_BITS = 256
MOST_LEVELS = 16
DIGITS = 9  # of a distance up to 256
STRIDE = TILE * DIGITS  # words of a query's digits of a tile
LEVEL_DIGITS = 4
TRIPLE = 3  # bits of a code whose eight possible sums are computed once for all queries
ADDED = 8  # triples added at a time
TABLE_TRIPLES = 24  # whose sums stay in the first-level cache together


@compiled
def fill_planes(data, planes):  # type: ignore[no-untyped-def]
    """Transpose packed rows to bit planes.

    Args:
        data: (n, bytes) uint8, bit j of a row in bit j % 8 of byte j // 8.
        planes: (ceil(n / 512), count, 8) uint64, written: bit r % 64 of planes[r // 512, j, r // 64 % 8] is bit j of
            row r; 0 past the last row and the last bit.
    """
    rows, width = data.shape
    square = np.empty(64, dtype=np.uint64)
    for block in range(planes.shape[0] * planes.shape[2]):
        chunk, word = block // planes.shape[2], block % planes.shape[2]
        first = 64 * block
        here = max(0, min(64, rows - first))
        for bit in range(0, planes.shape[1], 64):
            byte = bit // 8
            for r in range(64):
                value = np.uint64(0)
                if r < here:
                    for b in range(min(8, width - byte)):
                        value |= np.uint64(data[first + r, byte + b]) << np.uint64(8 * b)
                square[r] = value
            _transpose(square)
            for b in range(min(64, planes.shape[1] - bit)):
                planes[chunk, bit + b, word] = square[b]


@compiled
def _transpose(square):  # type: ignore[no-untyped-def]
    """Transpose 64 x 64 bits in place: swap blocks off the diagonal, of half the size each time."""
    size = 32
    mask = np.uint64(0xFFFFFFFF)
    while size:
        shift = np.uint64(size)
        for start in range(0, 64, 2 * size):
            upper, lower = square[start : start + size], square[start + size : start + 2 * size]
            for k in range(upper.size):
                swapped = ((upper[k] >> shift) ^ lower[k]) & mask
                upper[k] ^= swapped << shift
                lower[k] ^= swapped
        size //= 2
        mask ^= mask << np.uint64(size)


@compiled
def _add(a, b, c):  # type: ignore[no-untyped-def]
    """Full adder: sum and carry."""
    return a ^ b ^ c, (a & b) | (c & (a | b))


@compiled
def _sum_triples(planes, at, triples, table):  # type: ignore[no-untyped-def]
    """Differing bits among every three planes of a chunk, for each of the eight values that a query may have there."""
    ones = splat(np.uint64(0xFFFFFFFFFFFFFFFF))
    for t in range(triples):
        a, b, c = load(planes, at), load(planes, at + WORDS), load(planes, at + 2 * WORDS)
        at += TRIPLE * WORDS
        for value in range(8):
            low, high = _add(
                a ^ ones if value & 1 else a,
                b ^ ones if value & 2 else b,
                c ^ ones if value & 4 else c,
            )
            store(table, (8 * t + value) * 2 * WORDS, low)
            store(table, (8 * t + value) * 2 * WORDS + WORDS, high)


@compiled
def _sum_distances(table, entries, digits, at, stride, more):  # type: ignore[no-untyped-def]
    """Write the DIGITS planes of a chunk's distances to each query, from the sums of triples that `entries` names.

    Args:
        more: add to the planes that are there.
    """
    for q in range(entries.shape[0]):
        to = at + q * stride
        ones = twos = fours = eights = d4 = d5 = d6 = d7 = d8 = splat(np.uint64(0))
        if more:
            ones, twos, fours = load(digits, to), load(digits, to + WORDS), load(digits, to + 2 * WORDS)
            eights, d4, d5 = load(digits, to + 3 * WORDS), load(digits, to + 4 * WORDS), load(digits, to + 5 * WORDS)
            d6, d7, d8 = load(digits, to + 6 * WORDS), load(digits, to + 7 * WORDS), load(digits, to + 8 * WORDS)
        for g in range(entries.shape[1]):
            entry = entries[q, g]
            i, j, k, m = entry[0], entry[1], entry[2], entry[3]
            ones, two = _add(ones, load(table, i), load(table, j))
            ones, two_more = _add(ones, load(table, k), load(table, m))
            twos, four = _add(twos, two, two_more)
            twos, four_b = _add(twos, load(table, i + WORDS), load(table, j + WORDS))
            twos, four_c = _add(twos, load(table, k + WORDS), load(table, m + WORDS))
            fours, eight = _add(fours, four, four_b)
            i, j, k, m = entry[4], entry[5], entry[6], entry[7]
            ones, two = _add(ones, load(table, i), load(table, j))
            ones, two_more = _add(ones, load(table, k), load(table, m))
            twos, four = _add(twos, two, two_more)
            fours, eight_b = _add(fours, four_c, four)
            twos, four_b = _add(twos, load(table, i + WORDS), load(table, j + WORDS))
            twos, four_c = _add(twos, load(table, k + WORDS), load(table, m + WORDS))
            fours, eight_c = _add(fours, four_b, four_c)
            eights, carry = _add(eights, eight, eight_b)
            carry_b = eights & eight_c
            eights = eights ^ eight_c
            d4, carry = _add(d4, carry, carry_b)
            carry_b = d5 & carry
            d5 = d5 ^ carry
            carry = d6 & carry_b
            d6 = d6 ^ carry_b
            carry_b = d7 & carry
            d7 = d7 ^ carry
            d8 = d8 ^ carry_b
        store(digits, to, ones)
        store(digits, to + WORDS, twos)
        store(digits, to + 2 * WORDS, fours)
        store(digits, to + 3 * WORDS, eights)
        store(digits, to + 4 * WORDS, d4)
        store(digits, to + 5 * WORDS, d5)
        store(digits, to + 6 * WORDS, d6)
        store(digits, to + 7 * WORDS, d7)
        store(digits, to + 8 * WORDS, d8)


@compiled
def sum_labels(label_planes, at, step, chunks, wanted, levels, masks, to):  # type: ignore[no-untyped-def]
    """Write the planes of a tile's numbers of shared labels; with two levels one plane, "any"."""
    for _ in range(chunks):
        d0 = d1 = d2 = d3 = splat(np.uint64(0))
        if levels == 2:
            for i in range(wanted.size):
                d0 = d0 | load(label_planes, at + wanted[i])
        else:
            for i in range(wanted.size):
                carry = load(label_planes, at + wanted[i])
                carry_b = d0 & carry
                d0 = d0 ^ carry
                carry = d1 & carry_b
                d1 = d1 ^ carry_b
                carry_b = d2 & carry
                d2 = d2 ^ carry
                d3 = d3 ^ carry_b
            store(masks, to + TILE, d1)
            store(masks, to + 2 * TILE, d2)
            store(masks, to + 3 * TILE, d3)
        store(masks, to, d0)
        at += step
        to += WORDS


@compiled
def _lowest(number):  # type: ignore[no-untyped-def]
    """The place of the lowest 1 of a positive number."""
    place = 0
    while not (number >> place) & 1:
        place += 1
    return place


@compiled
def _count_supersets(digits, at, chunks, bits, masks, top, counts):  # type: ignore[no-untyped-def]
    """Add a tile's superset counts of one query.

    Args:
        digits, at: planes of the distances, chunk by chunk.
        masks: flat planes of TILE words: 0 all ones, then LEVEL_DIGITS of the level, then room for one plane a digit
            of level and distance: the AND of a prefix of S, of which the named digit is the last.
        top: the highest level that a row can have.
        counts: (levels, ceil((bits + 1) / 8) * 8) uint64, added to: rows whose digits include those of S.
    """
    level_room = (1 + LEVEL_DIGITS) * TILE
    room = (1 + 2 * LEVEL_DIGITS) * TILE
    size = chunks * WORDS
    for level in range(top + 1):
        base = 0
        if level:
            low = _lowest(level)
            rest = level & (level - 1)
            source = level_room + _lowest(rest) * TILE if rest else 0
            base = level_room + low * TILE
            plane = (1 + low) * TILE
            for i in range(0, size, WORDS):
                store(masks, base + i, load(masks, source + i) & load(masks, plane + i))
        row = counts[level]
        for high in range(bits // 8 + 1):
            mask = base
            if high:
                low = _lowest(high)
                rest = high & (high - 1)
                source = room + _lowest(rest) * TILE if rest else base
                mask = room + low * TILE
                plane = at + (3 + low) * WORDS
                some = splat(np.uint64(0))
                for i in range(0, size, WORDS):
                    both = load(masks, source + i) & load(digits, plane + i * DIGITS)
                    some = some | both
                    store(masks, mask + i, both)
                if not any_bit(some):
                    continue
            n0 = n1 = n2 = n3 = n4 = n5 = n6 = n7 = splat(np.uint64(0))
            for i in range(0, size, WORDS):
                place = at + i * DIGITS
                all_of = load(masks, mask + i)
                two = load(digits, place + WORDS)
                a, b, c = all_of & load(digits, place), all_of & two, all_of & load(digits, place + 2 * WORDS)
                ab = a & two
                n0 += popcounts(all_of)
                n1 += popcounts(a)
                n2 += popcounts(b)
                n3 += popcounts(ab)
                n4 += popcounts(c)
                n5 += popcounts(a & c)
                n6 += popcounts(b & c)
                n7 += popcounts(ab & c)
            store(row, 8 * high, load(row, 8 * high) + sums(n0, n1, n2, n3, n4, n5, n6, n7))


@compiled
def _invert(counts, bits, histogram):  # type: ignore[no-untyped-def]
    """Superset counts to counts, level by level and distance by distance; `counts` is overwritten."""
    levels = counts.shape[0]
    step = 1
    while step <= bits:
        for level in range(levels):
            row = counts[level]
            for s in range(bits + 1 - step):
                if not s & step:
                    row[s] -= row[s + step]
        step *= 2
    step = 1
    while step < levels:
        for level in range(levels - step):
            if not level & step:
                row, more = counts[level], counts[level + step]
                for s in range(bits + 1):
                    row[s] -= more[s]
        step *= 2
    for level in range(levels):
        for s in range(bits + 1):
            histogram[s * levels + level] += np.int64(counts[level, s])


@compiled
def _bit(words, place):  # type: ignore[no-untyped-def]
    return np.int64((words[place // 64] >> np.uint64(place % 64)) & np.uint64(1))


@compiled
def find_entries(queries, bits, triples):  # type: ignore[no-untyped-def]
    """(Q, groups, ADDED) int64: where in the table of `_sum_triples` the sums for each query begin.

    A group is filled up with the entry after the last, which stays 0.
    """
    nothing = 8 * TABLE_TRIPLES * 2 * WORDS
    entries = np.full((queries.shape[0], -(-triples // ADDED), ADDED), nothing, dtype=np.int64)
    for q in range(queries.shape[0]):
        for t in range(triples):
            value = np.int64(0)
            for b in range(min(TRIPLE, bits - TRIPLE * t)):
                value |= _bit(queries[q], TRIPLE * t + b) << b
            entries[q, t // ADDED, t % ADDED] = (8 * (t % TABLE_TRIPLES) + value) * 2 * WORDS
    return entries


@compiled
def find_wanted(query_labels, classes):  # type: ignore[no-untyped-def]
    """(Q, classes) int64, of which the first sizes[q] say where the planes of a query's labels begin; and the sizes."""
    queries = query_labels.shape[0]
    wanted, sizes = np.empty((queries, classes), dtype=np.int64), np.zeros(queries, dtype=np.int64)
    for q in range(queries):
        for c in range(classes):
            if _bit(query_labels[q], c):
                wanted[q, sizes[q]] = c * WORDS
                sizes[q] += 1
    return wanted, sizes


@compiled
def sum_tile(planes, start, chunks, triples, entries, table, digits):  # type: ignore[no-untyped-def]
    """Write the digits of the distances from the rows of a tile, whose first chunk is `start`, to each query.

    Args:
        planes: flat planes of the codes.
        entries: of `find_entries`.
        table: ((8 * TABLE_TRIPLES + 1) * 2 * WORDS,) uint64, scratch whose last entry stays 0.
        digits: (Q * STRIDE,) uint64, written: chunk by chunk for each query.
    """
    for chunk in range(chunks):
        for first in range(0, triples, TABLE_TRIPLES):
            last = min(first + TABLE_TRIPLES, triples)
            _sum_triples(planes, ((start + chunk) * triples + first) * TRIPLE * WORDS, last - first, table)
            groups = entries[:, first // ADDED : -(-last // ADDED)]
            _sum_distances(table, groups, digits, chunk * DIGITS * WORDS, STRIDE, first > 0)


@compiled
def count_bit_slices(planes, label_planes, rows, bits, queries, query_labels, levels, histogram):  # type: ignore[no-untyped-def]
    """Add a database block to each query's histogram over (distance, level).

    Args:
        planes, label_planes: (chunks, 3 triples, 8) and (chunks, classes, 8) uint64 of `fill_planes`.
        rows: how many rows the planes hold.
        queries, query_labels: (Q, W) and (Q, L) uint64.
        levels: 2 ("shares a label"), or one more than any row shares with any query.
        histogram: (Q, (bits + 1) * levels) int64, added to.
    """
    triples = planes.shape[1] // TRIPLE
    entries = find_entries(queries, bits, triples)
    table = np.zeros((8 * TABLE_TRIPLES + 1) * 2 * WORDS, dtype=np.uint64)
    classes = label_planes.shape[1]
    wanted, sizes = find_wanted(query_labels, classes)
    digits = np.empty(queries.shape[0] * STRIDE, dtype=np.uint64)
    masks = np.zeros((1 + 2 * LEVEL_DIGITS + DIGITS) * TILE, dtype=np.uint64)
    masks[:TILE] = np.uint64(0xFFFFFFFFFFFFFFFF)
    counts = np.zeros((queries.shape[0], levels, 8 * (bits // 8 + 1)), dtype=np.uint64)
    flat, flat_labels = planes.reshape(-1), label_planes.reshape(-1)
    step = classes * WORDS
    for start in range(0, planes.shape[0], TILE // WORDS):
        chunks = min(TILE // WORDS, planes.shape[0] - start)
        sum_tile(flat, start, chunks, triples, entries, table, digits)
        for q in range(queries.shape[0]):
            labels = wanted[q, : sizes[q]]
            sum_labels(flat_labels, start * step, step, chunks, labels, levels, masks, TILE)
            _count_supersets(digits, q * STRIDE, chunks, bits, masks, min(levels - 1, sizes[q]), counts[q])
    padding = planes.shape[0] * planes.shape[2] * 64 - rows
    for q in range(queries.shape[0]):
        _invert(counts[q], bits, histogram[q])
        ones = np.int64(0)
        for w in range(queries.shape[1]):
            ones += np.int64(popcount(queries[q, w]))
        histogram[q, ones * levels] -= padding  # what follows the last row looks like codes of zeros without labels
