"""Reads the results of a runs folder, track by track. Rows of two tracks never share a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError
from hashzoo.storage import canonical_json, read_json
from hashzoo.track import DIRECTIONS, read_result

if TYPE_CHECKING:
    import pandas

# What makes two results of one track the same experiment.
IDENTITY = ("method", "encoders", "settings", "bits", "seed")


def collect(runs: Path) -> list[dict[str, Any]]:
    """Every track of a runs folder as {"schema": 1, "track": {...}, "results": [...]}, as `bench` gives it.

    A folder without a complete result is no run: it is counted on stderr, failed runs are kept as such.
    """
    if not runs.is_dir():
        raise HashzooError(f"there is no folder {runs}; run hashzoo bench first, or name the folder with --runs")
    found = []
    for path in sorted(runs.glob("*/track.json")):
        track = read_json(path)
        track.pop("schema", None)
        results = [*_results(path.parent)]
        if results:
            found.append({"schema": 1, "track": {"id": path.parent.name, **track}, "results": results})
    if not found:
        raise HashzooError(f"{runs} holds no finished run; run hashzoo bench first, or name another folder with --runs")
    return found


def frame(tracks: list[dict[str, Any]]) -> pandas.DataFrame:
    """One row per run: identity, scalar scores of both directions, floor, ceiling, health and seconds."""
    import pandas

    return pandas.DataFrame([_flat_row(item["track"], result) for item in tracks for result in item["results"]])


def _results(track: Path) -> list[dict[str, Any]]:
    results, unfinished = [], 0
    oldest_first = sorted(track.glob("*/*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    for run in (path.parent for path in oldest_first):
        if (run / "result.json").exists():
            try:
                results.append(read_result(run / "result.json") | {"reused": True, "run": str(run)})
            except HashzooError as error:
                print(f"hashzoo: left out: {error}", file=sys.stderr)
        elif (run / "error.txt").exists():
            try:
                results.append(_failed(run))
            except HashzooError as error:
                print(f"hashzoo: left out: {error}", file=sys.stderr)
        else:
            unfinished += 1
    if unfinished:
        print(
            f"hashzoo: left out: {unfinished} unfinished runs in {track}; the same bench continues them",
            file=sys.stderr,
        )
    newest = {canonical_json([result[name] for name in IDENTITY]): result for result in results}
    if len(newest) < len(results):
        older = len(results) - len(newest)
        print(f"hashzoo: left out: {older} runs in {track} that newer code or packages have repeated", file=sys.stderr)
    return sorted(newest.values(), key=_order)


def _failed(run: Path) -> dict[str, Any]:
    asked = read_json(run / "run.json")
    reason = (run / "error.txt").read_text(encoding="utf-8").partition("\n")[0]
    return {
        "schema": 1,
        "method": asked["method"],
        "encoders": {role: part["name"] for role, part in asked["encoders"].items()},
        "bits": asked["bits"],
        "seed": asked["seed"],
        "settings": {name: s["value"] for name, s in asked["settings"].items() if s["origin"] == "user"},
        "status": "failed",
        "reason": reason,
        "reused": True,
        "run": str(run),
    }


def _order(result: dict[str, Any]) -> tuple[Any, ...]:
    return (result["method"] == "random", result["method"], str(result["encoders"]), result["bits"], result["seed"])


def _flat_row(track: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    row = {
        "dataset": track["dataset"],
        "track": track["id"],
        "method": result["method"],
        "image_encoder": result["encoders"]["image"],
        "text_encoder": result["encoders"]["text"],
        "bits": result["bits"],
        "seed": result["seed"],
        "settings": " ".join(f"{name}={value}" for name, value in result["settings"].items()),
        "status": result["status"],
    }
    for direction in DIRECTIONS:
        scores = result.get("scores", {}).get(direction, {})
        row |= {f"{direction}_{name}": value for name, value in scores.items() if isinstance(value, int | float)}
    row |= {"floor": result.get("floor"), "ceiling": result.get("ceiling")}
    for role, health in result.get("health", {}).items():
        row |= {f"{role}_{name}": value for name, value in health.items() if isinstance(value, int | float)}
    row |= {f"seconds_{name}": value for name, value in result.get("seconds", {}).items()}
    return row | {"run": result["run"]}
