"""The exact index: every query is compared with every code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hashzoo.codes import Codes, as_words
from hashzoo.evaluator.counting import allowed_threads, in_parallel
from hashzoo.search.base import Hits, Index

QUERIES_A_THREAD = 8  # threads share the queries if each gets so many, else the codes: few queries wait for memory
SERIAL_WORK = 1 << 22  # comparisons of two words, half a millisecond or so: threads would hardly have started


@dataclass(frozen=True, eq=False)
class Rows:
    """A state of the index. What lies in the first `count` places never changes.

    Attributes:
        ids: (room,) int64, ascending up to `count`.
        words: (W, room) uint64, codes as the kernel reads them, 64 bits of each in a line.
        count: number of codes; there may be room for more.
    """

    ids: np.ndarray
    words: np.ndarray
    count: int

    def find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) places where ids are or belong, and (n,) bool, whether they are there."""
        places = np.searchsorted(self.ids[: self.count], ids)
        known = np.zeros(len(ids), dtype=np.bool_)
        inside = places < self.count
        known[inside] = self.ids[places[inside]] == ids[inside]
        return places, known

    def appended(self, ids: np.ndarray, words: np.ndarray) -> Rows:
        """With further rows, whose ids come after all others; arrays grow by halves, so that this is cheap."""
        total = self.count + len(ids)
        all_ids, all_words = self.ids, self.words
        if total > len(all_ids):
            room = max(total, self.count + self.count // 2)
            all_ids, all_words = np.empty(room, dtype=np.int64), np.empty((len(words), room), dtype=np.uint64)
            all_ids[: self.count], all_words[:, : self.count] = self.ids[: self.count], self.words[:, : self.count]
        all_ids[self.count : total], all_words[:, self.count : total] = ids, words
        return Rows(all_ids, all_words, total)

    def merged(self, ids: np.ndarray, words: np.ndarray) -> Rows:
        """With rows, ascending by id, put in their places or in the place of a row with their id."""
        places, known = self.find(ids)
        own = self.words[:, : self.count].copy()
        own[:, places[known]] = words[:, known]
        places, ids, words = places[~known], ids[~known], words[:, ~known]
        all_ids, all_words = np.insert(self.ids[: self.count], places, ids), np.insert(own, places, words, axis=1)
        return Rows(all_ids, np.ascontiguousarray(all_words), len(all_ids))

    def without(self, ids: np.ndarray) -> Rows:
        """Without rows that are there."""
        places, _ = self.find(ids)
        kept_ids = np.delete(self.ids[: self.count], places)
        kept_words = np.delete(self.words[:, : self.count], places, axis=1)
        return Rows(kept_ids, np.ascontiguousarray(kept_words), len(kept_ids))


class ExactIndex(Index):
    """Exhaustive search with compiled kernels, on as many threads as numba may use; results do not depend on them.

    Rows are kept in the order of their ids, 8 bytes for each id and for every 64 bits begun. Appending ascending ids
    takes time for the new rows alone; any other change copies the index. Every search sees one state of it: it may
    run beside one thread that changes it. A loaded index is mapped from its files and read when it is searched.
    """

    kind = "exact"
    exact = True

    def __init__(self, bits: int):
        super().__init__(bits)
        self._rows = Rows(np.empty(0, dtype=np.int64), np.empty((-(-self.bits // 64), 0), dtype=np.uint64), 0)

    def __len__(self) -> int:
        return self._rows.count

    def _add(self, codes: Codes, ids: np.ndarray) -> None:
        order = np.argsort(ids)
        ids, words, rows = ids[order], as_words(codes.data)[order].T, self._rows
        after_all = not rows.count or ids[0] > rows.ids[rows.count - 1]
        self._rows = rows.appended(ids, words) if after_all else rows.merged(ids, words)

    def _remove(self, ids: np.ndarray) -> None:
        self._rows = self._rows.without(ids)

    def _contains(self, ids: np.ndarray) -> np.ndarray:
        return self._rows.find(ids)[1]

    def _search(self, queries: Codes, k: int) -> Hits:
        from hashzoo.kernels import top_k

        rows, query_words = self._rows, as_words(queries.data)
        words = rows.words.view()
        words.flags.writeable = False  # as when mapped from a file: the kernel is compiled for one kind of array
        found: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

        def scan(part: slice, group: slice) -> None:
            stop, some = min(part.stop, rows.count), query_words[group]
            shape = len(some), min(k, stop - part.start)
            nearest = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int32)
            top_k(words, part.start, stop, some, self.bits, *nearest)
            found[group.start, part.start] = nearest

        everything, everyone = slice(0, rows.count), slice(0, len(queries))
        if len(queries) * words.shape[0] * rows.count <= SERIAL_WORK:
            scan(everything, everyone)
        elif len(queries) >= QUERIES_A_THREAD * allowed_threads():
            in_parallel(lambda group: scan(everything, group), len(queries))
        else:
            in_parallel(lambda part: scan(part, everyone), rows.count, rows.count)
        return _joined(found, rows.ids, k)

    def _write(self, folder: Path) -> None:
        rows = self._rows
        np.save(folder / "ids.npy", rows.ids[: rows.count].astype("<i8", copy=False))
        np.save(folder / "words.npy", rows.words[:, : rows.count].astype("<u8", copy=False))

    def _read(self, folder: Path) -> None:
        ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
        words = np.load(folder / "words.npy", mmap_mode="r", allow_pickle=False)
        if ids.dtype != "<i8" or words.dtype != "<u8" or words.shape != (len(self._rows.words), *ids.shape):
            raise ValueError(f"{words.shape} {words.dtype} and {ids.shape} {ids.dtype} are not its codes and ids")
        # Arrays without the class memmap, whose every slice costs microseconds.
        native = np.asarray(ids).astype(np.int64, copy=False), np.asarray(words).astype(np.uint64, copy=False)
        self._rows = Rows(*native, len(ids))


def _joined(found: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]], ids: np.ndarray, k: int) -> Hits:
    """The hits of groups of queries one under the other, or the k best of those in parts of the index."""
    starts = sorted(found)
    in_parts = len({group for group, _ in starts}) == 1
    places, distances = (np.concatenate([found[start][i] for start in starts], axis=int(in_parts)) for i in (0, 1))
    if in_parts and len(starts) > 1:
        best = np.argsort(distances, axis=1, kind="stable")[:, :k]  # parts are in row order: ties stay in it
        places, distances = np.take_along_axis(places, best, 1), np.take_along_axis(distances, best, 1)
    return Hits(ids[places], distances)
