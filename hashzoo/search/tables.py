"""Metadata of a collection: tables of a few plain types, kept as Parquet."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from hashzoo.errors import HashzooError

if TYPE_CHECKING:
    import pyarrow

ID = "id"
RESERVED = (ID, "file_index", "file_row_number")  # the first is the collection's, the others DuckDB's
ROW_GROUP = 16384  # rows that are decoded together: few, since an answer needs single ones
KINDS = "true or false, whole numbers, numbers, texts, times, dates and lists of texts"


def pyarrow_module(name: str = "pyarrow") -> Any:
    """pyarrow, or a sentence that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise HashzooError(
            "metadata needs pyarrow, which is not installed: type pip install 'hashzoo[search]'", exit_code=1
        ) from None


class Stored:
    """The Parquet file of a segment, of which single rows are read."""

    def __init__(self, path: Path):
        self._lock = threading.Lock()
        self._file = pyarrow_module("pyarrow.parquet").ParquetFile(path, memory_map=True)
        groups = self._file.metadata
        sizes = [groups.row_group(n).num_rows for n in range(groups.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def rows(self, rows: np.ndarray) -> pyarrow.Table:
        """The table of n rows, by their (n,) int64 numbers in any order."""
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        needed, place = np.unique(groups, return_inverse=True)
        sizes = np.diff(self._starts)[needed]
        begin = np.cumsum(sizes) - sizes  # of each of these groups in what is read
        with self._lock:  # pyarrow does not promise that a file can be read by several threads
            table = self._file.read_row_groups(needed.tolist())
        return table.take(rows - self._starts[groups] + begin[place])


def write(table: pyarrow.Table, file: IO[bytes]) -> None:
    """Write a table as Parquet."""
    parquet = pyarrow_module("pyarrow.parquet")
    parquet.write_table(table, file, row_group_size=ROW_GROUP, compression="zstd")


def prepared(metadata: Any, columns: Mapping[str, str], rows: int) -> tuple[pyarrow.Table, dict[str, str]]:
    """A table in the types of a collection, and the types of all columns, the new ones among them.

    Args:
        metadata: a pyarrow.Table, a pandas.DataFrame, or a mapping of names to columns.
        columns: SQL types of the columns that the collection has.
        rows: how many there are to be.
    """
    table = _as_table(metadata)
    names = table.column_names
    if names and table.num_rows != rows:
        raise HashzooError(f"{rows} codes came with {table.num_rows} rows of metadata; give one for each code")
    _check_names(names, columns)
    known, arrays = dict(columns), {}
    for name in names:
        kind = known.get(name) or _kind_of(name, table.column(name).type)
        if kind:  # a new column of nulls alone has no type, and says nothing
            known[name], arrays[name] = kind, _cast(name, table.column(name), kind)
    return pyarrow_module().table(arrays), known


def completed(table: pyarrow.Table | None, columns: Mapping[str, str], ids: np.ndarray) -> pyarrow.Table:
    """What a segment keeps: the column `id`, (n,) int64, and all columns of the collection, null where not given."""
    pa, types = pyarrow_module(), _types()
    given = set(table.column_names) if table is not None else set()
    arrays = {ID: pa.array(ids)}
    for name, kind in columns.items():
        arrays[name] = table.column(name) if name in given and table else pa.nulls(len(ids), types[kind])
    return pa.table(arrays)


def concatenated(tables: list[pyarrow.Table]) -> pyarrow.Table:
    """Tables of one kind, one under the other."""
    return pyarrow_module().concat_tables(tables)


def _types() -> dict[str, pyarrow.DataType]:
    """Arrow's types by the names that SQL has for them."""
    pa = pyarrow_module()
    return {
        "BOOLEAN": pa.bool_(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "VARCHAR": pa.string(),
        "TIMESTAMP": pa.timestamp("us"),
        "DATE": pa.date32(),
        "VARCHAR[]": pa.list_(pa.string()),
    }


def _as_table(metadata: Any) -> pyarrow.Table:
    pa = pyarrow_module()
    try:
        if isinstance(metadata, pa.Table):
            return metadata
        if isinstance(metadata, Mapping):
            return pa.table({str(name): pa.array(values, from_pandas=True) for name, values in metadata.items()})
        if hasattr(metadata, "columns") and hasattr(metadata, "dtypes"):
            return pa.Table.from_pandas(metadata, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise HashzooError(f"this metadata cannot be kept ({reason}); give each column values of one kind") from error
    raise HashzooError(
        f"metadata is a pandas.DataFrame, a pyarrow.Table or a mapping of names to columns, "
        f"not {type(metadata).__name__}; convert it"
    )


def _check_names(names: list[str], columns: Mapping[str, str]) -> None:
    spelled = {name.lower(): name for name in columns}
    for position, name in enumerate(names):
        if not name or name.lower() in RESERVED:
            raise HashzooError(f"no column of metadata can be called '{name}'; rename it, and give ids as ids=")
        other = spelled.setdefault(name.lower(), name)
        if other != name or name in names[:position]:
            raise HashzooError(f"columns '{other}' and '{name}' of metadata are one in SQL; rename one of them")


def _kind_of(name: str, kind: pyarrow.DataType) -> str | None:
    """The SQL type under which a column is kept, or None for a column of nulls alone."""
    types = pyarrow_module().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    lists = types.is_list(kind) or types.is_large_list(kind)
    tests = {
        "BOOLEAN": types.is_boolean,
        "BIGINT": types.is_integer,
        "DOUBLE": lambda kind: types.is_floating(kind) or types.is_decimal(kind),
        "VARCHAR": _is_text,
        "TIMESTAMP": types.is_timestamp,
        "DATE": types.is_date,
        "VARCHAR[]": lambda kind: lists and _is_text(kind.value_type),
    }
    if types.is_null(kind):
        return None
    found = next((sql for sql, test in tests.items() if test(kind)), None)
    if not found:
        raise HashzooError(f"column '{name}' holds {kind}; metadata are {KINDS}: convert it or leave it out")
    return found


def _is_text(kind: pyarrow.DataType) -> bool:
    types = pyarrow_module().types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _cast(name: str, column: pyarrow.ChunkedArray, kind: str) -> pyarrow.ChunkedArray:
    """A column in the type of the collection, without loss except below a microsecond."""
    pa = pyarrow_module()
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        times = pa.types.is_timestamp(column.type)
        if kind == "VARCHAR" and not (_is_text(column.type) or pa.types.is_null(column.type)):
            raise pa.ArrowInvalid("these are no texts")
        return column.cast(_types()[kind], safe=not times)
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise HashzooError(
            f"column '{name}' is {kind} in this collection, and {column.type} does not fit ({reason}); convert it"
        ) from error
