"""What the methods of one track cost beside what they score: a row a method, at one code length."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hashzoo.benches.track import DIRECTIONS, title_of
from hashzoo.report.table import label_of, score

Result = dict[str, Any]


def short(number: float) -> str:
    """1234567 as "1.23 M": three digits are enough to compare."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * size:  # what is printed as 1000 of a unit is 1 of the next
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


# Each column: its head, what it shows of a run, and how that is written.
COLUMNS: tuple[tuple[str, Callable[[Result], float], Callable[[float], str]], ...] = (
    ("mean mAP", lambda run: statistics.fmean(run["scores"][d]["map"] for d in DIRECTIONS), score),
    ("train s", lambda run: run["seconds"]["train"], "{:.1f}".format),
    ("parameters", lambda run: sum(run["cost"][role]["parameters"] for role in run["cost"]), short),
    ("MACs image", lambda run: run["cost"]["image"]["macs"], short),
    ("MACs text", lambda run: run["cost"]["text"]["macs"], short),
    ("bytes", lambda run: -(-run["bits"] // 8), "{:.0f}".format),
)
CAPTION = (
    "mean mAP: of both directions; parameters and multiply-accumulates (MACs) of the two towers for one row, without "
    "frozen encoders; bytes of one code"
)


@dataclass(frozen=True)
class Costs:
    """A table of costs: `rows` are a label and a text and a number for each of `heads`."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]
    caption: str = CAPTION


def make_costs(bench: dict[str, Any]) -> Costs | None:
    """Costs in one track, means over seeds, highest mean mAP first; None where no run tells what it cost.

    Args:
        bench: one track as `bench`, `collect` or `join_folds` give it. The code length is the longest of those that
            most rows have.
    """
    results = bench["results"]
    runs = [run for run in results if run["status"] == "ok" and "cost" in run]
    if not runs:
        return None
    bits = _length(runs, results)
    groups: dict[str, list[Result]] = defaultdict(list)
    for run in runs:
        if run["bits"] == bits:
            groups[label_of(run, results)].append(run)
    rows = [
        (label, tuple((written(mean), mean) for _, value, written in COLUMNS for mean in [_mean(value, group)]))
        for label, group in groups.items()
    ]
    rows.sort(key=lambda row: -row[1][0][1])
    return Costs(f"Costs on {title_of(bench['track'])}, {bits} bits", tuple(head for head, *_ in COLUMNS), tuple(rows))


def _length(runs: Iterable[Result], results: Iterable[Result]) -> int:
    rows: dict[int, set[str]] = defaultdict(set)
    for run in runs:
        rows[run["bits"]].add(label_of(run, results))
    return max(rows, key=lambda bits: (len(rows[bits]), bits))


def _mean(value: Callable[[Result], float], group: Iterable[Result]) -> float:
    return statistics.fmean(map(value, group))
