"""Compiled scans of packed codes: the k nearest rows of each query, or all within a radius. Importing imports numba.

The database is read where it lies, row by row, a tile at a time: a tile is turned into words, word by word of its
rows, and stays in the cache while a group of queries passes over it. Distances are computed 64 at a time in registers
and compared with what is still wanted; hardly ever is one of them wanted, and only then is it looked at alone.

A query is handled by one thread in row order, and so nothing depends on the number of threads.
"""

from __future__ import annotations

import numpy as np

from hashzoo.evaluator.lanes import WORDS, below, evens, least, load, odds, popcounts, splat, store
from hashzoo.kernels import compiled, inlined, popcount

STRIP = 8 * WORDS  # rows whose distances are held in registers together
FULL = np.uint64(2**64 - 1)
TILE_WORDS = 8192  # of a tile, which stay in the second-level cache at worst
QUERIES_AT_ONCE = 64  # that share one trip of the database through the cache
CANDIDATES = 1 << 20  # places for candidates of such a group together; a large k takes fewer queries at once


@compiled
def _spread(pieces, columns, chosen, count, tile, rows):  # type: ignore[no-untyped-def]
    """Put together the words of a tile from the pieces, of 1, 2, 4 or 8 bytes, of which each row has `columns`.

    Args:
        pieces: flat; if `chosen` is empty, those of the first `count` rows follow each other, else those of rows
            chosen[:count] are taken.
    """
    in_word = 8 // pieces.itemsize
    for p in range(columns):
        word, place = p // in_word, p % in_word
        line, shift = tile[word * rows : word * rows + count], np.uint64(8 * pieces.itemsize * place)
        if place == 0:
            line[:] = np.uint64(0)
        if chosen.size:
            for j in range(count):
                line[j] |= np.uint64(pieces[chosen[j] * columns + p]) << shift
        elif columns == 1:
            for j in range(count):
                line[j] = np.uint64(pieces[j])
        else:
            for j in range(count):
                line[j] |= np.uint64(pieces[j * columns + p]) << shift


