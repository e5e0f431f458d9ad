"""`faiss-multihash`: IndexBinaryMultiHash, hash tables of parts of the code."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from hashzoo.search.base import NOTHING
from hashzoo_faiss.base import at_least
from hashzoo_faiss.graves import AppendedIndex


class MultiHashIndex(AppendedIndex):
    """Multi-index hashing: a code is a candidate where one of its parts is near to that of the query.

    Source: Norouzi, Punjani, Fleet: Fast Exact Search in Hamming Space with Multi-Index Hashing, TPAMI 2014. Of two
    codes at a distance below nhash (nflip + 1), one part differs in nflip bits at most: they are always found. A query
    that has fewer than k candidates gets fewer hits.

    Args:
        nhash: hash tables, each of a part of the code; 0 takes as many as there are whole parts.
        b: bits of a part, at most 63; the code length where that is less.
        nflip: bits in which a part may differ.
    """

    kind = "faiss-multihash"
    inner_kind = faiss.IndexBinaryMultiHash

    def __init__(self, bits: int, nhash: int = 0, b: int = 16, nflip: int = 1):
        super().__init__(bits, nhash=nhash, b=b, nflip=nflip)
        if at_least("b", b, 1) > 63:
            raise ValueError(f"b is at most 63 bits, not {b}")
        self.part = min(b, self.bits)
        self.tables = at_least("nhash", nhash, 0) or self.bits // self.part
        self.nflip = min(at_least("nflip", nflip, 0), self.part)
        if self.tables * self.part > self.bits:
            raise ValueError(f"{nhash} parts of {self.part} bits are more than the {self.bits} bits of a code")
        self._start()

    def _empty(self) -> Any:
        return self._tune(faiss.IndexBinaryMultiHash(8 * self.width, self.tables, self.part))

    def _tune(self, inner: Any) -> Any:
        inner.nflip = self.nflip
        return inner

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """FAISS gives dead rows, too: a query that then has too few is asked for twice as many, until it has k."""
        distances = np.full((len(queries), k), NOTHING, dtype=np.int32)
        rows = np.full((len(queries), k), NOTHING, dtype=np.int64)
        asked, some = k, np.arange(len(queries))
        while len(some):
            found, their_rows = self.inner.search(queries[some], min(asked, len(self.row_ids)))
            living = (their_rows != NOTHING) & (self.row_ids[their_rows] != NOTHING)
            first = np.argsort(~living, axis=1, kind="stable")[:, :k]  # the living, nearest first
            distances[some] = np.take_along_axis(found, first, axis=1)
            rows[some] = np.take_along_axis(np.where(living, their_rows, NOTHING), first, axis=1)
            lacking = (rows[some, -1] == NOTHING) & (their_rows[:, -1] != NOTHING)
            some = some[lacking & (asked < len(self.row_ids))]
            asked *= 2
        return distances, rows
