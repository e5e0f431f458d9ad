"""Large arrays on disk: made block by block, gone on with after a kill, read by rows without filling memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock

from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage import shared
from hashzoo.storage.files import (
    DAMAGED,
    atomic_write,
    cache_dir,
    digest,
    file_digest,
    file_identity,
    read_arrays,
    read_json,
    write_arrays,
    write_error,
    write_json,
)

LARGE = 256 * 2**20  # bytes of an array from which on it is not held in memory
ROWS_AT_ONCE = 1024  # each may bring 64 kB of its file into the process
PART = 1024  # rows that a worker makes together, rounded up to whole blocks

# For the rows that are missing, in ranges: their values, in any order. What is left out is made by a later call.
Make = Callable[[Sequence[range]], Generator[tuple[range, np.ndarray], None, None]]
# The same by workers: it has them write parts of the ranges, and calls `take` with each part that is written, and
# `advance` with the rows that are done.
Spread = Callable[["Wanted", Sequence[range], Callable[[range], None], Callable[[int], None]], None]


@dataclass(frozen=True)
class Selected:
    """Some rows of a large mapped array, in their order, as an array of their own that is read when it is taken from.

    Attributes:
        array: (N, ...), mapped.
        rows: (n,) row numbers of it; those below 0 stand for `blank`.
        blank: one row, (...).
    """

    array: np.ndarray
    rows: np.ndarray
    blank: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: np.ndarray) -> np.ndarray:
        """Rows `index` of these rows, (len(index), ...), as a copy."""
        rows = self.rows[index]
        taken = take(self.array, np.maximum(rows, 0))
        taken[rows < 0] = self.blank
        return taken


def take(array: np.ndarray | Selected, rows: np.ndarray) -> np.ndarray:
    """`array[rows]`. Of a large mapped file nothing stays in the process: only the system's file cache keeps it."""
    if isinstance(array, Selected):
        return array.take(rows)
    mapped = array.base
    if array.nbytes < LARGE or not isinstance(mapped, mmap.mmap) or not hasattr(mapped, "madvise"):
        return array[rows]
    taken = np.empty((len(rows), *array.shape[1:]), dtype=array.dtype)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        stop = start + ROWS_AT_ONCE
        taken[start:stop] = array[rows[start:stop]]
        mapped.madvise(mmap.MADV_DONTNEED)
    return taken


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex; remembered in the cache while the file's place, size and time stay what they are."""
    identity = file_identity(path)
    note = cache_dir() / "digests" / f"{digest(identity[0])[:24]}.json"
    with contextlib.suppress(HashzooError, KeyError, TypeError):
        known = read_json(note)
        if known["identity"] == identity:
            return known["sha256"]
    sha256 = file_digest(path)
    with contextlib.suppress(HashzooError):  # a cache that cannot be written costs time, not the result
        write_json(note, {"identity": identity, "sha256": sha256})
    return sha256


def array_sha256(array: np.ndarray) -> str:
    """A digest of type, shape and content, taken block by block; of a mapped file by that of the file."""
    if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.filename is not None:
        return digest([array.dtype.str, list(array.shape), file_sha256(Path(array.filename))])
    content = hashlib.sha256(digest([array.dtype.str, list(array.shape)]).encode())
    for start in range(0, len(array), 16 * ROWS_AT_ONCE):
        content.update(np.ascontiguousarray(array[start : start + 16 * ROWS_AT_ONCE]).data)
    return content.hexdigest()


def write_array(path: Path, array: np.ndarray) -> None:
    """An array as a .npy file, whole or not at all; block by block, so that a mapped one needs no memory."""
    with atomic_write(path) as file:
        _write_header(file, array.shape, array.dtype)
        for start in range(0, len(array), ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, len(array)))
            file.write(np.ascontiguousarray(take(array, rows)).data)


