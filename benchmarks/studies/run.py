"""Runs studies and records what came out: `python benchmarks/studies/run.py prompts stages`.

A study is a bench file here, a recorded result in results/ and a page in docs/studies/. Finished runs are
reused, so that a study that was stopped goes on. Run it where runs/ shall lie. The tables and the figure of the page
are written from the recorded result; `--tables` does only that, and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import figure
import page

from hashzoo.report.significance import compare
from hashzoo.storage.files import read_json

HERE = Path(__file__).parent
RUNS = Path("runs/studies")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    studies = sorted(page.STUDIES)
    arguments.add_argument("study", nargs="+", choices=studies, metavar="STUDY", help=", ".join(studies))
    arguments.add_argument("--tables", action="store_true", help="only write tables and figures again")
    asked = arguments.parse_args()
    for name in asked.study:
        if not asked.tables:
            tracks = bench(name)
            write_json(page.RESULTS / f"{name}.json", recorded(name, tracks))
        (page.PAGES / f"{name}.md").write_text(page.written(name), encoding="utf-8")
        study, runs = page.STUDIES[name], page.runs_of(page.record_of(name))
        (page.PAGES / f"{name}.svg").write_text(figure.draw(name, study, runs).svg(), encoding="utf-8")
        print(page.PAGES / f"{name}.md")


def bench(name: str) -> list[dict[str, Any]]:
    """Train what is not finished; the tracks of the bench with their results."""
    told = json.loads(hashzoo(["bench", str(HERE / f"{name}.toml"), "--runs", str(RUNS), "--json"]))
    return told.get("tracks", [told])


def hashzoo(words: list[str]) -> str:
    """Output of the command line, as a user would call it; its progress stays on stderr."""
    run = subprocess.run(
        [sys.executable, "-c", "from hashzoo.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return run.stdout


def recorded(name: str, tracks: list[dict[str, Any]]) -> dict[str, Any]:
    """What is kept of a study: scores and measurements of every run, tests between rows, and what made them."""
    results = [result for track in tracks for result in track["results"]]
    versions = read_json(Path(results[0]["run"]) / "run.json")["versions"]
    plugins = {result["plugin"]["name"]: result["plugin"] for result in results}
    return {
        "schema": 1,
        "study": name,
        "versions": versions,
        "machine": platform.machine(),
        "plugins": list(plugins.values()),
        "tracks": [
            {"track": track["track"], "results": [reduced(result) for result in track["results"]]} for track in tracks
        ],
        "comparisons": [
            {**row, **group, "rows": [a, b], "track": found["track"]["id"]}
            for group, some in groups(page.STUDIES[name], tracks)
            for a, b in page.STUDIES[name].compared
            for found in compare(some, a, b)
            for row in found["rows"]
            if row["direction"] == "mean"
        ],
    }


def groups(study: page.Study, tracks: list[dict[str, Any]]) -> list[tuple[dict[str, str], list[dict[str, Any]]]]:
    """The runs among which differences are tested, by what they agree in; names of rows leave that out."""
    if study.within is None:
        return [({}, tracks)]
    found: dict[str, list[dict[str, Any]]] = {}
    for track in tracks:
        parts: dict[str, list[dict[str, Any]]] = {}
        for result in track["results"]:
            settings = {n: value for n, value in result["settings"].items() if n.startswith("trainer.")}
            bare = {**result, "settings": settings, "random_weights": []}
            if result["method"] != "random":
                parts.setdefault(study.within(result), []).append(bare)
        for words, results in parts.items():
            found.setdefault(words, []).append({**track, "results": results})
    return [({"within": words}, some) for words, some in found.items()]


def reduced(result: dict[str, Any]) -> dict[str, Any]:
    kept = ("method", "encoders", "settings", "bits", "seed", "status", "floor", "ceiling", "seconds", "random_weights")
    lines = [json.loads(line) for line in (Path(result["run"]) / "train.jsonl").read_text().splitlines()]
    last = {line.get("stage", ""): line for line in lines if "epoch" in line}
    beside = {name: value for line in lines if "epoch" not in line for name, value in line.items() if name != "stage"}
    return {
        **{name: result[name] for name in kept},
        "map": {direction: scores["map"] for direction, scores in result["scores"].items()},
        "last_epoch": last,
        "measured": beside,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
