"""Indexes of FAISS to which codes can only be appended: what is removed stays as a tombstone for a while."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from hashzoo.codes import Codes
from hashzoo.search import Hits
from hashzoo.search.base import NOTHING
from hashzoo_faiss.base import FaissIndex, bytes_of, find, hits, rows_of

MOST_DEAD = 4  # for each dead row there are so many living ones, else the index is built again without the dead


class AppendedIndex(FaissIndex):
    """Rows that are numbered as they come; a removed or replaced code leaves a dead row, which no search gives.

    Once more than a fifth of the rows are dead, the call that made them so builds the index again from the others.

    Attributes:
        row_ids: (n,) int64, the id of each row of the index of FAISS, NOTHING where it is dead.
        dead: number of dead rows.
    """

    def __init__(self, bits: int, **settings: Any):
        super().__init__(bits, **settings)
        self.row_ids = np.empty(0, dtype=np.int64)

    def _start(self) -> None:
        """Begin empty; to be called once the settings are known."""
        self.inner = self._empty()
        self._take_ids(np.empty(0, dtype=np.int64))

    def _empty(self) -> Any:
        """A new index of FAISS."""
        raise NotImplementedError

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(Q, k) distances and rows of the index of FAISS, no dead one among them; -1 where there is none."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.row_ids) - self.dead

    def _add(self, codes: Codes, ids: np.ndarray) -> None:
        known = self._contains(ids)
        if known.any():
            self._remove(ids[known])
        self.inner.add(bytes_of(codes))
        self._take_ids(np.append(self.row_ids, ids))

    def _remove(self, ids: np.ndarray) -> None:
        left = self.row_ids.copy()
        left[self._rows_by_id[find(self._ascending, ids)[0]]] = NOTHING
        living = left != NOTHING
        if MOST_DEAD * (len(left) - living.sum()) > living.sum():
            inner = self._empty()
            if living.any():
                inner.add(rows_of(self._storage())[living])
            self.inner, left = inner, left[living]
        self._take_ids(left)

    def _storage(self) -> Any:
        """The flat index in which FAISS keeps the codes."""
        return faiss.downcast_IndexBinary(self.inner.storage)

    def _contains(self, ids: np.ndarray) -> np.ndarray:
        return find(self._ascending, ids)[1]

    def _search(self, queries: Codes, k: int) -> Hits:
        distances, rows = self._nearest(bytes_of(queries), k)
        return hits(np.where(rows < 0, NOTHING, self.row_ids[rows]), distances)

    def _stored_ids(self) -> np.ndarray:
        return self.row_ids

    def _take_ids(self, ids: np.ndarray) -> None:
        self.row_ids, self.dead = ids, int(np.count_nonzero(ids == NOTHING))
        self._rows_by_id = np.argsort(ids, kind="stable")  # in no time where ids ascend
        self._ascending = ids[self._rows_by_id]
