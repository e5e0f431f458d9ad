"""`faiss-flat`: IndexBinaryFlat, which compares a query with every code."""

from __future__ import annotations

import faiss
import numpy as np

from hashzoo.codes import Codes
from hashzoo.search import Hits
from hashzoo_faiss.base import FaissIndex, bytes_of, find, hits, rows_of


class FlatIndex(FaissIndex):
    """Exhaustive search.

    FAISS keeps, of codes at one distance, those that it sees first. Rows lie in the order of their ids here, so that
    ties are settled by the smaller id. Appending ascending ids is cheap; any other change copies the codes.
    """

    kind = "faiss-flat"
    exact = True
    inner_kind = faiss.IndexBinaryFlat

    def __init__(self, bits: int):
        super().__init__(bits)
        self.ids, self.inner = np.empty(0, dtype=np.int64), faiss.IndexBinaryFlat(8 * self.width)

    def __len__(self) -> int:
        return len(self.ids)

    def _add(self, codes: Codes, ids: np.ndarray) -> None:
        order = np.argsort(ids)
        ids, rows = ids[order], bytes_of(codes)[order]
        if not len(self.ids) or ids[0] > self.ids[-1]:
            all_ids = np.append(self.ids, ids)
            self.inner.add(rows)
            self.ids = all_ids
            return
        places, known = find(self.ids, ids)
        own = rows_of(self.inner)
        own[places[known]] = rows[known]
        new = places[~known]
        inner = faiss.IndexBinaryFlat(8 * self.width)
        inner.add(np.insert(own, new, rows[~known], axis=0))
        self.ids, self.inner = np.insert(self.ids, new, ids[~known]), inner

    def _remove(self, ids: np.ndarray) -> None:
        places, _ = find(self.ids, ids)
        kept = np.delete(self.ids, places)
        self.inner.remove_ids(faiss.IDSelectorBatch(places))
        self.ids = kept

    def _contains(self, ids: np.ndarray) -> np.ndarray:
        return find(self.ids, ids)[1]

    def _search(self, queries: Codes, k: int) -> Hits:
        distances, rows = self.inner.search(bytes_of(queries), k)
        return hits(self.ids[rows], distances)

    def _stored_ids(self) -> np.ndarray:
        return self.ids

    def _take_ids(self, ids: np.ndarray) -> None:
        self.ids = ids
