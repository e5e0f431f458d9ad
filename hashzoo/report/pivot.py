"""Runs by the values of one or two settings: what a sweep shows."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.data.training import TrainData, in_words
from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.settings import text_of
from hashzoo.storage.files import canonical_json, read_json

MEASURES = {"mean": "mAP, mean of both directions", "i2t": "mAP, image to text", "t2i": "mAP, text to image"}
BITS = "bits"
# What tells one track from another only through other fields, or is no matter of the data.
_DERIVED = ("id", "rule", "counts", "training", "fold", "swept")


@dataclass(frozen=True)
class Pivot:
    """One table: R values of the first name by C values of the second.

    Attributes:
        title: measure, data set, method, encoders, other settings that were typed.
        method: its name.
        encoders: image and text encoder.
        names: of rows and columns: paths of settings, or "bits".
        rows: R values, ascending.
        columns: C values, ascending.
        means: (R, C) float64, NaN where there is no run.
        deviations: (R, C) float64, sample deviations over runs or, in a cross-validation, over folds; NaN of one.
        counts: (R, C) int64, runs.
        measure: a key of MEASURES.
        tracks: ids of the tracks that the runs are of.
        notes: what must be said with it, one sentence each.
    """

    title: str
    method: str
    encoders: str
    names: tuple[str, str]
    rows: tuple[Any, ...]
    columns: tuple[Any, ...]
    means: np.ndarray
    deviations: np.ndarray
    counts: np.ndarray
    measure: str
    tracks: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Run:
    """A finished run with all of its settings, those that were left at their defaults too."""

    track: Mapping[str, Any]
    result: Mapping[str, Any]
    values: Mapping[str, Any]
    sources: Mapping[str, str]


def pivot(tracks: Iterable[Mapping[str, Any]], names: Sequence[str], measure: str = "mean") -> list[Pivot]:
    """A table for each method, encoders and everything else that is not pivoted.

    Runs of different tracks stand in one table only along a pivoted `dataset.*` or `train_data.*`, as folds of one
    partition, or with another `train_data.seed`, over which the mean is taken as it is over seeds.

    Args:
        tracks: what `collect` gives.
        names: one setting, whose columns are then the code lengths, or two, such as ("trainer.alpha", "trainer.beta").
        measure: "mean" of both directions, "i2t" or "t2i".

    Raises:
        HashzooError: no run has one of the settings.
    """
    if measure not in MEASURES:
        raise HashzooError(f"the measure is {', '.join(MEASURES)}, not '{measure}'")
    if len(names) not in (1, 2) or not all(names) or len(set(names)) != len(names):
        raise HashzooError("a pivot is over one setting, or two different ones: trainer.alpha,trainer.beta")
    row, column = names if len(names) == 2 else (names[0], BITS)
    groups: dict[str, list[_Run]] = defaultdict(list)
    known: set[str] = set()
    failed = 0
    for track in tracks:
        for result in track["results"]:
            failed += result["status"] != "ok"
            run = _read(track["track"], result)
            known |= set(run.values)
            if result["status"] == "ok" and row in run.values and column in run.values:
                groups[_group(run, (row, column))].append(run)
    for name in (row, column):
        if name not in known:
            raise HashzooError(f"no run has the setting '{name}'{did_you_mean(name, known)}")
    if not groups:
        raise HashzooError(f"no finished run has both {row} and {column}")
    more = [f"{failed} runs failed and are left out"] if failed else []
    return [_table(runs, row, column, measure, more) for runs in groups.values()]


def _read(track: Mapping[str, Any], result: Mapping[str, Any]) -> _Run:
    asked = read_json(Path(result["run"]) / "run.json")
    settings = {**asked["settings"], **asked.get("dataset_settings", {})}
    values = {name: setting["value"] for name, setting in settings.items()}
    harder = asdict(TrainData()) | track.get("training", {}).get("settings", {})
    values |= {f"train_data.{name}": value for name, value in harder.items()} | {BITS: result["bits"]}
    return _Run(track, result, values, {name: plugin["digest"] for name, plugin in asked["plugins"].items()})


def _group(run: _Run, names: tuple[str, str]) -> str:
    """Equal for runs that may stand in one table."""
    of_data = any(name.startswith("dataset.") for name in names)
    left_out = {*names, "train_data.seed"}
    values = {name: value for name, value in run.values.items() if name not in left_out}
    if not of_data:  # then the content itself tells
        values = {name: value for name, value in values.items() if not name.startswith("dataset.")}
    track = {name: value for name, value in run.track.items() if name not in _DERIVED}
    fold = run.track.get("fold")
    for name in ("fingerprint", "splits") if of_data else ("splits",) if fold else ():
        track.pop(name)
    if fold:
        track["folds"] = fold["of"] if of_data else fold["partition"]
    return canonical_json([run.result["method"], run.result["encoders"], values, track, run.sources])


def _table(runs: Sequence[_Run], row: str, column: str, measure: str, more: Sequence[str]) -> Pivot:
    cells: dict[tuple[str, str], dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number, run in enumerate(runs):
        place = canonical_json(run.values[row]), canonical_json(run.values[column])
        part = run.track.get("fold", {}).get("number", ("run", number))
        cells[place][part].append(_score(run.result, measure))
    rows, columns = (_ascending(run.values[name] for run in runs) for name in (row, column))
    shape = len(rows), len(columns)
    means, deviations = np.full(shape, np.nan), np.full(shape, np.nan)
    counts = np.zeros(shape, dtype=np.int64)
    for i, one in enumerate(rows):
        for j, other in enumerate(columns):
            parts = cells.get((canonical_json(one), canonical_json(other)), {})
            values = [statistics.fmean(part) for part in parts.values()]
            counts[i, j] = sum(map(len, parts.values()))
            if values:
                means[i, j] = statistics.fmean(values)
            if len(values) > 1:
                deviations[i, j] = statistics.stdev(values)
    first = runs[0]
    images, texts = (first.result["encoders"][role] for role in ("image", "text"))
    encoders = images if images == texts else f"{images}+{texts}"
    return Pivot(
        title=f"{MEASURES[measure]}, on {_about(first, encoders, (row, column))}",
        method=first.result["method"],
        encoders=encoders,
        names=(row, column),
        rows=rows,
        columns=columns,
        means=means,
        deviations=deviations,
        counts=counts,
        measure=measure,
        tracks=tuple(sorted({run.track["id"] for run in runs})),
        notes=(*_notes(runs, (row, column), counts), *more),
    )


def _score(result: Mapping[str, Any], measure: str) -> float:
    scores = [result["scores"][direction]["map"] for direction in ("i2t", "t2i") if measure in ("mean", direction)]
    return statistics.fmean(scores)


def _about(run: _Run, encoders: str, names: tuple[str, str]) -> str:
    """The data set, the method and what was typed beside, in words."""
    harder = run.track.get("training", {}).get("settings", {})
    fold = run.track.get("fold")
    typed = [f"{name}={text_of(value)}" for name, value in run.result["settings"].items() if name not in names]
    parts = [
        run.track["dataset"],
        in_words({k: v for k, v in harder.items() if k != "seed" and f"train_data.{k}" not in names}),
        f"{fold['of']}-fold cross-validation" if fold else "",
        " ".join([run.result["method"], *typed]),
        encoders,
        "" if BITS in names else f"{run.result['bits']} bits",
    ]
    return ", ".join(filter(None, parts))


def _notes(runs: Sequence[_Run], names: tuple[str, str], counts: np.ndarray) -> Iterable[str]:
    of_data = [name for name in names if name.startswith(("dataset.", "train_data."))]
    if of_data:
        yield f"runs of several tracks stand here side by side: they differ in {' and '.join(of_data)} alone"
    noises = sorted({run.values["train_data.seed"] for run in runs if run.track.get("training")})
    if len(noises) > 1 and "train_data.seed" not in names:
        yield f"means are also over train_data.seed {', '.join(map(str, noises))}"
    if any(run.track.get("fold") for run in runs):
        yield "deviations are over folds"
    else:
        yield "scores are of query rows: to choose a value, use --folds, not this table"
    there = counts[counts > 0]
    if there.min() != there.max():
        yield f"cells are of {there.min()} to {there.max()} runs"


def _ascending(values: Iterable[Any]) -> tuple[Any, ...]:
    """Distinct values: none, true and false, numbers, texts, lists; each kind in order."""

    def order(value: Any) -> tuple[int, Any]:
        kinds = (type(None), bool, int | float, str)
        kind = next((n for n, one in enumerate(kinds) if isinstance(value, one)), len(kinds))
        return kind, canonical_json(value) if kind in (0, len(kinds)) else value

    return tuple(sorted({canonical_json(value): value for value in values}.values(), key=order))
