"""Conditions on metadata: an SQL expression decides which rows a search sees. DuckDB computes it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.errors import HashzooError
from hashzoo.search.conditions import check_condition

MEMORY = "1GB"  # that DuckDB may take
SECONDS = 30.0  # that a condition may take
SEGMENT, ROW = "hashzoo segment", "hashzoo row"  # columns beside those of the user


class Filter:
    """Computes conditions on the metadata of a collection.

    DuckDB reads files in the folder of the segments and nothing else: no other file, no network, no extension that is
    not part of it; it writes nothing, and its settings cannot be changed.

    Args:
        folder: of the segments.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._lock = threading.Lock()
        self._connection: Any = None

    def masks(
        self, where: str, columns: Mapping[str, str], files: Sequence[Path], rows: Sequence[int]
    ) -> list[np.ndarray]:
        """Which rows satisfy a condition, (rows,) bool for each file; a row for which it is NULL does not.

        Args:
            where: an expression, see docs/search.md.
            columns: SQL types of the columns of metadata.
            files: Parquet files in the folder, and `rows`, the number of rows in each.
        """
        if not columns:
            raise HashzooError("this collection has no metadata for a condition to be about; append rows with some")
        choice = ", ".join(f"{name} {kind}" for name, kind in {"id": "BIGINT", **columns}.items())
        if not isinstance(where, str) or not where.strip():
            raise HashzooError(f'a condition is SQL, as in "id > 100"; the columns are {choice}')
        masks = [np.zeros(count, dtype=np.bool_) for count in rows]
        duckdb = duckdb_module()
        cursor = self._cursor(duckdb)
        timer = threading.Timer(SECONDS, cursor.interrupt)
        timer.start()
        try:
            check_condition(cursor, where)
            # `filter` takes an expression and nothing after it: what closes a bracket or a statement is an error.
            for block in _rows(cursor, files).filter(where).project(f'"{SEGMENT}", "{ROW}"').to_arrow_reader():
                numbers, chosen = (block.column(name).to_numpy() for name in (SEGMENT, ROW))
                for number in np.unique(numbers):
                    masks[number][chosen[numbers == number]] = True
        except duckdb.InterruptException:
            raise HashzooError(f"the condition takes longer than {SECONDS:g} seconds; make it simpler") from None
        except duckdb.OutOfMemoryException:
            raise HashzooError(f"the condition needs more memory than {MEMORY}; make it simpler") from None
        except duckdb.Error as error:
            reason = str(error).partition("\n")[0].strip()
            raise HashzooError(
                f"the condition {shortened(where)!r} cannot be computed ({reason}); the columns are {choice}"
            ) from error
        finally:
            timer.cancel()
            cursor.close()
        return masks

    def _cursor(self, duckdb: Any) -> Any:
        with self._lock:
            if self._connection is None:  # a tenth of a second or two
                self._connection = duckdb.connect(
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
                self._connection.execute(f"SET allowed_directories = [{_literal(f'{self._folder.absolute()}/')}]")
                self._connection.execute("SET enable_external_access = false")
                self._connection.execute("SET lock_configuration = true")
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


def shortened(text: str) -> str:
    """A text of a sentence's length."""
    return text if len(text) <= 200 else f"{text[:200]}..."


def _rows(cursor: Any, files: Sequence[Path]) -> Any:
    """The relation of all rows, with the number of their file and their number in it."""
    listed = ", ".join(_literal(str(path.absolute())) for path in files)
    return cursor.sql(
        f'SELECT *, file_index AS "{SEGMENT}", file_row_number AS "{ROW}" '
        f"FROM read_parquet([{listed}], union_by_name = true)"
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
