"""`faiss-hnsw`: IndexBinaryHNSW, a graph of neighbours that a search walks along."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from hashzoo.search.base import NOTHING
from hashzoo_faiss.base import at_least
from hashzoo_faiss.graves import AppendedIndex


class HnswIndex(AppendedIndex):
    """A hierarchical navigable small world.

    Source: Malkov, Yashunin: Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical Navigable
    Small World Graphs, TPAMI 2020. FAISS cannot take codes out of the graph. A dead row is walked across and not given.

    Args:
        m: neighbours of a code; twice as many in the lowest layer.
        ef_construction: candidates that are kept while a code is put in.
        ef_search: candidates that a search keeps; k where that is more.
    """

    kind = "faiss-hnsw"
    inner_kind = faiss.IndexBinaryHNSW

    def __init__(self, bits: int, m: int = 16, ef_construction: int = 40, ef_search: int = 64):
        super().__init__(bits, m=m, ef_construction=ef_construction, ef_search=ef_search)
        self.m = at_least("m", m, 2)
        self.ef_construction = at_least("ef_construction", ef_construction, 1)
        self.ef_search = at_least("ef_search", ef_search, 1)
        self._start()

    def _empty(self) -> Any:
        return self._tune(faiss.IndexBinaryHNSW(8 * self.width, self.m))

    def _tune(self, inner: Any) -> Any:
        inner.hnsw.efConstruction = self.ef_construction
        return inner

    def _take_ids(self, ids: np.ndarray) -> None:
        super()._take_ids(ids)
        living = np.packbits(ids != NOTHING, bitorder="little")
        self._selector = faiss.IDSelectorBitmap(living) if self.dead else None

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = faiss.SearchParametersHNSW(efSearch=max(self.ef_search, k), sel=self._selector)
        return self.inner.search(queries, k, params=chosen)
