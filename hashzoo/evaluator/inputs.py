"""What the evaluator accepts: codes and labels of any origin, checked and packed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hashzoo.codes import PACK_ROWS, Codes, as_codes, pack_rows, to_numpy
from hashzoo.errors import HashzooError
from hashzoo.evaluator.threads import in_parallel

CODE_WORK = 64  # operations that packing one code takes: its bits, or so


@dataclass(frozen=True, eq=False)
class LabelSets:
    """(N, ceil(classes / 8)) uint8 bit sets of labels, one a row; packed like codes, any number of classes."""

    data: np.ndarray
    classes: int

    def __len__(self) -> int:
        return len(self.data)

    def most(self) -> int:
        """The largest number of labels in one row."""
        most = 0
        for start in range(0, len(self), PACK_ROWS):
            # Byte by byte: sums of a few bytes a row are slow.
            counts = np.bitwise_count(np.ascontiguousarray(self.data[start : start + PACK_ROWS].T))
            most = max(most, int(counts.sum(axis=0, dtype=np.int64).max()))
        return most


def label_sets(labels: Any, name: str) -> LabelSets:
    """Check and pack an (N, C) bool or 0/1 integer array or tensor; `name` is what an error calls it."""
    array = to_numpy(labels)
    if array.ndim != 2:
        raise HashzooError(
            f"{name} must be a 2-D (rows, classes) array, not {array.ndim}-D; "
            f"turn class numbers into rows with numpy.eye(classes, dtype=bool)[numbers]"
        )
    if array.dtype.kind not in "biu":
        raise HashzooError(f"{name} must be bool or 0/1 integers, not {array.dtype}; convert them with (labels > 0)")
    rows, classes = array.shape
    if not classes:
        raise HashzooError(f"{name} has no class column; give at least one class")
    data = np.empty((rows, -(-classes // 8)), dtype=np.uint8)

    def fill(part: slice) -> None:
        block = array[part]
        if block.dtype.kind != "b" and (block.max() > 1 or block.min() < 0):
            raise HashzooError(f"{name} holds values other than 0 and 1; mark the labels of each row with ones")
        data[part] = pack_rows(block.astype(np.bool_, copy=False))

    in_parallel(fill, rows, PACK_ROWS, classes)
    return LabelSets(data, classes)


def label_pair(query_labels: Any, database_labels: Any) -> tuple[LabelSets, LabelSets]:
    """Both label arrays, checked against each other."""
    query, database = label_sets(query_labels, "query_labels"), label_sets(database_labels, "database_labels")
    if query.classes != database.classes:
        raise HashzooError(
            f"query_labels has {query.classes} classes and database_labels has {database.classes}; "
            f"use the same columns in both"
        )
    for labels, name in ((query, "query"), (database, "database")):
        if not len(labels):
            raise HashzooError(f"the {name} is empty; give at least one row")
    return query, database


def code_pair(query: Any, database: Any, query_rows: int, database_rows: int) -> tuple[Codes, Codes]:
    """Both code arrays, packed and checked against each other and against the labels' row counts."""
    share_out = partial(in_parallel, at_once=PACK_ROWS, each=CODE_WORK)
    query, database = as_codes(query, share_out=share_out), as_codes(database, share_out=share_out)
    if query.bits != database.bits:
        raise HashzooError(
            f"query codes have {query.bits} bits and database codes have {database.bits}; encode both with one model"
        )
    for codes, rows, name in ((query, query_rows, "query"), (database, database_rows, "database")):
        if len(codes) != rows:
            raise HashzooError(
                f"{name} has {len(codes)} codes but {name}_labels has {rows} rows; give one label row a code"
            )
    return query, database
