"""Segments: rows of a collection in files that are never written again, and are removed when nobody reads them.

A reader holds a shared lock on the codes file of every segment that it maps, for as long as the map lives. Who wants
to remove a segment needs that lock alone, so that what a reader opens later (metadata, outputs) is still there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import math
import mmap
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from hashzoo.search import tables
from hashzoo.search.manifest import CODES, IDS, METADATA, OUTPUTS, Deleted, File, Manifest, Part
from hashzoo.storage.files import DAMAGED, file_digest, sync_folder

try:
    import fcntl
except ImportError:  # Windows, which removes no file that is open
    fcntl = None  # type: ignore[assignment]

SEGMENTS, DELETED = "segments", "deleted"  # folders of a collection


class Damage(Exception):
    """A file is not what the manifest says. It does not leave this package: its reader knows whether the file had to
    be there."""


class Content:
    """The files of one segment, mapped when they are needed. Every file is checked against its digest at first use.

    Lengths are checked at once: a file that was cut off is found when the collection is opened.

    Args:
        folder: of the segment.
        part: what the manifest says of it.
        bits: code length.
    """

    def __init__(self, folder: Path, part: Part, bits: int):
        self.folder, self.part, self.bits = folder, part, bits
        self._checked: set[str] = set()
        self._lock = threading.Lock()
        self._codes = self._map(CODES)
        for name, file in part.files.items():
            if name != CODES and (folder / name).stat().st_size != file.bytes:
                raise Damage(f"{folder.name}/{name} does not have {file.bytes} bytes")

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """(rows, ceil(bits / 8)) uint8, packed as in `Codes`: bits beyond the last would count as distance."""
        self.check(CODES)
        if self.bits % 8 and (self._codes[:, -1] >> self.bits % 8).any():
            raise Damage(f"{self.folder.name}/{CODES} holds codes of more than {self.bits} bits")
        return self._codes

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """(rows,) int64, ascending."""
        self.check(IDS)
        return self._map(IDS)

    @functools.cached_property
    def outputs(self) -> np.ndarray:
        """(rows, bits) float16."""
        self.check(OUTPUTS)
        return self._map(OUTPUTS)

    @functools.cached_property
    def metadata(self) -> tables.Stored:
        """The metadata of all rows."""
        self.check(METADATA)
        return tables.Stored(self.folder / METADATA)

    def check(self, name: str) -> None:
        """Compare a file with its digest, once."""
        with self._lock:
            if name not in self._checked:
                if file_digest(self.folder / name) != self.part.files[name].sha256:
                    raise Damage(f"{self.folder.name}/{name} does not match its digest")
                self._checked.add(name)

    def _map(self, name: str) -> np.ndarray:
        """An array of a .npy file as it lies on the disk, read-only."""
        dtype, *row = row_of(name.removesuffix(".npy"), self.bits)
        shape = (self.part.rows, *row)
        with open(self.folder / name, "rb") as file:
            if name == CODES:
                share(file)
            if os.fstat(file.fileno()).st_size != self.part.files[name].bytes:
                raise Damage(f"{self.folder.name}/{name} does not have {self.part.files[name].bytes} bytes")
            # The map keeps a duplicate of the descriptor, and with it the lock.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # The values are the end of the file. Its header says nothing that the manifest does not.
        stored = np.dtype(dtype).newbyteorder("<")
        start = len(mapped) - math.prod(shape) * stored.itemsize
        if start not in range(64, 4096, 64):
            raise Damage(f"{self.folder.name}/{name} is no array of {shape} {stored}")
        return np.frombuffer(mapped, stored, offset=start).reshape(shape).astype(dtype, copy=False)


def row_of(name: str, bits: int) -> tuple[Any, ...]:
    """Type and shape of what one row has of the codes, ids or outputs."""
    return {"codes": (np.uint8, -(-bits // 8)), "ids": (np.int64,), "outputs": (np.float16, bits)}[name]


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment in one state of the collection: its content, and the (d,) int64 rows that are deleted, ascending."""

    content: Content
    part: Part
    deleted: np.ndarray

    @functools.cached_property
    def live(self) -> np.ndarray | None:
        """(rows,) bool, or None when all rows are live."""
        if not len(self.deleted):
            return None
        live = np.ones(self.part.rows, dtype=np.bool_)
        live[self.deleted] = False
        return live

    def find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) int64 rows where ids are, and (n,) bool, whether they are there and live."""
        stored = self.content.ids
        rows = np.minimum(np.searchsorted(stored, ids), len(stored) - 1)
        known = stored[rows] == ids
        return rows, known if self.live is None else known & self.live[rows]


def open_segment(root: Path, part: Part, bits: int, known: dict[str, Content]) -> Segment:
    """A segment that the manifest names; `known` are contents that are mapped already.

    Raises Damage or OSError when a file is not there or not as long as it should be.
    """
    content = known.get(part.name)
    if content is None or content.part.files != part.files:
        content = Content(root / SEGMENTS / part.name, part, bits)
    deleted = np.empty(0, dtype=np.int64)
    if part.deleted:
        # Read now: unlike segments, such files are removed with the next state.
        written = (root / DELETED / part.deleted.name).read_bytes()
        if hashlib.sha256(written).hexdigest() != part.deleted.file.sha256:
            raise Damage(f"{DELETED}/{part.deleted.name} does not match its digest")
        try:
            deleted = np.load(io.BytesIO(written), allow_pickle=False)
        except DAMAGED as error:
            raise Damage(f"{DELETED}/{part.deleted.name} is no array") from error
        if deleted.dtype != "<i8" or deleted.shape != (part.deleted.rows,) or not _within(deleted, part.rows):
            raise Damage(f"{DELETED}/{part.deleted.name} does not hold rows of the segment")
    return Segment(content, part, deleted)


def _within(rows: np.ndarray, count: int) -> bool:
    """Whether these are ascending row numbers below `count`."""
    return not len(rows) or bool(rows[0] >= 0 and rows[-1] < count and (np.diff(rows) > 0).all())


def write_segment(
    root: Path, version: int, codes: np.ndarray, ids: np.ndarray, outputs: np.ndarray | None, table: Any
) -> Part:
    """Write a new segment, on the disk on return; it is part of the collection once a manifest names it.

    Args:
        root: folder of the collection.
        version: of the state that the segment is made for.
        codes: (n, ceil(bits / 8)) uint8, n > 0.
        ids: (n,) int64, ascending.
        outputs: (n, bits) float16, or None.
        table: of n rows with the column `id`, or None.
    """
    folder = _new_folder(root / SEGMENTS, version)
    try:
        for name, array in ((CODES, codes), (IDS, ids), (OUTPUTS, outputs)):
            if array is not None:
                with open(folder / name, "wb") as file:
                    array = np.ascontiguousarray(array)
                    np.lib.format.write_array(file, array.astype(array.dtype.newbyteorder("<")), (1, 0), False)
                    _flush(file)
        if table is not None:
            with open(folder / METADATA, "wb") as file:
                tables.write(table, file)
                _flush(file)
        files = {path.name: File.of(path) for path in sorted(folder.iterdir())}
        sync_folder(folder)
        sync_folder(root / SEGMENTS)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Part(folder.name, len(ids), int(ids[0]), int(ids[-1]), files)


def write_deleted(root: Path, version: int, part: Part, rows: np.ndarray) -> Deleted:
    """Write the ascending rows of a segment that are deleted, on the disk on return."""
    (root / DELETED).mkdir(exist_ok=True)
    path = root / DELETED / f"{part.name}-{version:08d}.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array(file, rows.astype("<i8"), (1, 0), False)
        _flush(file)
    sync_folder(root / DELETED)
    sync_folder(root)
    return Deleted(len(rows), path.name, File.of(path))


def remove_leftovers(root: Path, manifest: Manifest) -> None:
    """Remove what no state needs: segments that were merged away or never finished, unless a reader maps them.

    Only who may write calls it: nobody else can be making a segment.
    """
    parts = {part.name for part in manifest.segments}
    for folder in _entries(root / SEGMENTS):
        if folder.name not in parts:
            with _unread(folder / CODES) as free:
                if free:
                    shutil.rmtree(folder, ignore_errors=True)
    listed = {part.deleted.name for part in manifest.segments if part.deleted}
    leftovers = [path for path in _entries(root / DELETED) if path.name not in listed]
    for path in (*leftovers, *root.glob(".manifest.json.*.part")):
        path.unlink(missing_ok=True)


def share(file: IO[bytes]) -> None:
    """Take part in reading a file: it stays until every descriptor of this opening is closed."""
    if fcntl:
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
        except OSError:  # a file system without locks: its segments are never removed, see `_unread`
            return


@contextlib.contextmanager
def _unread(path: Path) -> Iterator[bool]:
    """Whether nobody reads a file, which then stays so for the block."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except FileNotFoundError:  # it was never finished
            free = True
        except OSError:
            free = False
        yield free


def _new_folder(parent: Path, version: int) -> Path:
    parent.mkdir(exist_ok=True)
    taken = {path.name for path in parent.iterdir()}
    name = next(f"{version:08d}-{n}" for n in range(len(taken) + 1) if f"{version:08d}-{n}" not in taken)
    (parent / name).mkdir()
    return parent / name


def _entries(folder: Path) -> Iterable[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else ()


def _flush(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
