"""Cells a minute: one after the other, with what cells have in common computed once, and by two workers.

    python benchmarks/cells.py                     # 60 cells of three closed forms, 60 of three that descend gradients
    python benchmarks/cells.py --quick --json      # 6 cells each
    python benchmarks/cells.py --methods lcdh --bits 32 --seeds 0 --sweep trainer.lambda1=0.1,0.3,1,3,10

Cells are of `emoji`, on cached features. Each mode trains the same ones, in a runs folder of its own, with one thread a
worker. Seconds are those between the first cell that starts and the last that ends: the start of workers, which a long
bench does not notice, is no part of them. Only an idle machine tells.

one after the other  in one process, where each cell computes everything itself
in common            the same with what `hashzoo bench` does: `Job.once` computes once what cells compute alike
processes, ray       in common, by two workers
max_map_difference   between a cell and the same one trained one after the other, in either direction
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from hashzoo.benches.benchmark import Event, bench
from hashzoo.once import Memo

METHODS = (("cca-itq", "cvh", "scm"), ("soda", "dcmh", "resnet"))
FIRST = "one after the other"
MODES = {FIRST: ("local", 1), "in common": ("local", 1), "processes": ("processes", 2), "ray": ("ray", 2)}


@dataclass
class Clock:
    """When the first cell of some methods was started, and when the last had ended."""

    methods: tuple[str, ...]
    begun: float = float("inf")
    ended: float = 0.0

    def __call__(self, event: Event) -> None:
        if event.cell.method not in self.methods:
            return
        if event.kind == "start":
            self.begun = min(self.begun, time.perf_counter())
        if event.kind == "done":
            self.ended = time.perf_counter()


def trained(mode: str, methods: tuple[str, ...], **asked: Any) -> tuple[float, dict[tuple[Any, ...], dict[str, float]]]:
    """Seconds of all cells in a mode, and the mAP of each in both directions."""
    runner, jobs = MODES[mode]
    clock = Clock(methods)
    alone = patch.object(Memo, "keep", lambda memo, key, entry: None) if mode == FIRST else contextlib.nullcontext()
    with tempfile.TemporaryDirectory() as runs, alone:
        found = bench(methods, **asked, runs=runs, runner=runner, jobs=jobs, threads=1, watch=clock)
    scores = {
        (result["method"], result["bits"], result["seed"], json.dumps(result["settings"])): {
            direction: score["map"] for direction, score in result["scores"].items()
        }
        for result in found["results"]
        if result["method"] in methods
    }
    return clock.ended - clock.begun, scores


def compared(methods: tuple[str, ...], modes: list[str], told: bool, **asked: Any) -> list[dict[str, Any]]:
    """What each mode took for the cells of some methods, and whether all came out alike."""
    rows: list[dict[str, Any]] = []
    first: dict[tuple[Any, ...], dict[str, float]] = {}
    for mode in modes:
        seconds, scores = trained(mode, methods, **asked)
        first = first or scores
        rows.append(
            {
                "methods": list(methods),
                "mode": mode,
                "cells": len(scores),
                "seconds": round(seconds, 1),
                "cells_per_minute": round(60 * len(scores) / seconds, 2),
                "max_map_difference": max(
                    abs(scores[cell][way] - first[cell][way]) for cell in first for way in first[cell]
                ),
            }
        )
        if told:
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    return rows


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed and two lengths")
    parser.add_argument("--methods", help="comma-separated; three closed forms, and then three others, if left out")
    parser.add_argument("--bits", type=numbers, help="16,32,64,128 if left out")
    parser.add_argument("--seeds", type=numbers, help="0,1,2,3,4 if left out")
    parser.add_argument("--sweep", metavar="SETTING=VALUES", help="several values of a setting of the methods")
    parser.add_argument("--mode", action="append", choices=MODES, help="beside the first; may be given often")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    bits, seeds = ([16, 64], [0]) if asked.quick else ([16, 32, 64, 128], list(range(5)))
    path, _, values = (asked.sweep or "").partition("=")
    rows: list[dict[str, Any]] = []
    for methods in [tuple(asked.methods.split(","))] if asked.methods else METHODS:
        rows += compared(
            methods,
            [mode for mode in MODES if not asked.mode or mode in (FIRST, *asked.mode)],
            told=not asked.json,
            bits=asked.bits or bits,
            seeds=asked.seeds or seeds,
            sweep={path: values.split(",")} if path else None,
        )
    if asked.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
