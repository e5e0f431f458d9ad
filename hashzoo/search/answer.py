"""What a collection answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hashzoo.search.base import NOTHING
from hashzoo.search.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Answer:
    """The hits of Q queries, nearest first; a row with fewer hits than others ends in -1 and -1.

    Attributes:
        ids: (Q, k) int64.
        distances: (Q, k) int32, Hamming distances in bits.
        scores: (Q, k) float64, the asymmetric distances by which hits were re-ranked, NaN after the last; None if
            they were not.
        snapshot: the state of the collection that was searched.
        places: (Q, k) int64, where the hits lie in it.
    """

    ids: np.ndarray
    distances: np.ndarray
    scores: np.ndarray | None
    snapshot: Snapshot
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def metadata(self) -> pandas.DataFrame:
        """One row a hit: `id` and the columns of metadata, indexed by `query` (0..Q-1) and `rank` (0..k-1).

        It is read when it is asked for, and of the state that was searched: rows that were deleted since are in it.
        """
        import pandas

        hits = np.nonzero(self.places != NOTHING)
        index = pandas.MultiIndex.from_arrays(hits, names=["query", "rank"])
        return frame(self.snapshot, self.places[hits]).set_index(index)


def frame(snapshot: Snapshot, places: np.ndarray) -> pandas.DataFrame:
    """`id` and the metadata at (n,) places; without pyarrow where there is no metadata."""
    import pandas

    if not snapshot.manifest.columns:
        ids = snapshot.taken(places, "ids") if len(places) else np.empty(0, dtype=np.int64)
        return pandas.DataFrame({"id": ids})
    return snapshot.metadata(places).to_pandas()
