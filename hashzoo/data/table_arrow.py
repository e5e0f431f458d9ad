"""Tables in Arrow's types: Parquet files, saved `datasets` folders, tables in memory.

Folders are read as Arrow files and JSON, not by the package datasets, which need not be installed.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo.data.table_files import Source
from hashzoo.errors import HashzooError

if TYPE_CHECKING:
    import pyarrow

INSTALL = "type pip install 'hashzoo[data]'"
BATCH = 64  # rows whose pictures are in memory at a time


class Arrow(Source):
    """Columns in Arrow's types: a Parquet file, the files of a saved `datasets` folder, a table in memory.

    Args:
        name: for messages.
        parts: what gives record batches of some columns, in order, with the name of the split that each is of.
        schema: of all of them.
        files: what they lie in.
    """

    def __init__(self, name: str, parts: Sequence[tuple[str, Any]], schema: pyarrow.Schema, files: Sequence[Path]):
        self.name, self.files, self._parts, self._schema = name, files, parts, schema
        self.columns = list(schema.names)
        self.names = _class_names(schema)
        # The splits of a saved DatasetDict are a column more.
        self._split = len(parts) > 1 and "split" not in self.columns
        if self._split:
            self.columns.append("split")

    def read(self, columns: Sequence[str], flags: Sequence[str]) -> tuple[dict[str, list[Any]], np.ndarray]:
        values: dict[str, list[Any]] = {name: [] for name in columns}
        blocks = [np.zeros((0, len(flags)), dtype=np.bool_)]
        stored = [name for name in columns if name in self._schema.names]
        for name in (*stored, *flags):
            self._check_type(name)
        for split, batch in self._batches([*stored, *flags], 8192):
            start = sum(map(len, blocks))
            for name in columns:
                part = self._values(batch, name) if name in stored else [split] * batch.num_rows
                values[name].extend(part)
            block = np.zeros((batch.num_rows, len(flags)), dtype=np.bool_)
            for place, name in enumerate(flags):
                block[:, place] = [self.flag(v, start + n, name) for n, v in enumerate(self._values(batch, name))]
            blocks.append(block)
        return values, np.concatenate(blocks)

    def pictures(self, column: str) -> Iterator[Any]:
        self._check_type(column)
        for _, batch in self._batches([column], BATCH):
            yield from self._values(batch, column)

    def _values(self, batch: pyarrow.RecordBatch, name: str) -> list[Any]:
        try:
            return batch.column(batch.schema.get_field_index(name)).to_pylist()
        except (ValueError, ArithmeticError, KeyError) as error:  # text that is not UTF-8, dates out of range
            self.refuse(f"has values in column '{name}' that cannot be read ({error}); write them as text, in UTF-8")

    def _check_type(self, name: str) -> None:
        import pyarrow

        kind = self._schema.field(name).type
        if isinstance(kind, pyarrow.BaseExtensionType):
            self.refuse(f"has column '{name}' of the extension type {kind.extension_name}; write it as a plain type")

    def _batches(self, columns: list[str], size: int) -> Iterator[tuple[str, pyarrow.RecordBatch]]:
        import pyarrow

        try:
            for split, part in self._parts:
                for batch in part(columns, size):
                    yield split, batch
        except (pyarrow.ArrowException, OSError, KeyError) as error:
            self.refuse(f"cannot be read ({_first_line(error)}); write it again")


def from_arrow(table: pyarrow.Table, name: str) -> Source:
    """The source of an Arrow table in memory."""
    return Arrow(name, [("", lambda columns, size: table.select(columns).to_batches(size))], table.schema, ())


def open_parquet(path: Path) -> Source:
    """A Parquet file."""
    parquet = _pyarrow(path.name, "pyarrow.parquet")
    import pyarrow

    try:
        schema = parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise HashzooError(f"{path.name} is no readable Parquet file ({_first_line(error)}); write it again") from error

    def batches(columns: list[str], size: int) -> Iterator[pyarrow.RecordBatch]:
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(size, columns=columns)

    return Arrow(path.name, [("", batches)], schema, (path,))


def open_saved(folder: Path) -> Source:
    """What `save_to_disk` of the package datasets wrote: one data set, or one for each split."""
    _pyarrow(folder.name, "pyarrow")
    import pyarrow

    found = saved_files(folder)
    try:
        with pyarrow.memory_map(str(found[0][1][0])) as file:
            schema = pyarrow.ipc.open_stream(file).schema
    except (pyarrow.ArrowException, OSError, IndexError) as error:
        raise _not_saved(folder, error) from error
    parts = [(split, _stream(files)) for split, files in found]
    return Arrow(folder.name, parts, schema, [path for _, files in found for path in files])


def _not_saved(folder: Path, error: Exception) -> HashzooError:
    why = f"{type(error).__name__}: {_first_line(error)}"
    return HashzooError(f"{folder.name} is no readable saved data set ({why}); write it again with save_to_disk")


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def saved_files(folder: Path) -> list[tuple[str, list[Path]]]:
    """The Arrow files of each split ("" where there is one data set) that `save_to_disk` of datasets wrote."""
    try:
        splits = [""]
        if (folder / "dataset_dict.json").is_file():
            splits = list(json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"])
        found = []
        for split in splits:
            state = json.loads((folder / split / "state.json").read_text(encoding="utf-8"))
            held = [folder / split / part["filename"] for part in state["_data_files"]]
            found.append((split, [_inside(folder, path) for path in held]))
        return found
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _not_saved(folder, error) from error


def _stream(files: Sequence[Path]) -> Any:
    """What gives the record batches of Arrow streams, some columns of them."""

    def batches(columns: list[str], size: int) -> Iterator[pyarrow.RecordBatch]:
        import pyarrow

        for path in files:
            with pyarrow.memory_map(str(path)) as file:
                for batch in pyarrow.ipc.open_stream(file):
                    chosen = batch.select(columns)
                    for start in range(0, batch.num_rows, size):
                        yield chosen.slice(start, size)

    return batches


def _inside(folder: Path, path: Path) -> Path:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise HashzooError(f"{folder.name} names {path}, which lies outside of it; write it again with save_to_disk")
    return path


def _class_names(schema: pyarrow.Schema) -> dict[str, Sequence[str]]:
    """Names of ClassLabel columns, alone or in lists, from what the package datasets writes into schemas."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found: dict[str, Sequence[str]] = {}
        for column, feature in features.items():
            inner = feature.get("feature", feature)
            if inner.get("_type") == "ClassLabel":
                found[column] = [str(name) for name in inner["names"]]
        return found
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _pyarrow(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise HashzooError(f"reading {name} needs pyarrow, which is not installed: {INSTALL}", exit_code=1) from None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
