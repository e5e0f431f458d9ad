"""A state of a collection, as its readers see it: it stays what it is, whatever a writer does meanwhile."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hashzoo.search import tables
from hashzoo.search.filters import Filter
from hashzoo.search.manifest import METADATA, Manifest, read_manifest, unreadable
from hashzoo.search.segments import SEGMENTS, Content, Damage, Segment, open_segment, row_of

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One state. Its rows, deleted ones among them, are numbered through all segments: these are places.

    Attributes:
        folder: of the collection.
        content: the bytes of the manifest.
        segments: in the order of their first ids.
        starts: (S + 1,) int64, the place of the first row of each segment, and the number of all rows.
        filter: computes conditions, for this state and others.
    """

    folder: Path
    manifest: Manifest
    content: bytes
    segments: tuple[Segment, ...]
    starts: np.ndarray
    filter: Filter

    def __len__(self) -> int:
        return sum(segment.part.live for segment in self.segments)

    @functools.cached_property
    def in_order(self) -> bool:
        """Whether ids ascend from each segment to the next."""
        parts = self.manifest.segments
        return all(before.last_id < after.first_id for before, after in itertools.pairwise(parts))

    def selected(self, where: str | None) -> list[np.ndarray | None]:
        """For each segment (rows,) bool, which live rows satisfy a condition, or None for all rows."""
        if where is None:
            return [segment.live for segment in self.segments]
        columns, files = self.manifest.columns, []
        with self.guarded():
            for segment in self.segments if columns else ():
                segment.content.check(METADATA)
                files.append(segment.content.folder / METADATA)
        if columns and not files:
            return []
        masks = self.filter.masks(where, columns, files, [segment.part.rows for segment in self.segments])
        return [
            mask if segment.live is None else mask & segment.live
            for mask, segment in zip(masks, self.segments, strict=True)
        ]

    def find(self, ids: np.ndarray) -> np.ndarray:
        """(n,) places of ids, -1 where an id is not in the collection."""
        places = np.full(len(ids), -1, dtype=np.int64)
        with self.guarded():
            for segment, start in zip(self.segments, self.starts, strict=False):
                if len(ids) and ids.max() >= segment.part.first_id and ids.min() <= segment.part.last_id:
                    rows, known = segment.find(ids)
                    places[known] = start + rows[known]
        return places

    def taken(self, places: np.ndarray, attribute: str) -> np.ndarray:
        """The ids, codes or outputs (an attribute of `Content`) at (n,) places."""
        numbers = self._segments_of(places)
        dtype, *shape = row_of(attribute, self.manifest.bits)
        array = np.empty((len(places), *shape), dtype=dtype)
        with self.guarded():
            for number in np.unique(numbers):
                stored = getattr(self.segments[number].content, attribute)
                array[numbers == number] = stored[places[numbers == number] - self.starts[number]]
        return array

    def metadata(self, places: np.ndarray) -> pyarrow.Table:
        """The ids and the metadata at (n,) places."""
        columns, numbers = self.manifest.columns, self._segments_of(places)
        ids = self.taken(places, "ids")
        if not columns or not len(places):
            return tables.completed(None, columns, ids)
        found, order = [], []
        with self.guarded():
            for number in np.unique(numbers):
                (chosen,) = np.nonzero(numbers == number)
                stored = self.segments[number].content.metadata.rows(places[chosen] - self.starts[number])
                found.append(tables.completed(stored, columns, ids[chosen]))
                order.append(chosen)
        return tables.concatenated(found).take(np.argsort(np.concatenate(order)))

    def verify(self) -> None:
        """Compare every file of this state with its digest; HashzooError on the first that differs."""
        with self.guarded():
            for segment in self.segments:
                for name in segment.part.files:
                    segment.content.check(name)
        self.check_model()

    def check_model(self) -> None:
        """Compare the files of the model with their digests."""
        for name, file in self.manifest.model.items():
            file.check(self.folder, f"model/{name}")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Damage found in the block is told in one sentence."""
        try:
            yield
        except (Damage, OSError) as error:
            raise unreadable(self.folder, error) from error

    def _segments_of(self, places: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.starts, places, side="right") - 1


def open_snapshot(folder: Path, before: Snapshot | None = None) -> Snapshot:
    """The present state; what `before` has mapped is mapped no second time."""
    known: dict[str, Content] = {}
    if before is not None:
        known = {segment.part.name: segment.content for segment in before.segments}
    while True:
        manifest, content = read_manifest(folder)
        if before is not None and content == before.content:
            return before
        try:
            segments = tuple(open_segment(folder, part, manifest.bits, known) for part in manifest.segments)
        except (Damage, OSError, ValueError) as error:
            if read_manifest(folder)[1] != content:  # a writer came between, and its files may be gone
                continue
            raise unreadable(folder, error) from error
        # The locks on the segments hold from here on; unless this is still the state, they may have come too late.
        if read_manifest(folder)[1] == content:
            starts = np.concatenate([[0], np.cumsum([part.rows for part in manifest.segments])]).astype(np.int64)
            condition = before.filter if before else Filter(folder / SEGMENTS)
            return Snapshot(folder, manifest, content, segments, starts, condition)
