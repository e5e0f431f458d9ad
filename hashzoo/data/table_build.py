"""From a table to the rows of a prepared data set: columns, labels, pictures, splits, in the order of their cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.data.base import Splits
from hashzoo.data.prepared import Rows
from hashzoo.data.table_columns import Roles, find_roles, flag_matrix, keys_of, label_matrix, texts_of
from hashzoo.data.table_files import Source
from hashzoo.data.table_pictures import Reader, look_at, remembered
from hashzoo.data.table_splits import (
    NAMES,
    codes_of,
    connected,
    draw_splits,
    repeats,
    splits_from_file,
    splits_from_words,
)
from hashzoo.storage.files import digest

NAMED = 5  # broken rows that a sentence names
RECORDED = 1000  # that the manifest names


@dataclass(frozen=True)
class Settings:
    """What `hashzoo.data.table.Table` was told, keyword by keyword; it says what each means."""

    image: str
    text: tuple[str, ...]
    labels: tuple[str, ...]
    group: str
    split: str
    id: str
    root: str
    outside: bool
    captions: str
    separator: str
    min_count: int
    splits: str
    query: float
    val: float
    seed: int
    skip_broken: bool
    licence: str


def roles_of(source: Source, settings: Settings) -> Roles:
    """The columns of a table and what they hold."""
    return find_roles(
        source, {name: getattr(settings, name) for name in ("image", "text", "labels", "group", "split", "id")}
    )


def build(source: Source, content: str, settings: Settings, root: Path, cache: Path) -> tuple[Rows, np.ndarray]:
    """The rows of a table, and (N, 2) int64, size and time of each picture file.

    Args:
        source: the table.
        content: digest of what it holds.
        settings: as typed.
        root: the folder that paths of pictures are relative to.
        cache: the folder for pictures that the table itself holds, and for what is known of all others.
    """
    roles = roles_of(source, settings)
    values, flags = source.read(roles.columns(), roles.flags)
    texts = texts_of(source, roles, values, settings.captions, settings.seed)
    if not texts:
        source.refuse("has no rows; give a table with a row for each picture")
    if roles.labels is not None:
        classes, labels = label_matrix(
            source, roles.labels, values[roles.labels], settings.separator or None, settings.min_count
        )
    else:
        classes, labels = flag_matrix(source, roles.flags, flags, settings.min_count)
    keys = {
        name: keys_of(source, values[column], column) if (column := getattr(roles, name)) else []
        for name in ("id", "group", "split")
    }
    told = _told_splits(source, settings, roles, keys, len(texts))

    seen = digest([content, str(root), settings.outside, roles.image])
    reader = Reader(root, settings.outside, cache / "pictures")
    pictures = remembered(
        cache / "seen" / f"{seen[:24]}.npz",
        reader.root,
        lambda: look_at(source.pictures(roles.image), len(texts), reader, source.name),
    )
    broken = sorted(pictures.broken + [(row, "its text", "is missing") for row, text in enumerate(texts) if not text])
    if broken and not settings.skip_broken:
        source.refuse(
            f"has {len({row for row, _, _ in broken}):,} rows whose picture or text cannot be used ({_named(broken)}); "
            f"mend them, or type --set dataset.skip_broken=true to leave them out"
        )
    kept = np.ones(len(texts), dtype=np.bool_)
    kept[[row for row, _, _ in broken]] = False
    if not kept.any():
        source.refuse(f"has no row whose picture and text can be used ({_named(broken)})")
    rows = np.flatnonzero(kept)
    digests, labels = pictures.digests[rows], labels[rows]
    enough = labels.sum(axis=0) >= settings.min_count
    labels, classes = labels[:, enough], tuple(name for name, keep in zip(classes, enough, strict=True) if keep)
    ids, groups = ([held[row] for row in rows] if held else [] for held in (keys["id"], keys["group"]))
    together: list[Any] = [digests, *(key for key in (ids, groups) if key)]
    group = connected([codes_of(key) for key in together], len(rows))
    if told is not None:
        splits = _renumbered(told, kept)
    else:
        splits = draw_splits(labels, together, settings.query, settings.val, settings.seed)
    if len(rows) < len(kept):
        left_out = f"; {len(kept) - len(rows):,} of {len(kept):,} rows left out, whose picture or text cannot be used"
        splits = Splits(**{name: getattr(splits, name) for name in NAMES}, rule=splits.rule + left_out)
    about: dict[str, Any] = {
        "rows": len(kept),
        "columns": asdict(roles) | {"flags": len(roles.flags)},
        "settings": asdict(settings),
        "left_out": [f"row {row}: {file} {why}" for row, file, why in broken[:RECORDED]],
        "repeats": repeats(splits, digests, ids or [""] * len(rows)),
    }
    made = Rows(
        classes,
        labels,
        splits,
        images=[pictures.paths[row] for row in rows],
        image_root=root.resolve(),
        texts=[texts[row] for row in rows],
        image_digests=digests,
        source=about,
        groups=group if len(np.unique(group)) < len(group) else None,
    )
    return made, pictures.stats[rows]


def _told_splits(
    source: Source, settings: Settings, roles: Roles, keys: dict[str, list[str]], rows: int
) -> Splits | None:
    """The splits that a file or a column tells; None where they are to be drawn."""
    if settings.splits:
        return splits_from_file(Path(settings.splits).expanduser(), keys["id"] or None, rows)
    if roles.split is not None:
        return splits_from_words(source, keys["split"], roles.split)
    return None


def _renumbered(splits: Splits, kept: np.ndarray) -> Splits:
    """Splits of the rows that are kept."""
    number = np.cumsum(kept) - 1
    parts = {name: getattr(splits, name) for name in NAMES}
    return Splits(**{name: number[rows[kept[rows]]] for name, rows in parts.items()}, rule=splits.rule)


def _named(broken: list[tuple[int, str, str]]) -> str:
    listed = ", ".join(f"row {row}: {file} {why}" for row, file, why in broken[:NAMED])
    return listed + (", ..." if len(broken) > NAMED else "")
