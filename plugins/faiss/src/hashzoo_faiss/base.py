"""What the indexes share: codes in whole bytes, sorted ids, and two files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np

from hashzoo.codes import Codes
from hashzoo.search import Hits, Index
from hashzoo.search.base import NOTHING

IDS = "ids.npy"
CODES = "codes.faiss"


class FaissIndex(Index):
    """An index whose codes are in a binary index of FAISS.

    FAISS holds whole bytes. The padding bits of packed codes are 0 in queries and database, so that distances over
    all bits of the bytes are those of the codes.

    Attributes:
        inner: the index of FAISS.
        inner_kind: its class.
    """

    inner_kind: ClassVar[Any]
    inner: Any

    @property
    def width(self) -> int:
        """Bytes of a code."""
        return -(-self.bits // 8)

    def _stored_ids(self) -> np.ndarray:
        """(n,) int64, what `_take_ids` needs to have the index as it is."""
        raise NotImplementedError

    def _take_ids(self, ids: np.ndarray) -> None:
        """Take ids that belong to `inner`, which is there."""
        raise NotImplementedError

    def _tune(self, inner: Any) -> Any:
        """Give an index of FAISS those settings that hold for searches."""
        return inner

    def _write(self, folder: Path) -> None:
        np.save(folder / IDS, self._stored_ids().astype("<i8", copy=False))
        faiss.write_index_binary(self.inner, str(folder / CODES))

    def _read(self, folder: Path) -> None:
        ids = np.load(folder / IDS, allow_pickle=False)
        inner = faiss.read_index_binary(str(folder / CODES))
        if not isinstance(inner, self.inner_kind) or inner.d != 8 * self.width:
            raise ValueError(f"{CODES} holds {type(inner).__name__} of {inner.d} bits")
        if ids.dtype != "<i8" or ids.shape != (inner.ntotal,):
            raise ValueError(f"{ids.shape} {ids.dtype} are not the ids of {inner.ntotal} codes")
        self.inner = self._tune(inner)
        self._take_ids(ids.astype(np.int64, copy=False))


def find(ascending: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) places in ascending ids where ids are or belong, and (n,) bool, whether they are there."""
    places = np.searchsorted(ascending, ids)
    known = np.zeros(len(ids), dtype=np.bool_)
    inside = places < len(ascending)
    known[inside] = ascending[places[inside]] == ids[inside]
    return places, known


def bytes_of(codes: Codes) -> np.ndarray:
    """(n, width) uint8, as FAISS takes them."""
    return np.ascontiguousarray(codes.data)


def rows_of(flat: Any) -> np.ndarray:
    """(n, width) uint8, a copy of the codes of a flat index of FAISS."""
    return faiss.vector_to_array(flat.xb).reshape(flat.ntotal, flat.code_size)


def hits(ids: np.ndarray, distances: np.ndarray) -> Hits:
    """Hits of ids (NOTHING where there is none) and of distances, which FAISS makes huge there."""
    return Hits(ids, np.where(ids == NOTHING, NOTHING, distances).astype(np.int32, copy=False))


def at_least(name: str, value: int, least: int) -> int:
    """A setting that is a whole number from `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is a whole number from {least}, not {value!r}")
    return value
