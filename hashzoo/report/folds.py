"""The folds of a cross-validation, joined to one table: they are tracks of their own on disk."""

from __future__ import annotations

from typing import Any

from hashzoo.storage.files import canonical_json

# What differs between the folds of one partition; of harder training data the digest and the counts differ too.
_OF_A_FOLD = ("id", "splits", "rule", "counts", "fold", "training")


def join_folds(tracks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tracks as `bench` and `collect` give them, the folds of one partition made one; others stay as they are.

    A joined track has the description of its first fold, with `folds`, the numbers of those that are there; each
    result says its "fold".
    """
    joined: dict[str, list[dict[str, Any]]] = {}
    for item in tracks:
        joined.setdefault(partition_of(item["track"]), []).append(item)
    return [_join(items) if items[0]["track"].get("fold") else items[0] for items in joined.values()]


def partition_of(track: dict[str, Any]) -> str:
    """Equal for the folds of one partition; another for every track that is no fold."""
    if not track.get("fold"):
        return canonical_json(track)
    same = {name: value for name, value in track.items() if name not in _OF_A_FOLD}
    same |= {"harder": track.get("training", {}).get("settings"), "partition": track["fold"]["partition"]}
    return canonical_json(same)


def _join(items: list[dict[str, Any]]) -> dict[str, Any]:
    items = sorted(items, key=lambda item: item["track"]["fold"]["number"])
    numbers = [item["track"]["fold"]["number"] for item in items]
    results = [
        result | {"fold": number} for number, item in zip(numbers, items, strict=True) for result in item["results"]
    ]
    return {"schema": 1, "track": items[0]["track"] | {"folds": numbers}, "results": results}
