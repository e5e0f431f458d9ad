"""Which differences in a table are real: intervals and tests over the queries of each run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.evaluator import against_best, bootstrap_interval, bootstrap_intervals, randomisation_test
from hashzoo.report.table import DIRECTION_NAMES, Column, label_of
from hashzoo.storage.files import read_arrays

LEVEL = 0.05
TEST = f"paired randomisation test over queries, Holm-corrected, {LEVEL:.0%} level"
TEST_OF_TWO = "paired randomisation test over queries, two-sided"
INTERVAL = "95 % bootstrap interval over queries"
MEAN = "mean"  # of both directions


def per_query(
    results: Iterable[dict[str, Any]], rows: Collection[str] | None = None
) -> dict[Column, dict[str, np.ndarray]]:
    """Average precision of each query, (Q,), by column and row label; the mean over the seeds of a row.

    Of joined folds, those of all folds one after the other; a row that lacks a fold which others have is left out.
    A run without per_query.npz is left out.

    Args:
        results: of one track.
        rows: labels of those that are read; all if left out.
    """
    results = list(results)
    lengths: dict[int, int] = {}  # queries of a fold: those of its track
    files: dict[int, list[tuple[str, dict[str, Any], Path]]] = defaultdict(list)  # by code length
    for result in results:
        path = Path(result["run"]) / "per_query.npz"
        if result["status"] == "ok" and path.exists():
            files[result["bits"]].append((label_of(result, results), result, path))
    found: dict[Column, dict[str, np.ndarray]] = {}
    for bits, runs in files.items():
        there = sorted({result.get("fold", 0) for _, result, _ in runs})
        read: dict[str, dict[int, list[dict[str, np.ndarray]]]] = defaultdict(lambda: defaultdict(list))
        for label, result, path in runs:
            if rows is None or label in rows:
                fold, one = result.get("fold", 0), _precisions(result, path)
                queries = lengths.setdefault(fold, len(one["i2t"]))
                if any(len(one[direction]) != queries for direction in DIRECTION_NAMES):
                    raise HashzooError(
                        f"{path} is of other queries than the runs beside it; delete the run and make it again",
                        exit_code=1,
                    )
                read[label][fold].append(one)
        for direction in DIRECTION_NAMES:
            column = {
                label: np.concatenate([np.mean([run[direction] for run in folds[fold]], axis=0) for fold in there])
                for label, folds in read.items()
                if len(folds) == len(there)
            }
            if column:
                found[direction, bits] = column
    return found


def _precisions(result: dict[str, Any], path: Path) -> dict[str, np.ndarray]:
    """Average precision of each query of a run, by direction."""
    values = read_arrays(path)
    for direction in DIRECTION_NAMES:
        queries = result["scores"][direction].get("queries")
        if direction not in values or not _are_precisions(values[direction], queries):
            raise HashzooError(
                f"{path} does not hold a precision of each query; delete the run and make it again",
                exit_code=1,
            )
    return values


def _are_precisions(values: np.ndarray, queries: int | None) -> bool:
    """Whether these are average precisions of so many queries; of a result that does not say, of some."""
    if values.ndim != 1 or values.dtype != np.float64 or len(values) != (len(values) if queries is None else queries):
        return False
    return bool(len(values) and (values >= 0).all() and (values <= 1 + 1e-9).all())


def as_good_as_best(values: Mapping[Column, Mapping[str, np.ndarray]]) -> dict[Column, frozenset[str]]:
    """The best row of each column, and all rows that are not significantly worse (see TEST)."""
    winners = {}
    for column, rows in values.items():
        best, p_values = against_best(rows)
        winners[column] = frozenset({best, *(row for row, p in p_values.items() if p >= LEVEL)})
    return winners


def intervals(values: Mapping[Column, Mapping[str, np.ndarray]]) -> dict[Column, dict[str, tuple[float, float]]]:
    """The bootstrap interval of each cell's mAP (see INTERVAL)."""
    cells = [(column, row) for column, rows in values.items() for row in rows]
    found: dict[Column, dict[str, tuple[float, float]]] = {column: {} for column in values}
    if cells:
        limits = bootstrap_intervals([values[column][row] for column, row in cells])  # a track has one set of queries
        for (column, row), (low, high) in zip(cells, limits.tolist(), strict=True):
            found[column][row] = low, high
    return found


def compare(tracks: list[dict[str, Any]], a: str, b: str) -> list[dict[str, Any]]:
    """Two rows of a table, column by column: means, their difference with its interval, and p (see TEST_OF_TWO).

    Args:
        tracks: what `collect` gives; those that lack one of the two rows are left out.
        a, b: labels of rows as the table prints them, such as "soda" and "dcmh".

    Returns:
        {"track": {...}, "rows": [{"direction", "bits", "a", "b", "difference", "interval", "p"}, ...]} for each track.
        Direction "mean" is the mean of both, taken query row by query row: its picture's value and its text's.
    """
    compared = []
    for item in tracks:
        rows = [
            {
                "direction": direction,
                "bits": bits,
                "a": float(found[a].mean()),
                "b": float(found[b].mean()),
                "difference": float((found[a] - found[b]).mean()),
                "interval": list(bootstrap_interval(found[a] - found[b])),
                "p": randomisation_test(found[a], found[b]),
            }
            for (direction, bits), found in sorted(_with_mean(per_query(item["results"], (a, b))).items(), key=_place)
            if a in found and b in found
        ]
        if rows:
            compared.append({"track": item["track"], "rows": rows})
    if compared:
        return compared
    labels = {label_of(result, item["results"]) for item in tracks for result in item["results"]}
    for name in (a, b):
        if name not in labels:
            raise HashzooError(f"no row is called '{name}'{did_you_mean(name, labels)}")
    raise HashzooError(f"{a} and {b} have no track and code length in common; run both at the same --bits")


def _with_mean(values: dict[Column, dict[str, np.ndarray]]) -> dict[Column, dict[str, np.ndarray]]:
    """Beside both directions their mean: query i of either direction is the picture and the text of one row."""
    means = {
        (MEAN, bits): {row: (values["i2t", bits][row] + values["t2i", bits][row]) / 2 for row in rows}
        for (direction, bits), rows in values.items()
        if direction == "i2t"
    }
    return values | means


def _place(column: tuple[Column, Any]) -> tuple[int, int]:
    """Both directions in their order, then the mean; short codes first."""
    (direction, bits), _ = column
    return [*DIRECTION_NAMES, MEAN].index(direction), bits
