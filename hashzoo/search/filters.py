"""Conditions on metadata: an SQL expression decides which rows a search sees. DuckDB computes it."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.errors import HashzooError

MEMORY = "2GB"  # that DuckDB may take
SECONDS = 30  # that a condition may take
SEGMENT, ROW = "hashzoo segment", "hashzoo row"  # columns beside those of the user


class Filter:
    """Conditions on the metadata of one state of a collection.

    DuckDB reads the Parquet files of that state and nothing else: no other file, no network, no extension that is not
    part of it, and it writes nothing. A condition is one expression, without subqueries.

    Args:
        files: Parquet files of the segments.
        columns: SQL types of the columns of metadata.
    """

    def __init__(self, files: Sequence[Path], columns: Mapping[str, str]):
        self._files, self._columns = files, columns
        self._lock = threading.Lock()
        self._connection: Any = None

    def masks(self, where: str, rows: Sequence[int]) -> list[np.ndarray]:
        """Which rows satisfy a condition, (rows,) bool for each file; a row for which it is NULL does not."""
        if not self._columns:
            raise HashzooError("this collection has no metadata that a condition could be about; append some with it")
        if not isinstance(where, str) or not where.strip():
            raise HashzooError(f'a condition is SQL on the columns, like "year > 2000"; {self._choice()}')
        masks = [np.zeros(count, dtype=np.bool_) for count in rows]
        if not self._files:
            return masks
        duckdb = duckdb_module()
        cursor = self._cursor(duckdb)
        timer = threading.Timer(SECONDS, cursor.interrupt)
        timer.start()
        try:
            _refuse_subqueries(cursor, where)
            # `filter` takes an expression and nothing after it: what is no condition on a row is a syntax error.
            for block in cursor.view("rows").filter(where).project(f'"{SEGMENT}", "{ROW}"').to_arrow_reader():
                numbers, chosen = (block.column(name).to_numpy() for name in (SEGMENT, ROW))
                for number in np.unique(numbers):
                    masks[number][chosen[numbers == number]] = True
        except duckdb.InterruptException:
            raise HashzooError(f"the condition takes longer than {SECONDS} seconds; make it simpler") from None
        except duckdb.OutOfMemoryException:
            raise HashzooError(f"the condition needs more memory than {MEMORY}; make it simpler") from None
        except duckdb.Error as error:
            reason = str(error).partition("\n")[0].strip()
            raise HashzooError(f"the condition {where!r} cannot be computed ({reason}); {self._choice()}") from error
        finally:
            timer.cancel()
            cursor.close()
        return masks

    def _choice(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in {"id": "BIGINT", **self._columns}.items())
        return f"the columns are {columns}"

    def _cursor(self, duckdb: Any) -> Any:
        with self._lock:
            if self._connection is None:
                self._connection = _locked_down(duckdb, self._files)
            return self._connection.cursor()


def duckdb_module() -> Any:
    """duckdb, or a sentence that says how to get it."""
    try:
        return importlib.import_module("duckdb")
    except ImportError:
        raise HashzooError(
            "conditions on metadata need duckdb, which is not installed: type pip install 'hashzoo[search]'",
            exit_code=1,
        ) from None


def _locked_down(duckdb: Any, files: Sequence[Path]) -> Any:
    """A connection that can read some Parquet files, as the view `rows`, and whose settings cannot be changed."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": MEMORY,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
        },
    )
    listed = "[" + ", ".join(_literal(str(path.absolute())) for path in files) + "]"
    connection.execute(f"SET allowed_paths = {listed}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    connection.execute(
        f'CREATE VIEW rows AS SELECT *, file_index AS "{SEGMENT}", file_row_number AS "{ROW}" '
        f"FROM read_parquet({listed}, union_by_name = true)"
    )
    return connection


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _refuse_subqueries(cursor: Any, where: str) -> None:
    """A condition is about the columns of one row; a query inside it could ask for anything, for any time."""
    [(parsed,)] = cursor.execute("SELECT json_serialize_sql(?)", [f"SELECT 1 WHERE ({where}\n)"]).fetchall()
    if _holds(json.loads(parsed), lambda node: node.get("class") == "SUBQUERY"):
        raise HashzooError("a condition has no SELECT inside; write an expression on the columns")


def _holds(node: Any, test: Callable[[dict[str, Any]], bool]) -> bool:
    if isinstance(node, dict):
        return test(node) or any(_holds(value, test) for value in node.values())
    return isinstance(node, list) and any(_holds(value, test) for value in node)
