"""The exact index: every query is compared with every code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hashzoo.codes import Codes
from hashzoo.search.base import Hits, Index
from hashzoo.search.topk import nearest


@dataclass(frozen=True, eq=False)
class Rows:
    """A state of the index. What lies in the first `count` places never changes.

    Attributes:
        ids: (room,) int64, ascending up to `count`.
        data: (room, ceil(bits / 8)) uint8, packed codes.
        count: number of codes; there may be room for more.
    """

    ids: np.ndarray
    data: np.ndarray
    count: int

    def find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) places where ids are or belong, and (n,) bool, whether they are there."""
        places = np.searchsorted(self.ids[: self.count], ids)
        known = np.zeros(len(ids), dtype=np.bool_)
        inside = places < self.count
        known[inside] = self.ids[places[inside]] == ids[inside]
        return places, known

    def appended(self, ids: np.ndarray, data: np.ndarray) -> Rows:
        """With further rows, whose ids come after all others; arrays grow by halves, so that this is cheap."""
        total = self.count + len(ids)
        all_ids, all_data = self.ids, self.data
        if total > len(all_ids):
            room = max(total, self.count + self.count // 2)
            all_ids, all_data = np.empty(room, dtype=np.int64), np.empty((room, data.shape[1]), dtype=np.uint8)
            all_ids[: self.count], all_data[: self.count] = self.ids[: self.count], self.data[: self.count]
        all_ids[self.count : total], all_data[self.count : total] = ids, data
        return Rows(all_ids, all_data, total)

    def merged(self, ids: np.ndarray, data: np.ndarray) -> Rows:
        """With rows, ascending by id, put in their places or in the place of a row with their id."""
        places, known = self.find(ids)
        own = self.data[: self.count].copy()
        own[places[known]] = data[known]
        places, ids, data = places[~known], ids[~known], data[~known]
        all_ids, all_data = np.insert(self.ids[: self.count], places, ids), np.insert(own, places, data, axis=0)
        return Rows(all_ids, all_data, len(all_ids))

    def without(self, ids: np.ndarray) -> Rows:
        """Without rows that are there."""
        places, _ = self.find(ids)
        kept_ids = np.delete(self.ids[: self.count], places)
        return Rows(kept_ids, np.delete(self.data[: self.count], places, axis=0), len(kept_ids))


class ExactIndex(Index):
    """Exhaustive search with compiled kernels, on as many threads as numba may use; results do not depend on them.

    Rows are kept in the order of their ids, 8 bytes for each id and one for every 8 bits begun of a code. Appending
    ascending ids takes time for the new rows alone; any other change copies the index. Every search sees one state of
    it: it may run beside one thread that changes it. A loaded index is mapped from its files and read when it is
    searched.
    """

    kind = "exact"
    exact = True

    def __init__(self, bits: int):
        super().__init__(bits)
        self._rows = Rows(np.empty(0, dtype=np.int64), np.empty((0, -(-self.bits // 8)), dtype=np.uint8), 0)

    def __len__(self) -> int:
        return self._rows.count

    def _add(self, codes: Codes, ids: np.ndarray) -> None:
        order = np.argsort(ids)
        ids, data, rows = ids[order], codes.data[order], self._rows
        after_all = not rows.count or ids[0] > rows.ids[rows.count - 1]
        self._rows = rows.appended(ids, data) if after_all else rows.merged(ids, data)

    def _remove(self, ids: np.ndarray) -> None:
        self._rows = self._rows.without(ids)

    def _contains(self, ids: np.ndarray) -> np.ndarray:
        return self._rows.find(ids)[1]

    def _search(self, queries: Codes, k: int) -> Hits:
        rows = self._rows
        places, distances = nearest(queries, rows.data[: rows.count], k)
        found = slice(0, rows.count)  # fewer than k if a thread has just removed some
        return Hits(rows.ids[places[:, found]], distances[:, found])

    def _write(self, folder: Path) -> None:
        rows = self._rows
        np.save(folder / "ids.npy", rows.ids[: rows.count].astype("<i8", copy=False))
        np.save(folder / "codes.npy", rows.data[: rows.count])

    def _read(self, folder: Path) -> None:
        ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
        data = np.load(folder / "codes.npy", mmap_mode="r", allow_pickle=False)
        if ids.dtype != "<i8" or data.dtype != np.uint8 or data.shape != (*ids.shape, self._rows.data.shape[1]):
            raise ValueError(f"{data.shape} {data.dtype} and {ids.shape} {ids.dtype} are not its codes and ids")
        # Arrays without the class memmap, whose every slice costs microseconds.
        self._rows = Rows(np.asarray(ids).astype(np.int64, copy=False), np.asarray(data), len(ids))
