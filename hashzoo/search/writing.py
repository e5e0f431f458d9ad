"""Changes of a collection: what is appended is checked before anything is written; segments are merged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo.codes import Codes, to_numpy
from hashzoo.errors import HashzooError
from hashzoo.search import tables
from hashzoo.search.base import checked_ids
from hashzoo.search.manifest import Manifest, Part
from hashzoo.search.segments import write_deleted, write_segment
from hashzoo.search.snapshot import Snapshot

if TYPE_CHECKING:
    import pyarrow

FANOUT = 16  # so many segments of about one size are merged into one
MERGED_ROWS = 1 << 22  # rows of a merged segment, fewer where they are long: they are in memory while it is written
MERGED_BYTES = 1 << 28
LAST_ID = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows to append, n of them, in the order in which they came.

    Attributes:
        codes: of n rows.
        ids: (n,) int64, or None.
        outputs: (n, bits) float16, or None.
        table: metadata of the caller, or None.
    """

    codes: Codes
    ids: np.ndarray | None
    outputs: np.ndarray | None
    table: Any

    @classmethod
    def of(cls, manifest: Manifest, codes: Any, ids: Any, metadata: Any, outputs: Any) -> Batch:
        """What `Collection.append` got, checked as far as it can be without knowing the other rows."""
        check_codes(codes, manifest.bits)
        numbers = None if ids is None else checked_ids(ids)
        if numbers is not None and len(numbers) != len(codes):
            raise HashzooError(f"{len(codes)} codes came with {len(numbers)} ids; give each code one id")
        if (outputs is not None) != manifest.outputs:
            raise HashzooError(
                "this collection keeps real-valued outputs; give them as outputs="
                if manifest.outputs
                else "this collection keeps no real-valued outputs; leave outputs out, or create one with outputs=True"
            )
        values = None if outputs is None else _half(outputs, (len(codes), manifest.bits))
        if metadata is not None:
            tables.pyarrow_module()
        return cls(codes, numbers, values, metadata)

    def fitted(self, snapshot: Snapshot) -> tuple[np.ndarray, pyarrow.Table | None, dict[str, str]]:
        """Ids, metadata and columns as the rows get them in a collection of this state."""
        manifest, count = snapshot.manifest, len(self.codes)
        columns, table = manifest.columns, None
        if self.table is not None:
            table, columns = tables.prepared(self.table, columns, count)
        if self.ids is None:
            if manifest.next_id + count > LAST_ID:
                raise HashzooError("there are no ids after the largest that was given; give ids=")
            return np.arange(manifest.next_id, manifest.next_id + count), table, columns
        if len(known := self.ids[snapshot.find(self.ids) >= 0]):
            raise HashzooError(f"id {known[0]} is in the collection already; delete it first, or leave ids out")
        return self.ids, table, columns

    def written(
        self, snapshot: Snapshot, ids: np.ndarray, table: pyarrow.Table | None, columns: dict[str, str]
    ) -> Manifest:
        """Write the rows, as they are fitted, as a segment; the state with them."""
        manifest = snapshot.manifest
        order = np.argsort(ids, kind="stable")
        part = write_segment(
            snapshot.folder,
            manifest.version + 1,
            self.codes.data[order],
            ids[order],
            None if self.outputs is None else self.outputs[order],
            tables.completed(table, columns, ids).take(order) if columns else None,
        )
        next_id = max(manifest.next_id, int(ids.max()) + 1)
        return manifest.followed(next_id=next_id, columns=columns, segments=(*manifest.segments, part))


def check_codes(codes: Any, bits: int) -> None:
    """HashzooError unless these are codes of so many bits."""
    if not isinstance(codes, Codes):
        raise HashzooError(f"a collection takes packed codes, not {type(codes).__name__}; make them with hashzoo.pack")
    if codes.bits != bits:
        raise HashzooError(
            f"the collection holds codes of {bits} bits, these have {codes.bits}; encode both with one model"
        )


