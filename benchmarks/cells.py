"""Cells a minute: one after the other, by two processes, and by two workers of a local Ray.

    python benchmarks/cells.py                     # 60 cells: three methods, four lengths, five seeds on `emoji`
    python benchmarks/cells.py --quick --json      # 6 cells

Each mode trains the same cells, in a runs folder of its own. A worker has one thread, and so has the one that trains
one after the other. Seconds are those between the first cell that starts and the last that ends: the start of workers,
which a long bench does not notice, is no part of them. Only an idle machine tells.

max_map_difference  between a cell and the same one trained one after the other, in either direction
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from hashzoo.benches.benchmark import Event, bench

METHODS = ("soda", "dcmh", "resnet")
MODES = {"one after the other": ("local", 1), "processes": ("processes", 2), "ray": ("ray", 2)}


@dataclass
class Clock:
    """When the first cell of the methods was started, and when the last had ended."""

    begun: float = float("inf")
    ended: float = 0.0

    def __call__(self, event: Event) -> None:
        if event.cell.method not in METHODS:
            return
        if event.kind == "start":
            self.begun = min(self.begun, time.perf_counter())
        if event.kind == "done":
            self.ended = time.perf_counter()


def trained(mode: str, bits: list[int], seeds: list[int]) -> tuple[float, dict[tuple[str, int, int], dict[str, float]]]:
    """Seconds of all cells in a mode, and the mAP of each in both directions."""
    runner, jobs = MODES[mode]
    clock = Clock()
    with tempfile.TemporaryDirectory() as runs:
        found = bench(METHODS, bits, seeds=seeds, runs=runs, runner=runner, jobs=jobs, threads=1, watch=clock)
    scores = {
        (result["method"], result["bits"], result["seed"]): {
            direction: score["map"] for direction, score in result["scores"].items()
        }
        for result in found["results"]
        if result["method"] in METHODS
    }
    return clock.ended - clock.begun, scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed and two lengths")
    parser.add_argument("--mode", action="append", choices=MODES, help="may be given often; all if left out")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    bits, seeds = ([16, 64], [0]) if asked.quick else ([16, 32, 64, 128], list(range(5)))
    rows: list[dict[str, Any]] = []
    first: dict[tuple[str, int, int], dict[str, float]] = {}
    for mode in MODES:
        if asked.mode and mode not in asked.mode and mode != next(iter(MODES)):
            continue
        seconds, scores = trained(mode, bits, seeds)
        first = first or scores
        difference = max(abs(scores[cell][way] - first[cell][way]) for cell in first for way in first[cell])
        rows.append(
            {
                "mode": mode,
                "cells": len(scores),
                "seconds": round(seconds, 1),
                "cells_per_minute": round(60 * len(scores) / seconds, 2),
                "max_map_difference": difference,
            }
        )
        if not asked.json:
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if asked.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
