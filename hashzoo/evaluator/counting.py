"""One pass of the queries over the database, block by block: histograms of distance and shared labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hashzoo.codes import as_words
from hashzoo.evaluator.inputs import LabelSets

BLOCK_ROWS = 1 << 19  # database rows turned into words at a time
QUERIES_AT_ONCE = 64  # queries that share one trip of a database block through the cache
PAIR_QUERIES_AT_ONCE = 256  # more where the kernel itself forms such groups and its tables cost more to set up


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


def blocks(database: Collection) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The database as word-major (W, n) codes and (L, n) labels, a block at a time."""
    for start in range(0, len(database), BLOCK_ROWS):
        words, labels = database[start : start + BLOCK_ROWS].words()
        yield np.ascontiguousarray(words.T), np.ascontiguousarray(labels.T)


def in_parallel(task: Callable[[slice], None], queries: int, at_once: int = QUERIES_AT_ONCE) -> None:
    """Run `task` on groups of queries, on as many threads as `numba.set_num_threads` or NUMBA_NUM_THREADS allow.

    Threads and not a numba parallel loop: its default scheduler aborts the process when two Python threads or a forked
    child evaluate too.
    """
    import numba

    threads = numba.get_num_threads()
    rounds = -(-queries // (threads * at_once))
    size = -(-queries // (threads * rounds))  # equal shares, so that no thread waits for another's last group
    size += size % 2  # kernels may take queries two at a time
    groups = [slice(start, start + size) for start in range(0, queries, size)]
    if threads == 1 or len(groups) == 1:
        for group in groups:
            task(group)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        for done in [pool.submit(task, group) for group in groups]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the whole database


def key_type(entries: int) -> type[np.unsignedinteger]:
    """The narrowest key that numbers this many histogram entries."""
    return np.uint16 if entries <= 1 << 16 else np.uint32


def histograms(query: Collection, database: Collection, bits: int, levels: int) -> np.ndarray:
    """(Q, bits + 1, levels) int64: how many database rows lie at each distance and share so many labels.

    With two levels, level 1 means one shared label or more.
    """
    from hashzoo.kernels import PAIR_TILE, TILE, count_key_pairs, count_keys

    entries = (bits + 1) * levels
    histogram = np.zeros((len(query), entries), dtype=np.int64)
    query_words, query_labels = query.words()
    for words, labels in blocks(database):
        in_pairs = levels == 2 and entries**2 <= words.shape[1]

        def count(
            group: slice, words: np.ndarray = words, labels: np.ndarray = labels, in_pairs: bool = in_pairs
        ) -> None:
            sides = query_words[group], labels, query_labels[group]
            if in_pairs:
                scratch = np.empty(PAIR_TILE, dtype=key_type(entries**2))
                count_key_pairs(words, *sides, scratch, histogram[group])
            else:
                count_keys(words, *sides, levels, np.empty(TILE, dtype=key_type(entries)), histogram[group])

        in_parallel(count, len(query), PAIR_QUERIES_AT_ONCE if in_pairs else QUERIES_AT_ONCE)
    return histogram.reshape(len(query), bits + 1, levels)
