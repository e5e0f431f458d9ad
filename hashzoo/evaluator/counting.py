"""One pass of the queries over the database, block by block: histograms of distance and shared labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hashzoo.codes import as_words
from hashzoo.evaluator.inputs import LabelSets
from hashzoo.evaluator.threads import in_parallel

BLOCK_ROWS = 1 << 19  # database rows turned into words at a time
CHUNKS_AT_ONCE = 256  # chunks of rows that one thread transposes at a time
SLICED_ENTRIES = 640  # up to so many histogram entries that a query can fill, counting bit slices is faster


@dataclass(frozen=True, eq=False)
class Collection:
    """Packed codes and labels of some rows. `codes` has no columns where only labels count."""

    codes: np.ndarray  # (N, ceil(bits / 8)) uint8
    labels: LabelSets

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Collection:
        return Collection(self.codes[rows], LabelSets(self.labels.data[rows], self.labels.classes))

    def words(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, W) and (N, L) uint64, at least one word each."""
        codes = self.codes if self.codes.shape[1] else np.zeros((len(self), 1), dtype=np.uint8)
        return as_words(codes), as_words(self.labels.data)

    def blocks(self) -> Iterator[Collection]:
        """Some rows at a time."""
        for start in range(0, len(self), BLOCK_ROWS):
            yield self[start : start + BLOCK_ROWS]


def blocks(database: Collection) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The database as word-major (W, n) codes and (L, n) labels, a block at a time."""
    for block in database.blocks():
        words, labels = block.words()
        yield np.ascontiguousarray(words.T), np.ascontiguousarray(labels.T)


def key_type(entries: int) -> type[np.unsignedinteger]:
    """The narrowest key that numbers this many histogram entries."""
    return np.uint16 if entries <= 1 << 16 else np.uint32


def histograms(query: Collection, database: Collection, bits: int, levels: int) -> np.ndarray:
    """(Q, bits + 1, levels) int64: how many database rows lie at each distance and share so many labels.

    With two levels, level 1 means one shared label or more.
    """
    histogram = np.zeros((len(query), (bits + 1) * levels), dtype=np.int64)
    count = count_slices if counts_slices(query, bits, levels) else count_keys
    count(query, database, bits, levels, histogram)
    return histogram.reshape(len(query), bits + 1, levels)


def counts_slices(query: Collection, bits: int, levels: int) -> bool:
    """Whether so few combinations of distance and level can occur that counting each costs less than counting pairs."""
    from hashzoo.evaluator.bit_slices import MOST_BITS, MOST_LEVELS

    if bits > MOST_BITS or levels > MOST_LEVELS:
        return False
    labels = np.bitwise_count(query.labels.data).sum(axis=1, dtype=np.int64)
    return float(np.minimum(1 + labels, levels).mean()) * (bits + 1) <= SLICED_ENTRIES


def planes(data: np.ndarray, count: int) -> np.ndarray:
    """(ceil(n / 512), count, 8) uint64: bits of (n, bytes) uint8 rows as `bit_slices.fill_planes` arranges them."""
    from hashzoo.evaluator.bit_slices import CHUNK_ROWS, fill_planes
    from hashzoo.evaluator.lanes import WORDS

    sliced = np.empty((-(-len(data) // CHUNK_ROWS), count, WORDS), dtype=np.uint64)

    def fill(chunks: slice) -> None:
        fill_planes(data[chunks.start * CHUNK_ROWS : chunks.stop * CHUNK_ROWS], sliced[chunks])

    in_parallel(fill, len(sliced), CHUNKS_AT_ONCE, CHUNK_ROWS * count)
    return sliced


def sliced_blocks(database: Collection, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """The database as planes of codes and labels, a block at a time, with the number of its rows."""
    from hashzoo.evaluator.bit_slices import TRIPLE

    for block in database.blocks():
        words = planes(block.codes, -(-bits // TRIPLE) * TRIPLE)
        yield words, planes(block.labels.data, block.labels.classes), len(block)


def count_slices(query: Collection, database: Collection, bits: int, levels: int, histogram: np.ndarray) -> None:
    """`histograms` of up to MOST_BITS bits and MOST_LEVELS levels, added to a (Q, entries) histogram."""
    from hashzoo.evaluator.bit_slices import count_bit_slices

    sides = query.words()
    for block in sliced_blocks(database, bits):

        def count(group: slice, block: tuple[np.ndarray, np.ndarray, int] = block) -> None:
            codes, sets = (side[group] for side in sides)
            count_bit_slices(*block, bits, codes, sets, levels, histogram[group])

        in_parallel(count, len(query), each=len(database))


def count_keys(query: Collection, database: Collection, bits: int, levels: int, histogram: np.ndarray) -> None:
    """`histograms` of any number of bits and levels, added to a (Q, entries) histogram, one item at a time."""
    from hashzoo import kernels

    query_words, query_labels = query.words()
    for words, labels in blocks(database):

        def count(group: slice, words: np.ndarray = words, labels: np.ndarray = labels) -> None:
            keys = np.empty(kernels.TILE, dtype=key_type((bits + 1) * levels))
            kernels.count_keys(words, query_words[group], labels, query_labels[group], levels, keys, histogram[group])

        in_parallel(count, len(query), each=len(database))
