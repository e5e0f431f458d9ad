"""What a collection answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hashzoo.search import rerank as asymmetric
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
        return pandas.DataFrame({"id": snapshot.taken(places, "ids")})
    # Types that can hold NULL: without, whole numbers beside one would become floating-point numbers.
    nullable = {"int64": pandas.Int64Dtype(), "bool": pandas.BooleanDtype()}
    table = snapshot.metadata(places).to_pandas(types_mapper=lambda kind: nullable.get(str(kind)))
    return table.astype({"id": np.int64})


def reranked(
    snapshot: Snapshot, queries: np.ndarray, places: np.ndarray, distances: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates, (Q, n) places and distances, by their asymmetric distances, and these.

    They are distances to the outputs that the collection keeps, or else to its codes. What is no hit stays last, with
    NaN.
    """
    bits, outputs = snapshot.manifest.bits, snapshot.manifest.outputs
    scores = np.full(places.shape, np.nan)
    ids = np.full(places.shape, np.iinfo(np.int64).max)
    step = max(1, asymmetric.VALUES // (places.shape[1] * bits))
    for begin in range(0, len(queries), step):
        part = slice(begin, begin + step)
        found = places[part]
        hits = found != NOTHING
        if not hits.any():
            continue
        filled = np.where(hits, found, found[hits][0])
        stored = snapshot.taken(filled.ravel(), "outputs" if outputs else "codes").reshape(*filled.shape, -1)
        distance = asymmetric.distances_to_outputs if outputs else asymmetric.distances_to_codes
        scores[part] = np.where(hits, distance(queries[part], stored), np.nan)
        ids[part][hits] = snapshot.taken(found[hits], "ids")
    order = np.lexsort((ids, scores), axis=1)  # NaN comes last
    taken = (np.take_along_axis(array, order, 1) for array in (places, distances, scores))
    return next(taken), next(taken), next(taken)


def answered(
    snapshot: Snapshot,
    places: np.ndarray,
    distances: np.ndarray,
    scores: np.ndarray | None = None,
    k: int | None = None,
) -> Answer:
    """What was found, as k columns."""
    width = places.shape[1] if k is None else k
    columns = min(width, places.shape[1])
    shape = len(places), width
    full = np.full(shape, NOTHING, dtype=np.int64)
    full[:, :columns] = places[:, :columns]
    far = np.full(shape, NOTHING, dtype=np.int32)
    far[:, :columns] = distances[:, :columns]
    if scores is not None:
        kept, scores = scores, np.full(shape, np.nan)
        scores[:, :columns] = kept[:, :columns]
    ids = np.full(shape, NOTHING, dtype=np.int64)
    ids[full != NOTHING] = snapshot.taken(full[full != NOTHING], "ids")
    return Answer(ids, far, scores, snapshot, full)
