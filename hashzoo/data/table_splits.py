"""Splits of a table: drawn by ratio with groups kept together, from a column, or from a file; and what leaks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.data.base import Splits
from hashzoo.data.table_files import Csv, Source, head
from hashzoo.errors import HashzooError

# What a row may be in, by the words that tables use; "train+database" puts a row into two splits.
WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "query": "query",
    "queries": "query",
    "test": "query",
    "database": "database",
    "retrieval": "database",
    "gallery": "database",
}
NAMES = ("train", "val", "query", "database")


def draw_splits(
    labels: np.ndarray, keys: Sequence[Sequence[Any] | np.ndarray], query: float, val: float, seed: int
) -> Splits:
    """Random query rows, all others database and, less val, train. Rows that share a key are on one side together.

    Args:
        labels: (N, C) bool; rows without a label are in no split.
        keys: for each kind of key a value a row; "" is none.
        query: share of the rows, or their number from 1 on.
        val: share of the rows that are no queries, or their number.
        seed: of the draw.

    Raises:
        HashzooError: there is no way to leave a row on each side.
    """
    rows = np.flatnonzero(labels.any(axis=1))
    group = connected([codes_of(key)[rows] for key in keys], len(rows))
    sizes = np.bincount(group)
    # The raw output of a bit generator is the same in every release of numpy; its shuffle need not be.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(sizes)), kind="stable")
    chosen = _fill(order, sizes, _count("query", query, len(rows)))
    rest = order[~np.isin(order, chosen)]
    if not len(chosen) or not len(rest):
        raise HashzooError(
            f"{len(rows):,} rows with labels in {len(sizes):,} groups cannot be split; rows of one group or picture "
            f"stay together, so give more of them, or another dataset.query"
        )
    held = _fill(rest, sizes, _count("val", val, int(sizes[rest].sum()))) if val else rest[:0]
    if len(held) == len(rest):
        raise HashzooError("no rows are left to train on; give a smaller dataset.val")
    is_query, is_val = np.isin(group, chosen), np.isin(group, held)
    unlabelled = len(labels) - len(rows)
    rule = (
        f"{is_query.sum():,} rows drawn as queries (dataset.query={query:g}, seed {seed}), the rest train and database"
        + (f"; {is_val.sum():,} of them val instead of train" if val else "")
        + (f"; rows of one group, picture or id together ({len(sizes):,} groups)" if len(sizes) < len(rows) else "")
        + (f"; {unlabelled:,} rows without a label in no split" if unlabelled else "")
    )
    return Splits(
        train=rows[~is_query & ~is_val], query=rows[is_query], database=rows[~is_query], rule=rule, val=rows[is_val]
    )


def splits_from_words(source: Source, words: Sequence[str], column: str) -> Splits:
    """Splits from a column that says for each row where it belongs; rows that say nothing are in none."""
    found: dict[str, list[int]] = {name: [] for name in NAMES}
    for row, text in enumerate(words):
        for word in text.lower().split("+") if text else ():
            if word.strip() not in WORDS:
                source.refuse(
                    f"has '{text[:60]}' in row {row} of the split column '{column}'; write train, val, query or "
                    f"database, or type --set dataset.split=none"
                )
            found[WORDS[word.strip()]].append(row)
    return _complete(found, f"the column '{column}'", source.name)


def splits_from_file(path: Path, ids: Sequence[str] | None, rows: int) -> Splits:
    """Splits from a JSON object of lists ("train", "query", ...), or a CSV with columns id or row, and split.

    Args:
        path: the file.
        ids: of the rows; None to name rows by their number, from 0.
        rows: of the table.

    Raises:
        HashzooError: it cannot be read, or names a row that is not there or cannot be told.
    """
    listed = _read_lists(path)
    index: dict[str, int] = {}
    for row, key in enumerate(map(str, range(rows)) if ids is None else ids):
        if index.setdefault(key, row) != row:
            raise HashzooError(
                f"the id '{key[:60]}' stands in rows {index[key]} and {row}, so that {path.name} cannot use it; "
                f"type --set dataset.id=none, and name rows by their numbers from 0"
            )
    what = "row" if ids is None else "id"
    found: dict[str, list[int]] = {}
    for name, items in listed.items():
        unknown = next((item for item in items if item not in index), None)
        if unknown is not None:
            raise HashzooError(f"{path.name} names {what} '{unknown[:60]}' in '{name}', which the table does not have")
        found[name] = [index[item] for item in items]
    return _complete(found, path.name, path.name)


def repeats(splits: Splits, digests: np.ndarray, ids: Sequence[str]) -> list[str]:
    """A sentence for each way in which content of query rows stands in other splits under other row numbers.

    Args:
        splits: of the table.
        digests: (N, 32) uint8, of the pictures.
        ids: of the rows, "" for none.
    """
    found = []
    for what, codes in (("a picture", codes_of(digests)), ("an id", codes_of(ids))):
        for name in ("train", "database", "val"):
            other = np.setdiff1d(getattr(splits, name), splits.query)
            shared = splits.query[np.isin(codes[splits.query], codes[other]) & (codes[splits.query] >= 0)]
            if len(shared):
                twin = other[codes[other] == codes[shared[0]]][0]
                found.append(
                    f"{len(shared)} of {len(splits.query)} query rows have {what} that is also in '{name}' "
                    f"(first: rows {shared[0]} and {twin})"
                )
    return found


def connected(codes: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """(N,) int64: which of the groups 0, 1, ... a row is in, if rows that share a code are in one; -1 is no code."""
    group = np.arange(rows)
    while True:
        before = group
        for code in codes:
            has = code >= 0
            lowest = np.full(int(code.max(initial=-1)) + 1, rows)
            np.minimum.at(lowest, code[has], group[has])
            group = group.copy()
            group[has] = lowest[code[has]]
        group = np.minimum(group, group[group])
        if np.array_equal(group, before):
            return np.unique(group, return_inverse=True)[1].astype(np.int64)


def codes_of(key: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Whole numbers that are equal where the keys are; -1 where there is none."""
    if isinstance(key, np.ndarray):
        whole = np.ascontiguousarray(key).view(f"V{key.shape[1]}").ravel()
        return np.unique(whole, return_inverse=True)[1].astype(np.int64)
    index: dict[str, int] = {"": -1}
    return np.fromiter((index.setdefault(name, len(index)) for name in key), dtype=np.int64, count=len(key))


