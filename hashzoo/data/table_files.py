"""What a table is, and tables of plain text: JSON lines, CSV, tar shards, and pandas frames in memory.

Nothing of a file is executed: no pickles, no readers that load code, no formats that start programs.
"""

from __future__ import annotations

import csv
import json
import math
import tarfile
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from hashzoo.errors import HashzooError

if TYPE_CHECKING:
    import pandas

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_COLUMNS = 10_000
MAX_MEMBER = 2**24  # bytes of a text in a tar shard
FLAGS = {"0": False, "1": True, "false": False, "true": True}


class Source(ABC):
    """A table of any format: its columns are known, its values are read when they are asked for.

    Attributes:
        name: for messages: the file's name.
        columns: their names.
        files: what it was read from; empty for what is in memory.
        names: class names by column, where values are numbers that stand for them.
    """

    name: str
    columns: list[str]
    files: Sequence[Path] = ()
    names: Mapping[str, Sequence[str]] = {}

    @abstractmethod
    def read(self, columns: Sequence[str], flags: Sequence[str]) -> tuple[dict[str, list[Any]], np.ndarray]:
        """Values of some columns, a list each, None where one is missing, and 0/1 columns as (N, F) bool."""

    @abstractmethod
    def pictures(self, column: str) -> Iterator[Any]:
        """Values of the column of pictures, some at a time: paths, bytes, or {"bytes", "path"}."""

    def refuse(self, reason: str) -> NoReturn:
        raise HashzooError(f"{self.name} {reason}")

    def check(self) -> None:
        """Raise one sentence if there is nothing to choose columns from, or they cannot be told apart."""
        if not self.columns:
            self.refuse("is empty; give a table with a line of column names and a row for each picture")
        if len(self.columns) > MAX_COLUMNS:
            self.refuse(
                f"has {len(self.columns):,} columns, more than {MAX_COLUMNS:,}; write the labels as one column of "
                f"names, such as 'cat,dog'"
            )
        repeated = next((name for name in self.columns if self.columns.count(name) > 1), None)
        if repeated is not None:
            self.refuse(f"has two columns called '{repeated}'; give each a name of its own")

    def flag(self, value: Any, row: int, column: str) -> bool:
        """A value of a 0/1 column."""
        if isinstance(value, float) and value in (0.0, 1.0):
            return bool(value)
        found = FLAGS.get(str(value).strip().lower())
        if found is None:
            self.refuse(f"has {value!r:.40} in row {row} of the label column '{column}', where 0 or 1 belongs")
        return found


