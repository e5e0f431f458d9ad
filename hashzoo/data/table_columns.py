"""What the columns of a table mean, and their values as texts, label matrix and keys."""

from __future__ import annotations

import fnmatch
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashzoo.data.table_files import Source, head, missing
from hashzoo.errors import HashzooError, did_you_mean

# The first name of a role is taken wherever it occurs; of the others exactly one may.
USUAL = {
    "image": ("image", "image_path", "img", "filename", "file_name", "filepath", "file_path", "picture", "photo"),
    "text": ("text", "texts", "caption", "captions", "sentence", "sentences", "description", "txt"),
    "labels": ("labels", "label", "tags", "classes", "class", "categories", "category"),
    "group": ("group", "group_id"),
    "split": ("split",),
    "id": ("id", "key", "__key__", "uid"),
}
FLAG_COLUMNS = "label_*"  # 0/1 columns, where no column holds names
NONE = "none"  # typed for a column that is there and shall not be used
CAPTIONS = ("first", "joined", "drawn")
SEPARATORS = {"space": " ", "tab": "\t"}
MAX_CLASSES = 10_000
MAX_CELLS = 4 * 10**9  # of the label matrix, a byte each


@dataclass(frozen=True)
class Roles:
    """Which columns hold what; `flags` are 0/1 columns, one a class, `labels` a column of names."""

    image: str
    text: tuple[str, ...]
    labels: str | None
    flags: tuple[str, ...]
    group: str | None
    split: str | None
    id: str | None

    def columns(self) -> list[str]:
        """All that have to be read beside pictures and 0/1 columns."""
        held = [*self.text, self.labels, self.group, self.split, self.id]
        return list(dict.fromkeys(name for name in held if name is not None))


def find_roles(source: Source, asked: dict[str, Any]) -> Roles:
    """Columns by the names that were typed, else by their usual names.

    Args:
        source: the table.
        asked: "image", "text", "labels", "group", "split" and "id" as typed; empty or None where nothing was.

    Raises:
        HashzooError: a column is not there, cannot be told, or stands for too many labels.
    """
    source.check()
    single = {role: _column(source, role, asked[role]) for role in ("image", "group", "split", "id")}
    text = _listed(source, "text", asked["text"]) or [_column(source, "text", None) or ""]
    labels, flags = _label_columns(source, asked["labels"])
    found = {"image": single["image"], "text": text[0], "labels": labels or flags}
    for role, column in found.items():
        if not column:
            source.refuse(
                f"has no column that is known to hold the {role}; name it: --set dataset.{role}=COLUMN, "
                f"of {head(source.columns)}"
            )
    if len(flags) > MAX_CLASSES:
        source.refuse(f"has {len(flags):,} label columns, more than {MAX_CLASSES:,}; name fewer in dataset.labels")
    assert single["image"] is not None
    return Roles(single["image"], tuple(text), labels, tuple(flags), single["group"], single["split"], single["id"])


def texts_of(source: Source, roles: Roles, values: dict[str, list[Any]], captions: str, seed: int) -> list[str]:
    """A text a row, "" where there is none: its first caption, all of them joined, or one drawn with the seed."""
    if captions not in CAPTIONS:
        raise HashzooError(f"dataset.captions is first, joined or drawn, not '{captions}'")
    count = len(values[roles.text[0]])
    draws = np.random.PCG64(seed).random_raw(count) if captions == "drawn" else None
    found = []
    for row in range(count):
        held: list[str] = []
        for column in roles.text:
            held += strings(source, values[column][row], row, column)
        if captions == "first" or not held:
            found.append(held[0] if held else "")
        elif draws is None:
            found.append(" ".join(held))
        else:
            found.append(held[int(draws[row]) % len(held)])
    return found


def strings(source: Source, value: Any, row: int, column: str, numbers: bool = False) -> list[str]:
    """The texts in a cell, stripped: none, one, or several of a list. Lists may be written as JSON.

    Args:
        numbers: whole numbers are taken as names.
    """
    if isinstance(value, str) and value[:1] == "[" and value.rstrip()[-1:] == "]":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            if value[1:2] in ("'", '"'):
                source.refuse(
                    f"has {value!r:.40} in row {row} of column '{column}', which is no JSON list; "
                    f'write it as ["a", "b"], or as one text'
                )
    found = []
    for part in value if isinstance(value, list | tuple) else (value,):
        if missing(part):
            continue
        if numbers and isinstance(part, float) and part.is_integer():
            part = int(part)
        if numbers and isinstance(part, int) and not isinstance(part, bool):
            part = str(part)
        if not isinstance(part, str):
            source.refuse(
                f"has {_kind(part)} in row {row} of column '{column}', where text belongs; "
                f"name another column or write it as text"
            )
        try:
            part.encode()
        except UnicodeEncodeError:
            source.refuse(f"has text in row {row} of column '{column}' that is no Unicode; write it as UTF-8")
        found.append(part.strip())
    return found


def keys_of(source: Source, values: Sequence[Any], column: str) -> list[str]:
    """Ids, groups or splits as text, "" where there is none."""
    found = []
    for row, value in enumerate(values):
        held = strings(source, value, row, column, numbers=True)
        if len(held) > 1:
            source.refuse(f"has a list in row {row} of column '{column}', where one value belongs")
        found.append(held[0] if held else "")
    return found