@compiled
def _load_tile(data, allowed, low, count, tile, rows):  # type: ignore[no-untyped-def]
    """tile[w * rows + j] becomes word w of row low + j, or of row allowed[low + j] if any are given."""
    width = data.shape[1]
    chosen = allowed[low : low + count]
    flat = data.reshape(-1) if chosen.size else data[low : low + count].reshape(-1)
    if width == 16 and not chosen.size:
        words = flat.view(np.uint64)
        for j in range(0, count - count % WORDS, WORDS):
            a, b = load(words, 2 * j), load(words, 2 * j + WORDS)
            store(tile, j, evens(a, b))
            store(tile, rows + j, odds(a, b))
        for j in range(count - count % WORDS, count):
            tile[j], tile[rows + j] = words[2 * j], words[2 * j + 1]
    elif width % 8 == 0:
        _spread(flat.view(np.uint64), width // 8, chosen, count, tile, rows)
    elif width % 4 == 0:
        _spread(flat.view(np.uint32), width // 4, chosen, count, tile, rows)
    elif width % 2 == 0:
        _spread(flat.view(np.uint16), width // 2, chosen, count, tile, rows)
    else:
        _spread(flat, width, chosen, count, tile, rows)


@compiled
def _next_tile(data, allowed, low, stop, tile, rows, alone):  # type: ignore[no-untyped-def]
    """The next rows as `_find_nearer` takes them: words, the step from word to word of a row, and their number.

    Rows of one word are scanned where they lie, and rows of two if the query is alone; then the step is 0, and they
    are for `_find_nearer_pairs`.
    """
    count = min(rows, stop - low)
    if (data.shape[1] == 8 or (data.shape[1] == 16 and alone)) and allowed.size == 0 and count >= STRIP:
        count -= count % STRIP
        return data[low : low + count].reshape(-1).view(np.uint64), 2 - data.shape[1] // 8, count
    _load_tile(data, allowed, low, count, tile, rows)
    return tile, rows, count


@inlined
def _compare(a, b, c, d, e, f, g, h, limit, strip):  # type: ignore[no-untyped-def]
    """Which of STRIP distances are below the limit: bit j is that of row j. If any is, strip[j] becomes distance j."""
    bound = splat(np.uint64(limit))
    nearest = least(least(least(a, b), least(c, d)), least(least(e, f), least(g, h)))
    if not below(nearest, bound):
        return np.uint64(0)
    found = np.uint64(0)
    i = 0
    for some in (a, b, c, d, e, f, g, h):
        store(strip, i, some)
        found |= below(some, bound) << np.uint64(i)
        i += WORDS
    return found


@inlined
def _find_nearer(words, at, step, query, limit, strip):  # type: ignore[no-untyped-def]
    """Which of STRIP rows are nearer than the limit: bit j is row j's. If any is, strip[j] becomes its distance.

    Word w of row j stands at words[at + w * step + j].
    """
    q = splat(query[0])
    a, b = popcounts(load(words, at) ^ q), popcounts(load(words, at + WORDS) ^ q)
    c, d = popcounts(load(words, at + 2 * WORDS) ^ q), popcounts(load(words, at + 3 * WORDS) ^ q)
    e, f = popcounts(load(words, at + 4 * WORDS) ^ q), popcounts(load(words, at + 5 * WORDS) ^ q)
    g, h = popcounts(load(words, at + 6 * WORDS) ^ q), popcounts(load(words, at + 7 * WORDS) ^ q)
    for w in range(1, query.size):
        at += step
        q = splat(query[w])
        a += popcounts(load(words, at) ^ q)
        b += popcounts(load(words, at + WORDS) ^ q)
        c += popcounts(load(words, at + 2 * WORDS) ^ q)
        d += popcounts(load(words, at + 3 * WORDS) ^ q)
        e += popcounts(load(words, at + 4 * WORDS) ^ q)
        f += popcounts(load(words, at + 5 * WORDS) ^ q)
        g += popcounts(load(words, at + 6 * WORDS) ^ q)
        h += popcounts(load(words, at + 7 * WORDS) ^ q)
    return _compare(a, b, c, d, e, f, g, h, limit, strip)


@inlined
def _pair(words, at, p, q):  # type: ignore[no-untyped-def]
    """Distances of eight rows of two words, which stand one after the other, to the query (p, q)."""
    x, y = load(words, at), load(words, at + WORDS)
    return popcounts(evens(x, y) ^ p) + popcounts(odds(x, y) ^ q)


@inlined
def _find_nearer_pairs(words, at, query, limit, strip):  # type: ignore[no-untyped-def]
    """As `_find_nearer`, of rows of two words that stand one after the other."""
    p, q = splat(query[0]), splat(query[1])
    a, b = _pair(words, at, p, q), _pair(words, at + 2 * WORDS, p, q)
    c, d = _pair(words, at + 4 * WORDS, p, q), _pair(words, at + 6 * WORDS, p, q)
    e, f = _pair(words, at + 8 * WORDS, p, q), _pair(words, at + 10 * WORDS, p, q)
    g, h = _pair(words, at + 12 * WORDS, p, q), _pair(words, at + 14 * WORDS, p, q)
    return _compare(a, b, c, d, e, f, g, h, limit, strip)


@compiled
def _lowest(ones):  # type: ignore[no-untyped-def]
    """The place of the lowest 1."""
    return np.int64(popcount((ones & (~ones + np.uint64(1))) - np.uint64(1)))


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
def _collect(words, step, count, low, query, k, limit, nearer, used, counts, rows, distances, strip):  # type: ignore[no-untyped-def]
    """Append what is nearer than the limit in a tile of `count` rows from row `low` on to the candidates rows[:used].

    The limit is the distance of the k-th nearest so far (at first, more than any distance) and `nearer`, always less
    than k, the number of candidates nearer than that. An item at the limit comes too late: earlier rows win ties.
    """
    for at in range(0, count, STRIP):
        if step:
            found = _find_nearer(words, at, step, query, limit, strip)
        else:
            found = _find_nearer_pairs(words, 2 * at, query, limit, strip)
        if not found:
            continue
        here = min(STRIP, count - at)
        found &= FULL >> np.uint64(STRIP - here)
        if used + here > rows.size:
            used = _keep_nearest(rows[:used], distances[:used], limit)
        while found:
            j = _lowest(found)
            found &= found - np.uint64(1)
            distance = np.int64(strip[j])
            if distance < limit:
                rows[used], distances[used] = low + at + j, distance
                used += 1
                counts[distance] += 1
                nearer += 1
                while nearer >= k:
                    limit -= 1
                    nearer -= counts[limit]
    return limit, nearer, used


@compiled
def top_k(data, allowed, start, stop, queries, bits, rows, distances):  # type: ignore[no-untyped-def]
    """The k nearest of the database rows start..stop - 1, nearest first, ties in row order.

    Counting selection: a candidate is stored in constant time, and the candidates are sorted once, by counting.

    Args:
        data: (n, bytes) uint8, the packed rows.
        allowed: (m,) int64 ascending row numbers, which start and stop then count; empty: all rows.
        queries: (Q, W) uint64.
        rows, distances: (Q, k) int64 and int32, written; k is from 1 to stop - start.
    """
    k, width = rows.shape[1], queries.shape[1]
    # At most 2k candidates are not farther than the limit, so that closing them up frees k places and a strip.
    room = min(3 * k + STRIP, stop - start)
    at_once = min(max(CANDIDATES // room, 1), QUERIES_AT_ONCE, queries.shape[0])
    candidates, near = np.empty((at_once, room), dtype=np.int64), np.empty((at_once, room), dtype=np.uint16)
    counts = np.empty((at_once, bits + 1), dtype=np.int64)
    limits, nearer = np.empty(at_once, dtype=np.int64), np.empty(at_once, dtype=np.int64)
    used = np.empty(at_once, dtype=np.int64)
    tile_rows = max(TILE_WORDS // width // STRIP, 1) * STRIP
    tile, strip = np.zeros(width * tile_rows, dtype=np.uint64), np.empty(STRIP, dtype=np.uint64)
    for first in range(0, queries.shape[0], at_once):
        group = queries[first : first + at_once]
        counts[:], limits[:], nearer[:], used[:] = 0, bits + 1, 0, 0
        low = start
        while low < stop:
            words, step, count = _next_tile(data, allowed, low, stop, tile, tile_rows, group.shape[0] < 2)
            for i in range(group.shape[0]):
                limits[i], nearer[i], used[i] = _collect(
                    words,
                    step,
                    count,
                    low,
                    group[i],
                    k,
                    limits[i],
                    nearer[i],
                    used[i],
                    counts[i],
                    candidates[i],
                    near[i],
                    strip,
                )
            low += count
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
                    row = candidates[i, j]
                    rows[first + i, place] = allowed[row] if allowed.size else row
                    distances[first + i, place] = distance
                    counts[i, distance] = place + 1


@compiled
def _gather(words, step, count, low, query, radius, who, used, whose, rows, distances, strip):  # type: ignore[no-untyped-def]
    """Append what is within the radius in a tile, for which there is room, to rows[:used]; returns the new number."""
    for at in range(0, count, STRIP):
        if step:
            found = _find_nearer(words, at, step, query, radius + 1, strip)
        else:
            found = _find_nearer_pairs(words, 2 * at, query, radius + 1, strip)
        if not found:
            continue
        found &= FULL >> np.uint64(STRIP - min(STRIP, count - at))
        while found:
            j = _lowest(found)
            found &= found - np.uint64(1)
            whose[used], rows[used], distances[used] = who, low + at + j, strip[j]
            used += 1
    return used


@compiled
def _grown(array, size):  # type: ignore[no-untyped-def]
    """The array, or its beginning in one of twice the size if `size` places are more than it has."""
    if size <= array.size:
        return array
    larger = np.empty(2 * size, dtype=array.dtype)
    larger[: array.size] = array
    return larger


@compiled
def all_within(data, allowed, start, stop, queries, radius):  # type: ignore[no-untyped-def]
    """The database rows start..stop - 1 within a radius of each query, nearest first, ties in row order.

    Args:
        data, allowed, queries: as in `top_k`.

    Returns:
        (Q,) int64 numbers of rows, and their row numbers and distances, query by query, int64 and int32.
    """
    width = queries.shape[1]
    tile_rows = max(TILE_WORDS // width // STRIP, 1) * STRIP
    tile, strip = np.zeros(width * tile_rows, dtype=np.uint64), np.empty(STRIP, dtype=np.uint64)
    whose, near = np.empty(tile_rows, dtype=np.uint8), np.empty(tile_rows, dtype=np.uint16)
    found = np.empty(tile_rows, dtype=np.int64)
    rows, distances = np.empty(tile_rows, dtype=np.int64), np.empty(tile_rows, dtype=np.int32)
    numbers = np.zeros(queries.shape[0], dtype=np.int64)
    counts = np.empty((min(QUERIES_AT_ONCE, queries.shape[0]), radius + 1), dtype=np.int64)
    total = 0
    for first in range(0, queries.shape[0], QUERIES_AT_ONCE):
        group = queries[first : first + QUERIES_AT_ONCE]
        used, low = 0, start
        while low < stop:
            words, step, count = _next_tile(data, allowed, low, stop, tile, tile_rows, group.shape[0] < 2)
            for i in range(group.shape[0]):
                whose, near = _grown(whose, used + count), _grown(near, used + count)
                found = _grown(found, used + count)
                used = _gather(words, step, count, low, group[i], radius, i, used, whose, found, near, strip)
            low += count
        counts[:] = 0
        for j in range(used):
            counts[whose[j], near[j]] += 1
            numbers[first + whose[j]] += 1
        place = total
        for i in range(group.shape[0]):
            for distance in range(radius + 1):  # from here on, where the next at this distance belongs
                count = counts[i, distance]
                counts[i, distance] = place
                place += count
        rows, distances = _grown(rows, place), _grown(distances, place)
        for j in range(used):
            place = counts[whose[j], near[j]]
            rows[place] = allowed[found[j]] if allowed.size else found[j]
            distances[place] = near[j]
            counts[whose[j], near[j]] = place + 1
        total += used
    return numbers, rows[:total], distances[:total]
