"""The pictures of a table: where they lie, whether they can be read, what they hold."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hashzoo.data.pictures import why_unreadable
from hashzoo.data.table_files import missing
from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage.files import atomic_write, read_arrays, write_arrays

BLOCK = 256  # pictures that wait to be looked at: those that come as bytes are all in memory
MAX_BYTES = 2**30  # of a picture file
Place = tuple[str, bytes, tuple[int, int]]  # path, SHA-256, size and time


class Unusable(Exception):
    """Why the picture of a row cannot be used, in words that follow the name of its file."""


@dataclass
class Pictures:
    """What is known of the pictures of all rows.

    Attributes:
        paths: a path a row, relative to the root or absolute; "" where the picture cannot be used.
        digests: (N, 32) uint8, SHA-256 of each file.
        stats: (N, 2) int64, size in bytes and time of the last change in nanoseconds.
        broken: (row, file, why) of those that cannot be used.
    """

    paths: list[str]
    digests: np.ndarray
    stats: np.ndarray
    broken: list[tuple[int, str, str]] = field(default_factory=list)


class Reader:
    """Finds the picture of a cell, reads it once, and looks at it.

    Args:
        root: the folder that paths are relative to.
        outside: whether files may lie outside of it.
        store: the folder to which pictures that come as bytes are written, each under its digest.
    """

    def __init__(self, root: Path, outside: bool, store: Path):
        self.root, self.store, self._outside = root.resolve(), store, outside
        self._folders: dict[str, bool] = {}  # whether a folder lies inside the root, links followed

    def place(self, value: Any) -> Place:
        """Path, digest and state of the picture of a cell.

        Raises:
            Unusable: it lies elsewhere, is missing or no file, or cannot be decoded.
        """
        if isinstance(value, dict):  # as the package datasets stores pictures
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return self._keep(value)
        if isinstance(value, Image.Image):
            return self._keep(_as_png(value))
        if missing(value):
            raise Unusable("is not named")
        if not isinstance(value, str):
            raise Unusable(f"is {type(value).__name__}, not a path")
        path = self._path(value)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise Unusable("is no file")
            if status.st_size > MAX_BYTES:
                raise Unusable(f"has {status.st_size:,} bytes")
            with open(path, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            raise Unusable("does not exist") from None
        except OSError as error:
            raise Unusable(f"cannot be read ({error.strerror or error})") from None
        except ValueError:
            raise Unusable("is no path") from None
        if why := why_unreadable(content):
            raise Unusable(why)
        return path, hashlib.sha256(content).digest(), (status.st_size, status.st_mtime_ns)

    def _path(self, value: str) -> str:
        """The absolute path of a file that may be used."""
        if "://" in value[:10]:
            raise Unusable("is an address; hashzoo downloads no pictures")
        try:
            path = os.path.normpath(os.path.join(self.root, os.path.expanduser(value) if self._outside else value))
            if self._outside:
                return path
            folder = os.path.dirname(path)
            if folder not in self._folders:
                self._folders[folder] = self._is_inside(folder)
            inside = self._folders[folder] and (not os.path.islink(path) or self._is_inside(path))
        except (ValueError, OSError):
            raise Unusable("is no path") from None
        if not inside:
            raise Unusable(f"lies outside of {self.root}")
        return path

    def _is_inside(self, path: str) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self.root)

    def _keep(self, content: bytes) -> Place:
        if why := why_unreadable(content):
            raise Unusable(why)
        sha = hashlib.sha256(content)
        name = sha.hexdigest()
        path = self.store / name[:2] / name
        if not path.exists():
            with atomic_write(path) as file:
                file.write(content)
        status = path.stat()
        return str(path), sha.digest(), (status.st_size, status.st_mtime_ns)


def look_at(values: Iterable[Any], rows: int, reader: Reader, name: str) -> Pictures:
    """Every picture of a table, several at a time; one that several rows name is read once.

    Args:
        values: a cell a row: a path, bytes, {"bytes", "path"} or a PIL image.
        rows: how many there are.
        reader: knows where they may lie.
        name: of the table, for the progress line.
    """
    found = Pictures([], np.zeros((rows, 32), dtype=np.uint8), np.zeros((rows, 2), dtype=np.int64))
    first: dict[str, int] = {}  # the row in which a path stands first

    def one(row: int, value: Any, earlier: int) -> Place | Unusable | int:
        try:
            return reader.place(value) if earlier == row else earlier
        except Unusable as why:
            return why

    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor() as pool,
        progress(f"looking at {name}", rows, "pictures") as advance,
    ):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for block in _blocks(enumerate(values)):
            seen = [first.setdefault(value, row) if isinstance(value, str) else row for row, value in block]
            for (row, value), place in zip(block, pool.map(one, *zip(*block, strict=True), seen), strict=True):
                if isinstance(place, int):
                    found.paths.append(found.paths[place])
                    found.digests[row], found.stats[row] = found.digests[place], found.stats[place]
                    if not found.paths[place]:
                        found.broken.append((row, str(value)[:200], "cannot be used, as above"))
                elif isinstance(place, Unusable):
                    found.paths.append("")
                    file = value.get("path") if isinstance(value, dict) else value
                    found.broken.append((row, file[:200] if isinstance(file, str) else "its picture", str(place)))
                else:
                    path, sha, found.stats[row] = place
                    found.paths.append(os.path.relpath(path, reader.root) if _below(path, reader.root) else path)
                    found.digests[row] = np.frombuffer(sha, dtype=np.uint8)
                advance(1)
    return found


def remembered(path: Path, root: Path, look: Callable[[], Pictures]) -> Pictures:
    """What was known of the pictures when they were looked at last, if all could be used and none has changed.

    Args:
        path: where it is kept, for this table and column.
        root: the folder that paths are relative to.
        look: reads all pictures.
    """
    if path.exists():
        try:
            stored = read_arrays(path)
            known = Pictures(json.loads(stored["paths"].tobytes()), stored["digests"], stored["stats"])
            if np.array_equal(stats_of(root, known.paths), known.stats):
                return known
        except (HashzooError, ValueError, KeyError, TypeError):
            pass  # it is damaged: pictures are looked at again
    found = look()
    if not found.broken:
        paths = np.frombuffer(json.dumps(found.paths).encode(), dtype=np.uint8)
        write_arrays(path, {"paths": paths, "digests": found.digests, "stats": found.stats})
    return found


def stats_of(root: Path, paths: Iterable[str]) -> np.ndarray:
    """(N, 2) int64: size and time of each file, -1 where there is none."""
    known: dict[str, tuple[int, int]] = {}
    rows = []
    for path in paths:
        if path not in known:
            try:
                status = os.stat(os.path.join(root, path))
                known[path] = status.st_size, status.st_mtime_ns
            except OSError:
                known[path] = -1, -1
        rows.append(known[path])
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _below(path: str, root: Path) -> bool:
    return path.startswith(f"{root}{os.sep}")


def _as_png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    try:
        picture.save(content, format="PNG")
    except (OSError, ValueError) as error:
        raise Unusable(f"cannot be kept ({error})") from None
    return content.getvalue()


def _blocks(items: Iterator[Any]) -> Iterator[list[Any]]:
    while block := list(islice(items, BLOCK)):
        yield block