@dataclass(frozen=True)
class Wanted:
    """An array of the cache, in words that can be sent to whoever makes parts of it; `cached_array` explains them."""

    preimage: dict[str, Any]
    block: int
    description: str
    unit: str

    @property
    def key(self) -> str:
        """Under which it is stored."""
        return digest(self.preimage)[:24]

    @property
    def path(self) -> Path:
        return cache_dir() / "features" / f"{self.key}.npy"

    def stored(self) -> np.ndarray | None:
        """The array where it is in the cache."""
        return _stored(self.path, quiet=True)

    def array(self, make: Make, spread: Spread | None = None) -> np.ndarray:
        return cached_array(self.preimage, self.block, make, self.description, self.unit, spread)

    def parts(self) -> list[range]:
        """All rows in parts that are the same for everyone: whole blocks, about `PART` rows."""
        rows, step = self.preimage["rows"], self.rows_of_part
        return [range(start, min(start + step, rows)) for start in range(0, rows, step)]

    @property
    def rows_of_part(self) -> int:
        return -(-PART // self.block) * self.block

    def part_path(self, part: range) -> Path:
        """The file in which a part waits until it is put into the array."""
        return self.path.with_suffix(".parts") / f"{part.start}-{part.stop}.npz"

    def write_part(self, part: range, made: Sequence[tuple[range, np.ndarray]]) -> None:
        """Write those rows of a part that could be made, whole or not at all."""
        if made:
            rows = np.array([[rows.start, rows.stop] for rows, _ in made])
            write_arrays(self.part_path(part), {"rows": rows, "values": np.concatenate([value for _, value in made])})

    def remove_parts(self) -> None:
        """Remove parts that nobody needs any more."""
        shutil.rmtree(self.path.with_suffix(".parts"), ignore_errors=True)


def cached_array(
    preimage: dict[str, Any], block: int, make: Make, description: str, unit: str, spread: Spread | None = None
) -> np.ndarray:
    """The array that belongs to `preimage`, memory-mapped; made and stored when it is not there.

    Blocks that are finished are kept when the making ends early: the next call goes on with those that are missing.
    Of several processes that want the same array one makes it, and the others wait. A file that does not match the
    digest stored beside it is said to be damaged and made again. Machines may share arrays (see
    `hashzoo.storage.shared`).

    Args:
        preimage: everything that can change the content; "rows" is their number.
        block: rows that are made together.
        make: gives the values of the ranges that it is asked for.
        description, unit: for the progress, such as "lite0 features of emoji" and "images".
        spread: has the missing rows made by workers, in place of `make`.
    """
    wanted = Wanted(preimage, block, description, unit)
    key, path = wanted.key, wanted.path
    found = _stored(path)
    if found is None:
        if not path.with_suffix(".json").exists():
            _say_what_changed(path.parent, preimage)
        with _alone(key):
            # Another process may have made it meanwhile; that it is damaged has been said.
            found = _stored(path, quiet=True)
            if found is None:
                shared.fetch(path, preimage)
                found = _stored(path, quiet=True)
            if found is None:
                _make(wanted, make, spread)
                found = np.load(path, mmap_mode="r", allow_pickle=False)
    shared.push(path, preimage)
    return found


def _stored(path: Path, quiet: bool = False) -> np.ndarray | None:
    sidecar = path.with_suffix(".json")
    if not sidecar.exists():
        return None
    try:
        about = read_json(sidecar)
        if path.stat().st_size != about["size"]:
            raise ValueError(f"it has {path.stat().st_size} bytes instead of {about['size']}")
        if file_sha256(path) != about["sha256"]:
            raise ValueError("its content does not match its digest")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (HashzooError, *DAMAGED) as error:
        if not quiet:
            print(f"hashzoo: {path} is damaged ({error}); computing it again", file=sys.stderr)
        return None


@contextlib.contextmanager
def _alone(key: str) -> Iterator[None]:
    """One process at a time; the lock of a killed process is gone with it."""
    lock = FileLock(cache_dir() / "locks" / f"{key}.lock")
    try:
        (cache_dir() / "locks").mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise write_error(cache_dir() / "locks" / f"{key}.lock", error) from error
    try:
        yield
    finally:
        lock.release()


def _make(wanted: Wanted, make: Make, spread: Spread | None) -> None:
    path, block, total, description = wanted.path, wanted.block, wanted.preimage["rows"], wanted.description
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _Unfinished(path, total) as unfinished, progress(description, total, wanted.unit) as advance:
            for left in sorted(path.with_suffix(".parts").glob("*.npz")):
                unfinished.take(left)  # by workers of an earlier call, or by a share
            missing = unfinished.missing(block)
            kept = total - sum(len(rows) for rows in missing)
            if kept:
                print(f"{description}: going on after {kept:,} {wanted.unit} that are there already", file=sys.stderr)
            advance(kept)
            if missing and spread is not None:
                spread(wanted, missing, lambda part: unfinished.take(wanted.part_path(part)), advance)
            elif missing:
                with contextlib.closing(make(missing)) as made:
                    for rows, values in made:
                        unfinished.write(rows, values)
                        advance(len(rows))
            assert not unfinished.missing(block), "whoever leaves rows out raises an error"
        os.replace(unfinished.path, path)
        write_json(
            path.with_suffix(".json"),
            {"preimage": wanted.preimage, "size": path.stat().st_size, "sha256": file_sha256(path)},
        )
        unfinished.journal.unlink()  # only now: to read a large array once more takes a while
        wanted.remove_parts()
    except OSError as error:
        raise write_error(path, error) from error


class _Unfinished:
    """A .npy file of full size that is filled in any order, and a journal of the rows that are in it.

    Args:
        path: of the file that it is going to be.
        total: number of rows.
    """

    def __init__(self, path: Path, total: int):
        self.path, self.journal = path.with_suffix(".part"), path.with_suffix(".journal")
        self._whole, self._total = path, total
        self._there = np.zeros(total, dtype=np.bool_)
        self._data: IO[bytes] | None = None

    def __enter__(self) -> _Unfinished:
        if self.journal.exists() and self._whole.exists() and not self.path.exists():
            os.replace(self._whole, self.path)  # a kill came before its digest was written
        try:
            self._recover()
        except DAMAGED:  # a process that was killed had hardly begun the file
            self._there[:] = False
        if not self._there.any():
            self.journal.unlink(missing_ok=True)
        self._lines = open(self.journal, "a", encoding="utf-8")
        self._lines.write("\n")  # ends a line that a kill has cut off
        return self

    def __exit__(self, *error: object) -> None:
        for file in (self._data, self._lines):
            if file is not None:
                if error[0] is None:
                    file.flush()
                    os.fsync(file.fileno())
                file.close()
        if not self._there.any():
            self.path.unlink(missing_ok=True)
            self.journal.unlink(missing_ok=True)

    def missing(self, block: int) -> list[range]:
        """The rows that are not there, in ranges of at most `block` that lie where they lie for every caller."""
        ranges = (range(start, min(start + block, self._total)) for start in range(0, self._total, block))
        return [rows for rows in ranges if not self._there[rows.start : rows.stop].all()]

    def write(self, rows: range, values: np.ndarray) -> None:
        """Put rows in their place: first their values, then the line that says that they are there."""
        values = np.ascontiguousarray(values)
        if self._data is None:
            self._open(values)
        assert self._data is not None
        assert (len(rows), values.nbytes) == (len(values), len(rows) * self._row_bytes), "all rows are of one kind"
        self._data.seek(self._offset + rows.start * self._row_bytes)
        self._data.write(values.data)
        self._data.flush()
        line = {"start": rows.start, "stop": rows.stop, "sha256": hashlib.sha256(values.data).hexdigest()}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        self._there[rows.start : rows.stop] = True

    def take(self, path: Path) -> None:
        """Put a part in its place, and remove its file; one that makes no sense is made again."""
        with contextlib.suppress(HashzooError, KeyError, ValueError, AssertionError):
            part = read_arrays(path)
            first = 0
            for start, stop in part["rows"].tolist():
                values, first = part["values"][first : first + stop - start], first + stop - start
                if 0 <= start < stop <= self._total and not self._there[start:stop].all():
                    self.write(range(start, stop), values)
        path.unlink(missing_ok=True)

    def _open(self, values: np.ndarray) -> None:
        self._row_bytes = values.nbytes // len(values)
        if self._there.any():
            self._data = open(self.path, "r+b")  # noqa: SIM115 - closed in __exit__
            return
        self._data = open(self.path, "wb")  # noqa: SIM115 - closed in __exit__
        _write_header(self._data, (self._total, *values.shape[1:]), values.dtype)
        self._offset = self._data.tell()
        self._data.truncate(self._offset + self._total * self._row_bytes)

    def _recover(self) -> None:
        """Read the journal of an earlier attempt; what does not match its digest counts as missing."""
        array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        if len(array) != self._total:
            raise ValueError("another number of rows")
        self._offset = array.offset
        with open(self.journal, encoding="utf-8") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that a kill has cut off
                    about = json.loads(line)
                    rows = slice(about["start"], about["stop"])
                    content = np.ascontiguousarray(array[rows]).data
                    if hashlib.sha256(content).hexdigest() == about["sha256"]:
                        self._there[rows] = True


def _write_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(file, header)


def _say_what_changed(folder: Path, preimage: dict[str, Any]) -> None:
    """When a cached array differs from the wanted one in a single field, name it; other strings are no news."""
    wanted = _flat(preimage)
    for sidecar in sorted(folder.glob("*.json")):
        try:
            stored = _flat(read_json(sidecar)["preimage"])
        except (HashzooError, KeyError, TypeError, AttributeError):
            continue
        different = [name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name)]
        if len(different) == 1 and different != ["strings"]:
            name = different[0]
            print(
                f"hashzoo: cached features differ in {name} ({stored.get(name)} there, {wanted.get(name)} here)",
                file=sys.stderr,
            )
            return


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: leaf
        for key, inner in value.items()
        for name, leaf in _flat(inner, f"{prefix}.{key}" if prefix else key).items()
    }
