"""Results of one track as a table: a row a method, a column a direction and code length."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hashzoo.benches.track import title_of
from hashzoo.report import rounds

DIRECTION_NAMES = {"i2t": "image to text", "t2i": "text to image"}
FAILED = "failed"
Column = tuple[str, int]  # direction and code length


@dataclass(frozen=True)
class Row:
    """One line of a table: cells by (direction, bits), as text; `best` are the columns in which it leads."""

    label: str
    cells: dict[Column, str]
    seconds: str = ""
    best: frozenset[Column] = frozenset()


@dataclass(frozen=True)
class Table:
    """A table and all that must be said with it.

    `limits` are the exact random floor and the label-oracle ceiling; `notes` are warnings, one sentence each.
    `overlap` says how query rows stand in other splits too: it belongs where the table itself is read. `spent` is the
    head of the column of seconds.
    """

    title: str
    caption: str
    bits: tuple[int, ...]
    rows: tuple[Row, ...]
    limits: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())
    overlap: str = ""
    spent: str = "train s"

    def with_note(self, note: str) -> Table:
        return replace(self, notes=(*self.notes, note))

    def columns(self) -> list[Column]:
        return [(direction, bits) for direction in DIRECTION_NAMES for bits in self.bits]


def make_table(
    bench: dict[str, Any], winners: Mapping[Column, frozenset[str]] | None = None, over_rounds: bool = False
) -> Table:
    """The table of one track.

    Args:
        bench: one track as `bench`, `collect` or `join_folds` give it; of folds the deviation is that over folds.
        winners: labels of the rows to mark in each column; the highest mean when None.
        over_rounds: of an online track, the mean over its rounds instead of the last.
    """
    track, results = bench["track"], bench["results"]
    bits = tuple(sorted({result["bits"] for result in results}))
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[label_of(result, results)].append(result)
    means = {label: _means(group, over_rounds) for label, group in groups.items()}
    if winners is None:
        winners = _highest(means)
    rows = []
    for label, group in groups.items():
        cells = {}
        for column in ((direction, n) for direction in DIRECTION_NAMES for n in bits):
            values = means[label].get(column)
            if values is None:
                cells[column] = FAILED if any(r["bits"] == column[1] for r in group) else ""
                continue
            cells[column] = score(statistics.fmean(values))
            if len(values) > 1:
                cells[column] += f"±{score(statistics.stdev(values))}"
        spent = rounds.spent(group) if track.get("stream") else _spent(group)
        best = frozenset(column for column in cells if label in winners.get(column, ()))
        rows.append(Row(label, cells, spent, best))
    return Table(
        _title(track, results) + (rounds.title(track, over_rounds) if track.get("stream") else ""),
        _caption(track, {result["seed"] for result in results}),
        bits,
        tuple(rows),
        _limits(results, bits) if not over_rounds else (),
        (*_share(track), *_notes(results), *_missing_folds(track, groups, bits), *rounds.notes(results))
        if not over_rounds
        else (),
        overlap_of(track),
        "s a round" if track.get("stream") else "train s",
    )


def label_of(result: dict[str, Any], results: Iterable[dict[str, Any]]) -> str:
    """What a row is called: the method, and its encoders where the table has several pairs, and changed settings."""
    label = result["method"] + ("*" if result.get("random_weights") else "") + rounds.mark(result)
    if len({_pair(other) for other in results}) > 1:
        label += f" {_pair(result)}"
    return " ".join([label, *(f"{name}={value}" for name, value in result["settings"].items())])


def overlap_of(track: Mapping[str, Any]) -> str:
    """The line that stands below every score of a track in which query rows leak; "" in all others."""
    return f"overlap: {track['overlap']}; scores are too high" if track.get("overlap") else ""


def _highest(means: Mapping[str, Mapping[Column, list[float]]]) -> dict[Column, frozenset[str]]:
    """The rows whose mean is the highest of its column, to the digits that are printed."""
    printed: dict[Column, dict[str, str]] = defaultdict(dict)
    for label, columns in means.items():
        for column, values in columns.items():
            printed[column][label] = score(statistics.fmean(values))
    return {
        column: frozenset(label for label, text in rows.items() if text == max(rows.values(), key=float))
        for column, rows in printed.items()
    }


def score(value: float) -> str:
    """Three digits without the zero before the point, as papers of this field print mAP."""
    return f"{value:.3f}".removeprefix("0") if value < 1 else "1.000"


def _means(group: Iterable[dict[str, Any]], over_rounds: bool) -> dict[Column, list[float]]:
    """The values of each column: of every seed or, where there are folds, the mean over the seeds of every fold."""
    values: dict[Column, dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number, result in enumerate(group):
        part = result.get("fold", ("run", number))
        for direction in DIRECTION_NAMES if result["status"] == "ok" else ():
            found = result["mean_over_rounds"][direction] if over_rounds else result["scores"][direction]["map"]
            values[direction, result["bits"]][part].append(found)
    return {column: [statistics.fmean(part) for part in parts.values()] for column, parts in values.items()}


def _missing_folds(track: dict[str, Any], groups: Mapping[str, list[dict[str, Any]]], bits: Iterable[int]) -> list[str]:
    """A sentence for each row that has fewer folds than there are."""
    if "folds" not in track:
        return []
    said = []
    for label, group in groups.items():
        for number in bits:
            there = {result["fold"] for result in group if result["bits"] == number and result["status"] == "ok"}
            if 0 < len(there) < track["fold"]["of"]:
                said.append(f"{label} has {len(there)} of {track['fold']['of']} folds at {number} bits")
    return said


def _share(track: dict[str, Any]) -> Iterable[str]:
    """That a table is not the whole of its bench."""
    if "shard" in track:
        share = track["shard"]
        held = f"{share['cells']} of {share['of_cells']} cells of the bench"
        yield (
            f"share {share['number']} of {share['of']}: {held}; when all shares are finished, the same command without "
            f"--shard shows all"
        )


def _spent(group: Iterable[dict[str, Any]]) -> str:
    seconds = [result["seconds"]["train"] for result in group if result["status"] == "ok"]
    return f"{statistics.fmean(seconds):.1f}" if seconds else ""


def _limits(results: list[dict[str, Any]], bits: tuple[int, ...]) -> tuple[Row, ...]:
    rows = []
    for key, label in (("floor", "chance, exact"), ("ceiling", "label oracle")):
        of_bits: dict[int, dict[Any, float]] = defaultdict(dict)  # by fold: all runs of a track have the same limits
        for result in results:
            if result["status"] == "ok":
                of_bits[result["bits"]][result.get("fold")] = result[key]
        known = {bits: statistics.fmean(values.values()) for bits, values in of_bits.items()}
        if known:
            rows.append(
                Row(label, {(d, n): score(known[n]) if n in known else "" for d in DIRECTION_NAMES for n in bits})
            )
    return tuple(rows)


def _notes(results: list[dict[str, Any]]) -> Iterable[str]:
    for result in results:
        fold = f", fold {result['fold']}" if "fold" in result else ""
        name = f"{result['method']} ({_pair(result)}, {result['bits']} bits, seed {result['seed']}{fold})"
        if result["status"] != "ok":
            yield f"{name} failed: {result['reason']}"
            continue
        for role, health in result["health"].items():
            if health["constant_bits"]:
                yield f"{name}: {health['constant_bits']} of {result['bits']} {role} bits are constant"
    if any(result.get("random_weights") for result in results):
        yield "* an encoder of this row has random weights, because that was asked for"


def _title(track: dict[str, Any], results: list[dict[str, Any]]) -> str:
    pairs = {_pair(result) for result in results}
    encoders = f", {next(iter(pairs))}" if len(pairs) == 1 else ""
    return f"mAP on {title_of(track)}{' (overlap)' if track.get('overlap') else ''}{encoders}"


def _caption(track: dict[str, Any], seeds: set[int]) -> str:
    counts = track["counts"]
    how = "whole ranking, ties by exact expectation"
    if "folds" in track:
        fold, rows = track["fold"], counts["query"] + counts["database"]
        each = f", each the mean of {len(seeds)} seeds" if len(seeds) > 1 else ""
        return (
            f"{rows:,} rows in {fold['of']} folds, each in turn the queries and the others train and database, "
            f"{counts['labels']} labels; {how}; mean±deviation of {len(track['folds'])} folds{each}; "
            f"partition {fold['partition'][:8]}"
        )
    spread = f"; mean±deviation of {len(seeds)} seeds" if len(seeds) > 1 else ""
    return (
        f"{counts['query']:,} queries, {counts['database']:,} database rows, {counts['train']:,} training rows, "
        f"{counts['labels']} labels; {how}{spread}; track {track['id']}"
    )


def _pair(result: dict[str, Any]) -> str:
    """The encoders of images and texts, and those of further roles that are others and are in no setting."""
    image, text = result["encoders"]["image"], result["encoders"]["text"]
    pair = image if image == text else f"{image}+{text}"
    return ", ".join([pair, *(f"{role} {name}" for role, name in further(result).items())])


def further(result: Mapping[str, Any]) -> dict[str, str]:
    """Encoders by role beside those of images and texts, where neither follows from these nor from a typed setting."""
    encoders = result["encoders"]
    return {
        role: name
        for role, name in encoders.items()
        if name != encoders[role.rpartition("_")[2]] and f"{role}.encoder" not in result["settings"]
    }
