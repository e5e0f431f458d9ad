"""Records the tables of all methods: `python benchmarks/results/record.py emoji-full wiki`.

Each name is a bench file here. Its recorded result is NAME.json, and its table in README.md is written from that;
`--tables` does only this, and trains nothing. Finished runs are reused, so that a bench that was stopped goes on. Run
it where runs/ shall lie.
"""

# ruff: noqa: E402 (the folder of what is imported must be known first)
from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hashzoo.report.costs import short
from hashzoo.report.significance import LEVEL, compare
from hashzoo.report.table import label_of, score
from hashzoo.storage.files import read_json

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "studies"))

from page import both, line, signed, sources, spread

PAGE = HERE / "README.md"
RUNS = Path("runs/results")
BLOCK = re.compile(r"(<!-- begin ([\w-]+) -->\n).*?(<!-- end \2 -->)", re.S)
BASELINE = "dcmh"  # the method that every other one is tested against
FLOOR = "random"  # and what every method must beat
KEPT = (
    *("method", "settings", "bits", "seed", "status", "floor", "ceiling", "cost", "status_of_constants"),
    "learned_codes",  # of an online bench
)

Run = dict[str, Any]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(path.stem for path in HERE.glob("*.toml"))
    arguments.add_argument("name", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    arguments.add_argument("--tables", action="store_true", help="only write the tables again")
    asked = arguments.parse_args()
    for name in asked.name:
        if not asked.tables:
            content = json.dumps(recorded(bench(name)), indent=1, sort_keys=True)
            (HERE / f"{name}.json").write_text(content + "\n", encoding="utf-8")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)


def bench(name: str) -> dict[str, Any]:
    """Train what is not finished; the track of the bench with its results. Its progress stays on stderr."""
    words = ["bench", str(HERE / f"{name}.toml"), "--runs", str(RUNS), "--json"]
    command = [sys.executable, "-c", "from hashzoo.cli import main; main()", *words]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def recorded(track: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a bench: scores and costs of each run, tests against the baseline, and what made them."""
    results = track["results"]
    labels = dict.fromkeys(label_of(run, results) for run in results)
    plugins = {run["plugin"]["name"]: run["plugin"] for run in results}
    return {
        "schema": 1,
        "track": track["track"],
        "machine": platform.machine(),
        "versions": read_json(Path(results[0]["run"]) / "run.json")["versions"],
        "plugins": list(plugins.values()),
        "results": [
            {**{key: run[key] for key in KEPT if key in run}, "label": label_of(run, results)}
            | {"map": {direction: found["map"] for direction, found in run["scores"].items()}}
            for run in results
        ],
        "comparisons": tests(track, labels, BASELINE),
        "against_random": tests(track, labels, FLOOR),
    }


def tests(track: dict[str, Any], labels: Iterable[str], name: str) -> list[dict[str, Any]]:
    """Each row against that of a method, in the mean of both directions."""
    other = next(label for label in labels if label.split()[0] == name)
    return [
        {"label": label, **row}
        for label in labels
        if label != other
        for found in compare([track], label, other)
        for row in found["rows"]
        if row["direction"] == "mean"
    ]


def written(page: str) -> str:
    """The page with each of its blocks made from the recorded result of that name, where there is one."""

    def block(match: re.Match[str]) -> str:
        if not (path := HERE / f"{match[2]}.json").exists():
            return match[0]
        record = json.loads(path.read_text(encoding="utf-8"))
        return f"{match[1]}{table(record)}\n{made(record)}{match[3]}"

    return BLOCK.sub(block, page)


def table(record: dict[str, Any]) -> str:
    """A row a method, best first: scores with their deviation over seeds, the test, and costs."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in record["results"]:
        groups[run["label"]].append(run)
    tests = {row["label"]: row for row in record["comparisons"]}
    codes = ["database codes"] if record["track"].get("stream") else []  # of an offline bench all are of towers
    heads = ["method", *codes, "i2t", "t2i", "mean", f"less {BASELINE}", "95 % interval", "p", "parameters", "MACs"]
    lines = [line(heads), line([":--", *["--:"] * (len(heads) - 1)])]
    for label, runs in sorted(groups.items(), key=lambda group: -statistics.fmean(map(both, group[1]))):
        columns = [[run["map"][direction] for run in runs] for direction in ("i2t", "t2i")] + [list(map(both, runs))]
        cost = runs[0].get("cost", {})
        lines.append(
            line(
                [
                    label,
                    *("learned" if runs[0].get("learned_codes") else "of towers" for _ in codes),
                    *map(spread, columns),
                    *tested(tests.get(label)),
                    short(sum(tower["parameters"] for tower in cost.values())) if cost else "",
                    short(sum(tower["macs"] for tower in cost.values())) if cost else "",
                ]
            )
        )
    return "".join(lines)


def tested(row: dict[str, Any] | None) -> list[str]:
    """The cells of a test: difference, interval, p."""
    if row is None:
        return ["", "", ""]
    low, high = map(signed, row["interval"])
    return [signed(row["difference"]), f"{low} to {high}", f"{row['p']:.4f}"]


def made(record: dict[str, Any]) -> str:
    """What made the numbers."""
    counts, runs = record["track"]["counts"], record["results"]
    seeds = sorted({run["seed"] for run in runs})
    below = [row["label"] for row in record["against_random"] if row["difference"] <= 0 or row["p"] >= LEVEL]
    highest = max(row["p"] for row in record["against_random"] if row["label"] not in below)
    exceptions = f" but {', '.join(below)}" if below else ""
    rounds = len(record["track"]["stream"]["rows"]) if record["track"].get("stream") else 0
    arrival = f" that arrive in {rounds} rounds, of which this is the last" if rounds else ""
    return (
        f"{len(runs)} runs, seeds {', '.join(map(str, seeds))}, {runs[0]['bits']} bits; "
        f"{counts['query']:,} queries, {counts['database']:,} database rows{arrival}, {counts['train']:,} "
        f"training rows; chance "
        f"{score(runs[0]['floor'])}, codes made of the labels {score(runs[0]['ceiling'])}; every method"
        f"{exceptions} is better than random codes, p at most {highest:.4f}; "
        f"{sources(record)}.\n"
    )


if __name__ == "__main__":
    main()
