"""The hits of an answer as plain values: what `hashzoo search --json` prints and the service sends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hashzoo.search import Answer
from hashzoo.search.base import NOTHING
from hashzoo.search.snapshot import Snapshot

Rows = Callable[[Snapshot, np.ndarray], list[dict[str, Any]]]


def rows_at(snapshot: Snapshot, places: np.ndarray) -> list[dict[str, Any]]:
    """Metadata at (n,) places of a state, n > 0, read from its files."""
    return plain_rows(snapshot.metadata(places)) if snapshot.manifest.columns else [{} for _ in places]


def hits_of(answer: Answer, rows: Rows = rows_at) -> list[list[dict[str, Any]]]:
    """The hits of each query, nearest first.

    Each has "id", "distance" in bits, "score" where it was re-ranked, "code" and "metadata" by column. A code has two
    hexadecimal digits a byte; bit j of it is bit j % 8, counted from the least significant, of byte j // 8.

    Args:
        answer: of a collection.
        rows: a state and (n,) places in it to metadata.
    """
    queries, ranks = np.nonzero(answer.places != NOTHING)
    found: list[list[dict[str, Any]]] = [[] for _ in range(len(answer))]
    if not len(queries):
        return found
    places = answer.places[queries, ranks]
    codes = answer.snapshot.taken(places, "codes")
    held = rows(answer.snapshot, places)
    for number, (query, rank) in enumerate(zip(queries.tolist(), ranks.tolist(), strict=True)):
        hit: dict[str, Any] = {"id": int(answer.ids[query, rank]), "distance": int(answer.distances[query, rank])}
        if answer.scores is not None:
            hit["score"] = float(answer.scores[query, rank])
        metadata = {name: value for name, value in held[number].items() if name != "id"}
        found[query].append({**hit, "code": codes[number].tobytes().hex(), "metadata": metadata})
    return found


def plain_rows(table: Any) -> list[dict[str, Any]]:
    """The rows of a pyarrow.Table as values that JSON has: times in ISO 8601, None for what is no number."""
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value
