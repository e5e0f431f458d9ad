"""`faiss-ivf`: IndexBinaryIVF, inverted lists of which a query looks into the nearest."""

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np

from hashzoo.codes import Codes
from hashzoo.search import Hits
from hashzoo_faiss.base import FaissIndex, at_least, bytes_of, find, hits

CODES_A_LIST = 39  # FAISS warns of clusters that are learnt from fewer
LEARNT_FROM = 64  # codes a cluster; more take longer and find next to nothing more


class IvfIndex(FaissIndex):
    """Codes in clusters; a query is compared with the codes of the nearest `nprobe` clusters.

    The clusters are learnt (k-means of FAISS, with its fixed seed) from the codes themselves, when the first come and
    again when enough have come for twice as many clusters. One cluster takes 39 codes at least.

    Args:
        nlist: clusters; 0 takes the square root of the number of codes.
        nprobe: clusters that a query looks into. All of them make the search exhaustive.
    """

    kind = "faiss-ivf"
    inner_kind = faiss.IndexBinaryIVF

    def __init__(self, bits: int, nlist: int = 0, nprobe: int = 64):
        super().__init__(bits, nlist=nlist, nprobe=nprobe)
        self.nlist, self.nprobe = at_least("nlist", nlist, 0), at_least("nprobe", nprobe, 1)
        self.ids, self.inner = np.empty(0, dtype=np.int64), self._untrained(1)

    def __len__(self) -> int:
        return len(self.ids)

    def _add(self, codes: Codes, ids: np.ndarray) -> None:
        rows, (places, known) = bytes_of(codes), find(self.ids, ids)
        if known.any():
            self._remove(ids[known])
            places, _ = find(self.ids, ids)
        order = np.argsort(ids)
        all_ids = np.insert(self.ids, places[order], ids[order])
        wanted = max(1, min(len(all_ids) // CODES_A_LIST, self.nlist or math.isqrt(len(all_ids))))
        have = self.inner.nlist if self.inner.is_trained else 0
        if wanted >= 2 * have or have < wanted == self.nlist:
            own_rows, own_ids = self._content()
            self.inner = self._learnt(wanted, np.concatenate([own_rows, rows]), np.concatenate([own_ids, ids]))
        else:
            self.inner.add_with_ids(rows, ids)
        self.ids = all_ids

    def _learnt(self, nlist: int, rows: np.ndarray, ids: np.ndarray) -> Any:
        """Clusters of rows, with the rows in them."""
        inner = self._untrained(nlist)
        inner.cp.max_points_per_centroid = LEARNT_FROM
        inner.train(rows)
        inner.add_with_ids(rows, ids)
        return inner

    def _untrained(self, nlist: int) -> Any:
        return self._tune(faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(8 * self.width), 8 * self.width, nlist))

    def _content(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes (n, width) and ids (n,), list after list."""
        rows, ids = [np.empty((0, self.width), dtype=np.uint8)], [np.empty(0, dtype=np.int64)]
        lists = self.inner.invlists
        for number in range(self.inner.nlist):
            size = lists.list_size(number)
            if size:
                own = faiss.rev_swig_ptr(lists.get_codes(number), size * self.width)
                rows.append(own.reshape(size, self.width))
                ids.append(faiss.rev_swig_ptr(lists.get_ids(number), size))
        return np.concatenate(rows), np.concatenate(ids)

    def _tune(self, inner: Any) -> Any:
        inner.nprobe = self.nprobe
        return inner

    def _remove(self, ids: np.ndarray) -> None:
        places, _ = find(self.ids, ids)
        kept = np.delete(self.ids, places)
        self.inner.remove_ids(faiss.IDSelectorBatch(ids))
        self.ids = kept

    def _contains(self, ids: np.ndarray) -> np.ndarray:
        return find(self.ids, ids)[1]

    def _search(self, queries: Codes, k: int) -> Hits:
        distances, ids = self.inner.search(bytes_of(queries), k)
        return hits(ids, distances)

    def _stored_ids(self) -> np.ndarray:
        return self.ids

    def _take_ids(self, ids: np.ndarray) -> None:
        self.ids = ids