def _fill(order: np.ndarray, sizes: np.ndarray, target: int) -> np.ndarray:
    """Groups in this order that together have as many rows as wanted; one that would be too many is passed over."""
    chosen, held = [], 0
    for group, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        if held + size <= target:
            chosen.append(group)
            held += size
        if held == target:
            break
    return np.array(chosen, dtype=np.int64)


def _count(setting: str, value: float, rows: int) -> int:
    """How many rows a share or number stands for."""
    if value < 0 or (value >= 1 and value != int(value)):
        raise HashzooError(f"dataset.{setting} is a share below 1 or a whole number of rows, not {value:g}")
    if value >= 1:
        if value >= rows:
            raise HashzooError(f"dataset.{setting}={value:g} takes all {rows:,} rows; give a smaller number or a share")
        return int(value)
    return max(1, round(value * rows)) if value else 0


def _complete(found: dict[str, list[int]], where: str, name: str) -> Splits:
    """Splits with the one of database and train that is not said: each is the other then."""
    lists = {split: found.get(split, []) for split in NAMES}
    rule = f"from {where}"
    if not lists["database"]:
        lists["database"] = sorted({*lists["train"], *lists["val"]})
        rule += "; train and val are the database"
    elif not lists["train"]:
        val = set(lists["val"])
        lists["train"] = [row for row in lists["database"] if row not in val]
        rule += "; the database is the training split"
    for split in ("query", "train", "database"):
        if not lists[split]:
            raise HashzooError(f"{name} puts no row into '{split}'; say of some rows that they are {split} rows")
    arrays = {split: np.array(rows, dtype=np.int64) for split, rows in lists.items()}
    return Splits(**arrays, rule=rule)


def _read_lists(path: Path) -> dict[str, list[str]]:
    if path.suffix.lower() in (".csv", ".tsv"):
        return _read_csv(path)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HashzooError(f"{path} is no readable JSON or CSV file of splits ({error})") from error
    found: dict[str, list[str]] = {}
    for word, items in stored.items() if isinstance(stored, dict) else [("", stored)]:
        name = WORDS.get(str(word).lower())
        plain = isinstance(items, list) and all(isinstance(i, str | int) and not isinstance(i, bool) for i in items)
        if name is None or not plain:
            raise HashzooError(
                f'{path.name} has to be {{"train": [...], "query": [...], "database": [...]}}, each a list of ids or '
                f"row numbers; '{head([str(word)])}' is not"
            )
        found.setdefault(name, []).extend(str(item) for item in items)
    return found


def _read_csv(path: Path) -> dict[str, list[str]]:
    try:
        source = Csv(path)
        key = next((name for name in source.columns if name.lower() in ("id", "row")), None)
        word = next((name for name in source.columns if name.lower() == "split"), None)
        if key is None or word is None:
            source.refuse(f"has no columns 'id' (or 'row') and 'split', but {head(source.columns)}")
        values, _ = source.read([key, word], [])
    except OSError as error:
        raise HashzooError(f"{path} cannot be read ({error.strerror or error})") from error
    found: dict[str, list[str]] = {}
    for number, (item, text) in enumerate(zip(values[key], values[word], strict=True)):
        for part in text.lower().split("+"):
            if part.strip() not in WORDS:
                source.refuse(f"has '{text[:60]}' in row {number}, where train, val, query or database belongs")
            found.setdefault(WORDS[part.strip()], []).append(item.strip())
    return found