def label_matrix(
    source: Source, column: str, values: Sequence[Any], separator: str | None, min_count: int
) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names, sorted, and (N, C) bool, of a column of names.

    Args:
        separator: between the names in a text: one or more characters, "space", "tab" or "none"; a comma when None.
        min_count: labels that fewer rows have are left out.
    """
    names = source.names.get(column)
    index: dict[str, int] = {}
    places, lengths = array("q"), array("q")
    vectors = len(values) > 0
    for row, value in enumerate(values):
        held = _names(source, value, row, column, names, separator)
        vectors = vectors and names is None and isinstance(value, list) and len(value) > 1 and {*held} <= {"0", "1"}
        places.extend(index.setdefault(name, len(index)) for name in held)
        lengths.append(len(held))
    if vectors:
        source.refuse(f"has 0/1 vectors in column '{column}', whose classes have no names; write lists of names")
    if separator is None:
        _check_separator(source, column, index)
    rows = np.repeat(np.arange(len(values)), np.asarray(lengths, dtype=np.int64))
    width = max(len(index), 1)
    held_rows, held_places = np.divmod(np.unique(rows * width + np.asarray(places, dtype=np.int64)), width)
    counts = np.bincount(held_places, minlength=len(index))
    kept = sorted(name for name, place in index.items() if counts[place] >= min_count)
    check_classes(source, column, kept, counts, len(values))
    positions = np.full(len(index), -1)
    for position, name in enumerate(kept):
        positions[index[name]] = position
    labels = np.zeros((len(values), len(kept)), dtype=np.bool_)
    columns = positions[held_places]
    labels[held_rows[columns >= 0], columns[columns >= 0]] = True
    return tuple(kept), labels


def flag_matrix(
    source: Source, flags: Sequence[str], held: np.ndarray, min_count: int
) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names and (N, C) bool of 0/1 columns; what all of them begin with, "label_", is no part of the names."""
    counts = held.sum(axis=0)
    kept = counts >= min_count
    prefix = FLAG_COLUMNS.rstrip("*")
    bare = all(name.startswith(prefix) and name != prefix for name in flags)
    names = [name.removeprefix(prefix) if bare else name for name in flags]
    classes = tuple(name for name, keep in zip(names, kept, strict=True) if keep)
    check_classes(source, head(flags, 3), classes, counts, len(held))
    return classes, held if kept.all() else held[:, kept]


def check_classes(source: Source, where: str, kept: Sequence[str], counts: np.ndarray, rows: int) -> None:
    """Raise one sentence if there is no label, or more than a matrix of labels can hold."""
    if not kept:
        source.refuse(
            f"has no label in column '{where}' that enough rows have; name another column with "
            f"--set dataset.labels=COLUMN, or lower dataset.min_count"
        )
    most = min(MAX_CLASSES, max(1, MAX_CELLS // max(rows, 1)))
    if len(kept) > most:
        enough = int(np.sort(counts)[::-1][most]) + 1  # more than the first that is too many has
        left = int((counts >= enough).sum())
        hint = f"type --set dataset.min_count={enough} for the {left:,} that so many rows have"
        source.refuse(
            f"has {len(kept):,} different labels in column '{where}', more than {most:,}; "
            f"{hint if left else 'name a column whose labels several rows share'}"
        )


def _column(source: Source, role: str, asked: str | None) -> str | None:
    """The column of a role, None where there is none."""
    if asked:
        if asked.lower() == NONE:
            return None
        if asked not in source.columns:
            source.refuse(f"has no column '{asked}'{did_you_mean(asked, source.columns[:100])}")
        return asked
    by_name = {column.lower(): column for column in source.columns}
    found = [by_name[name] for name in USUAL[role] if name in by_name]
    if len(found) > 1 and found[0].lower() != USUAL[role][0]:
        source.refuse(
            f"has columns {' and '.join(found)} that may hold the {role}; say which: --set dataset.{role}={found[0]}"
        )
    return found[0] if found else None


def _listed(source: Source, role: str, asked: Iterable[str]) -> list[str]:
    """Several columns that were typed; a name with * stands for all that it matches."""
    found: list[str] = []
    for name in asked:
        matching = [name] if name in source.columns else fnmatch.filter(source.columns, name)
        if not matching:
            source.refuse(f"has no column '{name}'{did_you_mean(name, source.columns[:100])}")
        found += [column for column in matching if column not in found]
    return found


def _label_columns(source: Source, asked: Sequence[str]) -> tuple[str | None, list[str]]:
    if len(asked) == 1 and asked[0] in source.columns:
        return asked[0], []
    if asked:
        return None, _listed(source, "labels", asked)
    column = _column(source, "labels", None)
    return column, [] if column else fnmatch.filter(source.columns, FLAG_COLUMNS)


def _names(
    source: Source, value: Any, row: int, column: str, names: Sequence[str] | None, separator: str | None
) -> list[str]:
    """The labels of one cell."""
    if names is not None:
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(n, int) and -1 <= n < len(names) for n in numbers):
            source.refuse(f"has {value!r:.40} in row {row} of column '{column}', which has {len(names)} classes")
        return [names[n] for n in numbers if n >= 0]  # -1 stands for no label
    held = strings(source, value, row, column, numbers=True)
    if not isinstance(value, str) or separator == NONE or value[:1] == "[":
        return held
    mark = SEPARATORS.get(separator or ",", separator or ",")
    return [part.strip() for text in held for part in text.split(mark) if part.strip()]


def _check_separator(source: Source, column: str, found: Iterable[str]) -> None:
    """Refuse names that look like several, joined by something that is no comma."""
    marks = Counter(mark for name in found for mark in "|;" if mark in name)
    if marks:
        mark = marks.most_common(1)[0][0]
        example = next(name for name in found if mark in name)
        source.refuse(
            f"has labels such as '{example[:60]}' in column '{column}'; type --set 'dataset.separator={mark}', "
            f"or dataset.separator=none if that is one label"
        )


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "a nested object"
    if isinstance(value, list | tuple):
        return "a list in a list"
    if isinstance(value, bytes):
        return "bytes"
    return f"{type(value).__name__} {value!r:.40}"