def _half(outputs: Any, shape: tuple[int, int]) -> np.ndarray:
    """Real-valued outputs as they are kept."""
    values = to_numpy(outputs)
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise HashzooError(f"outputs of these codes are {shape} real numbers, not {values.shape} {values.dtype}")
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise HashzooError("outputs are finite numbers up to 65504, which float16 holds; scale them")
    return half


def due(manifest: Manifest) -> Sequence[Part]:
    """Segments that an append merges first, so that there are few, about 16 of each size, however small the batches.

    Sizes are below 4,096 rows, below 65,536 and below 262,144: each row is copied about once for each, and more often
    while its segment is so small that it is written in no time.
    """
    sizes: dict[int, list[Part]] = {}
    for part in manifest.segments:
        if part.live < MERGED_ROWS // FANOUT:
            sizes.setdefault(max(0, (part.live.bit_length() - 9) // 4), []).append(part)
    return next((parts for _, parts in sorted(sizes.items()) if len(parts) >= FANOUT), ())


def to_compact(manifest: Manifest) -> Iterator[Sequence[Part]]:
    """Groups of segments, neighbours by their ids, that `Collection.compact` writes anew one after the other."""
    most = merged_rows(manifest)
    group: list[Part] = []
    for part in (*manifest.segments, None):
        if group and (part is None or sum(other.live for other in group) + part.live > most):
            if len(group) > 1 or group[0].deleted:
                yield group
            group = []
        if part:
            group.append(part)


def merged_rows(manifest: Manifest) -> int:
    """How many rows a merged segment has at most."""
    row = -(-manifest.bits // 8) + 8 + 2 * manifest.bits * manifest.outputs
    return max(1, min(MERGED_ROWS, MERGED_BYTES // row))


def merge(snapshot: Snapshot, group: Sequence[Part], columns: dict[str, str]) -> Manifest:
    """Write the live rows of some segments into as few as may be, by their ids; the state with these instead.

    Damaged files are an error and are not copied.
    """
    names = {part.name for part in group}
    places, ids = _live_places(snapshot, [n for n, s in enumerate(snapshot.segments) if s.part.name in names])
    manifest, most = snapshot.manifest, merged_rows(snapshot.manifest)
    parts = []
    for begin in range(0, len(places), most):
        chosen = places[begin : begin + most]
        table = tables.completed(snapshot.metadata(chosen), columns, ids[begin : begin + most]) if columns else None
        parts.append(
            write_segment(
                snapshot.folder,
                manifest.version + 1,
                snapshot.taken(chosen, "codes"),
                ids[begin : begin + most],
                snapshot.taken(chosen, "outputs") if manifest.outputs else None,
                table,
            )
        )
    kept = [part for part in manifest.segments if part.name not in names]
    return manifest.followed(segments=(*kept, *parts), columns=columns)


def without(snapshot: Snapshot, places: np.ndarray) -> Manifest:
    """The state without the rows at (n,) ascending places; files that list what is deleted are written."""
    manifest, parts = snapshot.manifest, []
    bounds = np.searchsorted(places, snapshot.starts)
    for number, segment in enumerate(snapshot.segments):
        gone = places[bounds[number] : bounds[number + 1]] - snapshot.starts[number]
        part = segment.part
        if len(gone) == part.live:
            continue  # nothing is left of it
        if len(gone):
            rows = np.union1d(segment.deleted, gone)
            part = dataclasses.replace(part, deleted=write_deleted(snapshot.folder, manifest.version + 1, part, rows))
        parts.append(part)
    return manifest.followed(segments=tuple(parts))


def _live_places(snapshot: Snapshot, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Places and ids of the live rows of some segments, by id."""
    places, ids = [], []
    with snapshot.guarded():
        for number in numbers:
            segment = snapshot.segments[number]
            rows = np.arange(segment.part.rows) if segment.live is None else np.flatnonzero(segment.live)
            places.append(snapshot.starts[number] + rows)
            ids.append(segment.content.ids[rows])
    all_places, all_ids = np.concatenate(places), np.concatenate(ids)
    order = np.argsort(all_ids, kind="stable")
    return all_places[order], all_ids[order]
