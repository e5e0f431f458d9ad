"""Reads the results of a runs folder, track by track. Rows of two tracks never share a table."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashzoo.benches.records import RUN, TRACK_FILE, read_record
from hashzoo.benches.track import DIRECTIONS, read_result
from hashzoo.errors import HashzooError, one_line
from hashzoo.report.table import further
from hashzoo.storage.files import canonical_json
from hashzoo.storage.shapes import printable

if TYPE_CHECKING:
    import pandas

OF_ROUNDS = ("rounds", "mean_over_rounds", "old_codes", "learned_codes")  # what a result of an online run has
# What makes two results of one track the same experiment.
IDENTITY = ("method", "encoders", "settings", "bits", "seed")


@dataclass(frozen=True)
class Found:
    """A run that was read: its result, the row of a table that it belongs to, and its plugins' source digests."""

    result: dict[str, Any]
    identity: str
    row: str
    sources: dict[str, tuple[str, str]]  # by plugin: distribution with version, digest
    scored: int  # when, in nanoseconds; 0: it failed


def collect(runs: Path, among: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Every track of a runs folder as {"schema": 1, "track": {...}, "results": [...]}, as `bench` gives it.

    Failed runs are kept as such. Said on stderr, with the reason: runs that are left out because they are not
    finished, cannot be read, belong to another track than their folder, were repeated later, were made by other
    source than the newest run of the same row, or were scored by another evaluator than the newest run.

    `among` names the runs that count, "track/method/run"; None: all.
    """
    if not runs.is_dir():
        raise HashzooError(f"there is no folder {runs}; run hashzoo bench first, or name the folder with --runs")
    found = []
    places = [path.parent for path in runs.glob("*/*/*/run.json")]
    places = [place for place in places if among is None or place.relative_to(runs).as_posix() in among]
    for folder in sorted({place.parents[1] for place in places}):
        try:
            track = _track(folder)
        except HashzooError as error:
            _left_out(f"all of {folder}: {error}")
            continue
        results = _results([place for place in places if place.parents[1] == folder], track)
        if results:
            found.append({"schema": 1, "track": {"id": folder.name, **track}, "results": results})
    if not found:
        raise HashzooError(f"{runs} holds no finished run; run hashzoo bench first, or name another folder with --runs")
    return found


def frame(tracks: list[dict[str, Any]]) -> pandas.DataFrame:
    """One row per run: identity, scalar scores of both directions, floor, ceiling, health, seconds and costs."""
    import pandas

    return pandas.DataFrame([_flat_row(item["track"], result) for item in tracks for result in item["results"]])


def _track(folder: Path) -> dict[str, Any]:
    path = folder / "track.json"
    if not path.exists():
        raise HashzooError("it has no track.json; the same bench writes it again")
    track = read_record(path, TRACK_FILE, "delete it, and the same bench writes it again")
    track.pop("schema")
    return track


def _results(runs: list[Path], track: dict[str, Any]) -> list[dict[str, Any]]:
    found, unfinished = [], 0
    for run in sorted(runs, key=lambda run: ((run / "run.json").stat().st_mtime_ns, run)):  # the oldest first
        try:
            one = _read(run, track)
        except HashzooError as error:
            _left_out(str(error))
            continue
        if one is None:
            unfinished += 1
        else:
            found.append(one)
    if unfinished:
        _left_out(f"{unfinished} unfinished runs in {runs[0].parents[1]}; the same bench continues them")
    return sorted((one.result for one in _of_one_evaluator(_of_one_source(_newest(found)))), key=_order)


def _read(run: Path, track: dict[str, Any]) -> Found | None:
    """A run that is finished or has failed; None if it is neither."""
    asked = read_record(run / "run.json", RUN)
    try:
        if asked["track"] != track:
            raise HashzooError(f"{run} belongs to another track, of data set {asked['track']['dataset']}")
        scored = 0
        if (run / "result.json").exists():
            result = read_result(run / "result.json") | {"reused": True, "run": str(run)}
            scored = (run / "result.json").stat().st_mtime_ns
            _check_rounds(run, track, result)
        elif (run / "error.txt").exists():
            result = _failed(run, asked)
        else:
            return None
        plugins = asked["plugins"].items()
        sources = {name: (f"{p['distribution']} {p['version']}", p["digest"]) for name, p in plugins}
        return Found(result, _key(result, IDENTITY), _row(result), sources, scored)
    except (KeyError, TypeError, AttributeError) as error:
        raise HashzooError(f"{run} is damaged ({one_line(error)}); delete it and run again") from error


def _check_rounds(run: Path, track: dict[str, Any], result: dict[str, Any]) -> None:
    """Raise HashzooError unless an online run, and it alone, tells of each of its rounds."""
    rounds = len(track.get("stream", {}).get("rows", ()))
    told = all(name in result for name in OF_ROUNDS)
    if len(result.get("rounds", ())) != rounds or (rounds and not told):
        raise HashzooError(f"{run} does not tell of {rounds} rounds, as its track has; delete it and run again")


def _failed(run: Path, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        reason = (run / "error.txt").read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError as error:
        raise HashzooError(f"{run / 'error.txt'} cannot be read ({error.strerror or error})") from error
    return {
        "schema": 1,
        "method": asked["method"],
        "encoders": {role: part["name"] for role, part in asked["encoders"].items()},
        "bits": asked["bits"],
        "seed": asked["seed"],
        "settings": {name: s["value"] for name, s in asked["settings"].items() if s["origin"] == "user"},
        "plugin": asked["plugin"],
        **{name: value for name, value in asked["recipe"].items() if name == "trained"},
        "status": "failed",
        "reason": printable(reason),
        "reused": True,
        "run": str(run),
    }


def _newest(runs: list[Found]) -> list[Found]:
    """Of runs of the same experiment the last one; `runs` are in order of age, and stay so."""
    newest: dict[str, Found] = {}
    repeated: Counter[str] = Counter()
    for run in runs:
        repeated[run.row] += newest.pop(run.identity, None) is not None
        newest[run.identity] = run
    for row, count in repeated.items():
        if count:
            _left_out(f"{_runs(count)} of {row}, repeated since with other code or packages")
    return list(newest.values())


def _of_one_source(runs: list[Found]) -> list[Found]:
    """Of each row those runs that the same plugins gave, by their source, as its newest run."""
    last = {run.row: run.sources for run in runs}
    older: Counter[str] = Counter()
    for run in runs:
        if run.sources != last[run.row]:
            made, now = _beside(run.sources, last[run.row]), _beside(last[run.row], run.sources)
            older[f"{run.row} by {made}; its newest run is by {now}"] += 1
    for what, count in older.items():
        _left_out(f"{_runs(count)} of {what}; the same bench makes them again")
    return [run for run in runs if run.sources == last[run.row]]


def _beside(sources: dict[str, tuple[str, str]], others: dict[str, tuple[str, str]]) -> str:
    """Those plugins that differ from the others, in words."""
    differing = [source for name, source in sources.items() if others.get(name) != source]
    return ", ".join(f"{origin} (source {digest[:8]})" for origin, digest in differing) or "fewer plugins"


def _of_one_evaluator(runs: list[Found]) -> list[Found]:
    """Runs that the same code has scored as the one that was scored last; failed runs have no scores."""
    last = max(runs, key=lambda run: run.scored, default=None)
    kept = [run for run in runs if last and (not run.scored or run.result["evaluator"] == last.result["evaluator"])]
    if len(kept) < len(runs):
        _left_out(f"{_runs(len(runs) - len(kept))} scored by an older evaluator; the same bench scores them again")
    return kept


def _key(result: dict[str, Any], names: Iterable[str]) -> str:
    return canonical_json([result[name] for name in names])


def _row(result: dict[str, Any]) -> str:
    """A row in the words of the tables."""
    settings = "".join(f" {name}={value}" for name, value in result["settings"].items())
    others = "".join(f", {role} {name}" for role, name in further(result).items())
    return f"{result['method']}{settings} ({result['encoders']['image']}+{result['encoders']['text']}{others})"


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _left_out(what: str) -> None:
    print(f"hashzoo: left out: {what}", file=sys.stderr)


def _order(result: dict[str, Any]) -> tuple[Any, ...]:
    return (result["method"] == "random", result["method"], str(result["encoders"]), result["bits"], result["seed"])


def _flat_row(track: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    row = {
        "dataset": track["dataset"],
        "train_data": " ".join(f"{name}={value:.12g}" for name, value in result.get("train_data", {}).items()),
        "fold": track.get("fold", {}).get("number"),
        "track": track["id"],
        "method": result["method"],
        "image_encoder": result["encoders"]["image"],
        "text_encoder": result["encoders"]["text"],
        **{f"{role}_encoder": name for role, name in result["encoders"].items() if role not in ("image", "text")},
        "bits": result["bits"],
        "seed": result["seed"],
        "settings": " ".join(f"{name}={value}" for name, value in result["settings"].items()),
        "status": result["status"],
    }
    for direction in DIRECTIONS:
        scores = result.get("scores", {}).get(direction, {})
        row |= {f"{direction}_{name}": value for name, value in scores.items() if isinstance(value, int | float)}
    row |= {f"{direction}_map_over_rounds": mean for direction, mean in result.get("mean_over_rounds", {}).items()}
    row |= {name: result[name] for name in ("trained", "old_codes", "learned_codes") if name in result}
    row |= {"floor": result.get("floor"), "ceiling": result.get("ceiling")}
    for role, health in result.get("health", {}).items():
        row |= {f"{role}_{name}": value for name, value in health.items() if isinstance(value, int | float)}
    row |= {f"seconds_{name}": value for name, value in result.get("seconds", {}).items()}
    for role, cost in result.get("cost", {}).items():
        row |= {f"{role}_{name}": value for name, value in cost.items()}
    return row | {"run": result["run"]}
