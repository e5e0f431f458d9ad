"""The metadata of a collection in memory: Parquet files are read by the thousand rows, and an answer needs ten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo.search.hits import plain_rows
from hashzoo.search.manifest import METADATA
from hashzoo.search.segments import SEGMENTS, Segment
from hashzoo.search.snapshot import Snapshot
from hashzoo.search.tables import pyarrow_module

if TYPE_CHECKING:
    import pyarrow


class Rows:
    """Metadata by segment, which never change: of those of one state, and of what is asked for beside it."""

    def __init__(self) -> None:
        self._tables: dict[str, pyarrow.Table] = {}

    def load(self, snapshot: Snapshot) -> None:
        """Have the metadata of a state, and no others."""
        held = {segment.part.name: self._table(snapshot, segment) for segment in snapshot.segments}
        self._tables = held

    def at(self, snapshot: Snapshot, places: np.ndarray) -> list[dict[str, Any]]:
        """The metadata at (n,) places of a state, by column."""
        rows: list[dict[str, Any]] = [dict.fromkeys(snapshot.manifest.columns) for _ in places]
        numbers = np.searchsorted(snapshot.starts, places, side="right") - 1
        for number in np.unique(numbers) if snapshot.manifest.columns else ():
            (chosen,) = np.nonzero(numbers == number)
            table = self._table(snapshot, snapshot.segments[number])
            found = plain_rows(table.take(places[chosen] - snapshot.starts[number]))
            for row, values in zip(chosen.tolist(), found, strict=True):
                rows[row] |= {name: value for name, value in values.items() if name != "id"}
        return rows

    def _table(self, snapshot: Snapshot, segment: Segment) -> pyarrow.Table:
        name = segment.part.name
        if name in self._tables:
            return self._tables[name]
        if METADATA not in segment.part.files:
            return pyarrow_module().table({"id": segment.content.ids})
        with snapshot.guarded():
            segment.content.check(METADATA)
            file = snapshot.folder / SEGMENTS / name / METADATA
            return pyarrow_module("pyarrow.parquet").read_table(file).combine_chunks()