class Records(Source):
    """A table that is read row by row, as often as needed. A subclass sets `columns` and gives the rows."""

    @abstractmethod
    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The rows by column; a column that a row lacks is missing in it."""

    def read(self, columns: Sequence[str], flags: Sequence[str]) -> tuple[dict[str, list[Any]], np.ndarray]:
        values: dict[str, list[Any]] = {name: [] for name in columns}
        held, count = bytearray(), 0
        for number, row in enumerate(self.rows()):
            for name in columns:
                values[name].append(row.get(name))
            held.extend(self.flag(row.get(name), number, name) for name in flags)
            count += 1
        return values, np.frombuffer(held, dtype=np.bool_).reshape(count, len(flags))

    def pictures(self, column: str) -> Iterator[Any]:
        return (row.get(column) for row in self.rows())


class JsonLines(Records):
    """One JSON object a line; the columns are all names that occur."""

    def __init__(self, path: Path):
        self.name, self.files, self._path = path.name, (path,), path
        found: dict[str, None] = {}
        for row in self.rows():
            found.update(dict.fromkeys(row))
            if len(found) > MAX_COLUMNS:
                break
        self.columns = list(found)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        number = 0
        with open(self._path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:  # not UTF-8 is a ValueError, too
                    self.refuse(f"has no JSON object in line {number} ({error}); write one object a line, in UTF-8")
                if not isinstance(row, dict):
                    self.refuse(f"has no JSON object in line {number}, but a {type(row).__name__}; write one a line")
                yield row


class Csv(Records):
    """Values separated by commas, or by tabs in a .tsv; the first line names the columns."""

    def __init__(self, path: Path):
        self.name, self.files, self._path = path.name, (path,), path
        self.columns = next(self._lines(), [])

    def rows(self) -> Iterator[Mapping[str, Any]]:
        for number, cells in enumerate(self._lines()):
            if number and cells:
                if len(cells) != len(self.columns):
                    self.refuse(
                        f"has {len(cells)} values in row {number - 1} but {len(self.columns)} columns; "
                        f"put values that hold a comma in quotes"
                    )
                yield dict(zip(self.columns, cells, strict=True))

    def _lines(self) -> Iterator[list[str]]:
        try:
            with open(self._path, encoding="utf-8-sig", newline="") as file:
                yield from csv.reader(file, delimiter="\t" if self._path.suffix.lower() == ".tsv" else ",", strict=True)
        except UnicodeDecodeError as error:
            self.refuse(f"is not UTF-8 (byte {error.object[error.start]:#04x}); save it as UTF-8")
        except csv.Error as error:
            self.refuse(f"is no readable CSV ({error}); write it again, with quotes around values that need them")


class Shards(Source):
    """A folder of WebDataset tar shards: files that share a name up to its first dot are one row.

    Columns are `id` (the name), `image` (its picture), `text` (.txt), `labels` (.cls), and what a .json holds.
    """

    def __init__(self, folder: Path):
        self.name, self.files = folder.name, tuple(sorted(folder.glob("*.tar")))
        self._values: dict[str, list[Any]] = {"id": []}
        self._places = {name: array("q") for name in ("row", "shard", "offset", "size")}  # of the pictures
        for number, shard in enumerate(self.files):
            try:
                # Not compressed, so that a picture is bytes at a place, and no small file unpacks without end.
                with tarfile.open(shard, "r:") as archive:
                    self._read_shard(archive, number)
            except (tarfile.TarError, OSError, ValueError, RecursionError) as error:
                self.refuse(f"has a shard that cannot be read, {shard.name} ({error}); give uncompressed tar files")
        self.columns = [*self._values, *(["image"] if self._places["row"] and "image" not in self._values else [])]

    def read(self, columns: Sequence[str], flags: Sequence[str]) -> tuple[dict[str, list[Any]], np.ndarray]:
        rows = len(self._values["id"])
        held = np.zeros((rows, len(flags)), dtype=np.bool_)
        for place, name in enumerate(flags):
            held[:, place] = [self.flag(value, row, name) for row, value in enumerate(self._padded(name))]
        return {name: self._padded(name) for name in columns}, held

    def pictures(self, column: str) -> Iterator[Any]:
        if column != "image":
            yield from self._padded(column)
            return
        places = zip(*self._places.values(), strict=True)
        place = next(places, None)
        for row in range(len(self._values["id"])):
            found = None
            while place is not None and place[0] == row:
                with open(self.files[place[1]], "rb") as file:
                    file.seek(place[2])
                    found = file.read(place[3])
                place = next(places, None)
            yield found

    def _padded(self, column: str) -> list[Any]:
        values = self._values.get(column, [])
        return values + [None] * (len(self._values["id"]) - len(values))

    def _read_shard(self, archive: tarfile.TarFile, number: int) -> None:
        shard, ids, current = self.files[number].name, self._values["id"], None
        for member in archive:
            if member.isdir():
                continue
            if not member.isreg():
                self.refuse(f"has a link or device in {shard} ({member.name}); make it anew of plain files")
            path = PurePosixPath(member.name)
            stem, _, ending = path.name.partition(".")
            if str(path.parent / stem) != current:
                current = str(path.parent / stem)
                ids.append(current)
            if f".{ending.lower()}" in PICTURES:
                for name, value in zip(
                    self._places, (len(ids) - 1, number, member.offset_data, member.size), strict=True
                ):
                    self._places[name].append(value)
            elif ending in ("txt", "cls", "json"):
                if member.size > MAX_MEMBER:
                    self.refuse(
                        f"has {member.name} of {member.size:,} bytes in {shard}; a text has at most {MAX_MEMBER:,}"
                    )
                stream = archive.extractfile(member)
                assert stream is not None, "it is a plain file"
                self._add_text(ending, stream.read().decode("utf-8"), f"{member.name} in {shard}")

    def _add_text(self, ending: str, content: str, where: str) -> None:
        about: Any = {"text" if ending == "txt" else "labels": content.strip()}
        if ending == "json":
            about = json.loads(content)
            if not isinstance(about, dict):
                self.refuse(f"has {where}, which is no JSON object")
        for name, value in about.items():
            if name != "id":  # of a row is the name of its files
                held = self._values.setdefault(name, [])
                held.extend([None] * (len(self._values["id"]) - len(held)))
                held[-1] = value


class Frame(Source):
    """A pandas frame in memory."""

    def __init__(self, frame: pandas.DataFrame, name: str):
        self.name, self._frame, self.columns = name, frame, [str(column) for column in frame.columns]

    def read(self, columns: Sequence[str], flags: Sequence[str]) -> tuple[dict[str, list[Any]], np.ndarray]:
        values = {name: self._column(name) for name in columns}
        held = np.zeros((len(self._frame), len(flags)), dtype=np.bool_)
        for place, name in enumerate(flags):
            held[:, place] = [self.flag(value, row, name) for row, value in enumerate(self._column(name))]
        return values, held

    def pictures(self, column: str) -> Iterator[Any]:
        return iter(self._column(column))

    def _column(self, name: str) -> list[Any]:
        values = self._frame.iloc[:, self.columns.index(name)].tolist()
        return [v.tolist() if isinstance(v, np.ndarray | np.generic) else v for v in values]


def missing(value: Any) -> bool:
    """Whether nothing is in a cell: None, NaN in each of its forms, or blank text."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def head(names: Iterable[str], count: int = 20) -> str:
    """Some names for a sentence, and how many there are beside."""
    listed = list(names)
    more = f" and {len(listed) - count:,} more" if len(listed) > count else ""
    return ", ".join(name[:60] for name in listed[:count]) + more
