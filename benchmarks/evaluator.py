"""How fast is the evaluator? It and the usual one, side by side in one run.

    python benchmarks/evaluator.py [--quick] [--json]

It needs numpy and numba, and hashzoo need not be installed.

The usual evaluator does, for each query: float Hamming distances by a product of +-1 codes, relevance by a product of
label rows, argsort, cumulative precision. It is timed on some of the queries and scaled (its cost is linear in them).
Ours gets the same unpacked float32 codes and bool labels, and its time includes packing them. One-thread times are CPU
seconds, the least of several runs taken in turn, so that neighbours on the machine disturb both sides alike. Rows of
more threads compare us with ourselves on one thread, in wall seconds: they need an idle machine. `peak_mb` is what our
call allocates beyond its inputs. `agree`: with a stable sort the usual evaluator gives our "stable" mAP on the timed
queries to 1e-9, and its own order lies between our two bounds; every number of threads gives the same scores.
"""

# ruff: noqa: E402 (the path and the number of threads must be set before the imports that they concern)
from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what is timed is the checkout that this file stands in
for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy starts its threads: small products lose by them

import numba
import numpy as np

from hashzoo.codes import Codes
from hashzoo.evaluator import evaluate

CASES = {"2000x18015x24": (2000, 18015, 24), "2100x193734x21": (2100, 193734, 21), "5000x117218x80": (5000, 117218, 80)}
RUNS = {
    "map expected": {"metrics": ["map"]},
    "map stable": {"metrics": ["map"], "protocol": "stable"},
    "all expected": {},
    "all stable": {"protocol": "stable"},
}
LABELS_A_ROW = 2.5


def usual_map(
    query: np.ndarray, database: np.ndarray, query_labels: np.ndarray, labels: np.ndarray, kind: Any
) -> float:
    """Mean average precision with one argsort a query; every array float32."""
    total = 0.0
    for code, label in zip(query, query_labels, strict=True):
        relevant = labels @ label > 0
        count = int(relevant.sum())
        if count:
            distance = 0.5 * (query.shape[1] - database @ code)
            ranks = np.flatnonzero(relevant[np.argsort(distance, kind=kind)]) + 1.0
            total += float(np.mean(np.arange(1, count + 1) / ranks))
    return total / len(query)


def labelled_codes(queries: int, rows: int, classes: int, bits: int) -> tuple[np.ndarray, ...]:
    """Codes that know something of their labels: the signs of a noisy projection of them."""
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((classes, bits), dtype=np.float32)
    labels = [rng.random((count, classes), dtype=np.float32) < LABELS_A_ROW / classes for count in (queries, rows)]
    codes = [
        np.where(part @ plane + 1.5 * rng.standard_normal((len(part), bits), dtype=np.float32) > 0, 1, -1)
        for part in (labels[0].astype(np.float32), labels[1].astype(np.float32))
    ]
    return codes[0].astype(np.float32), codes[1].astype(np.float32), labels[0], labels[1]


def seconds(call: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    start = clock()
    call()
    return clock() - start


def peak_mb(call: Callable[[], Any]) -> float:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def compare(case: str, bits: int, repeat: int) -> list[dict[str, Any]]:
    """One case at one code length on one thread: a row for each of the runs."""
    numba.set_num_threads(1)
    inputs = labelled_codes(*CASES[case], bits)
    timed = max(4, min(100, 4_000_000 // len(inputs[1])))
    usual_inputs = (
        inputs[0][:timed],
        inputs[1],
        *(labels.astype(np.float32) for labels in (inputs[2][:timed], inputs[3])),
    )
    few = (inputs[0][:timed], inputs[1], inputs[2][:timed], inputs[3])
    bounds = evaluate(*few, protocol="stable", metrics=["map_bounds"])
    agree = abs(usual_map(*usual_inputs, "stable") - bounds.map) < 1e-9
    agree &= bounds.scores["map_pessimistic"] <= usual_map(*usual_inputs, None) <= bounds.scores["map_optimistic"]
    usual = float("inf")
    ours = dict.fromkeys(RUNS, float("inf"))
    for options in RUNS.values():
        evaluate(*few, **options)  # compiled before anything is timed
    for _ in range(repeat):
        usual = min(usual, seconds(lambda: usual_map(*usual_inputs, None)))
        for name, options in RUNS.items():
            ours[name] = min(ours[name], seconds(lambda options=options: evaluate(*inputs, **options)))
    usual *= len(inputs[0]) / timed
    return [
        {
            "case": f"{case} {name}",
            "bits": bits,
            "threads": 1,
            "baseline_s": round(usual, 3),
            "ours_s": round(took, 4),
            "ratio": round(usual / took, 1),
            "peak_mb": round(peak_mb(lambda name=name: evaluate(*inputs, **RUNS[name])), 1),
            "agree": bool(agree),
        }
        for name, took in ours.items()
    ]


def spread(case: str, bits: int, threads: int, repeat: int) -> list[dict[str, Any]]:
    """Some threads against one, in turn; agreement to the last digit."""
    inputs = labelled_codes(*CASES[case], bits)
    rows = []
    for name in ("map expected", "all expected"):
        call = partial(evaluate, *inputs, **RUNS[name])
        took: dict[int, list[float]] = {1: [], threads: []}
        scores = []
        for count in took:
            numba.set_num_threads(count)
            scores.append(call().scores)
        for _ in range(repeat):
            for count, times in took.items():
                numba.set_num_threads(count)
                times.append(seconds(call, time.perf_counter))
        one, many = min(took[1]), min(took[threads])
        rows.append(
            {
                "case": f"{case} {name}, against one thread",
                "bits": bits,
                "threads": threads,
                "baseline_s": round(one, 4),
                "ours_s": round(many, 4),
                "ratio": round(one / many, 2),
                "peak_mb": round(peak_mb(call), 1),
                "agree": scores[0] == scores[1],
            }
        )
    return rows


def scale(rows: int, queries: int) -> dict[str, Any]:
    """mAP of packed random 64-bit codes, 24 labels, on one thread; agreement on a shifted copy of the database."""
    rng = np.random.default_rng(1)
    codes = Codes(rng.integers(0, 256, (rows, 8), dtype=np.uint8), 64)
    labels = (rng.integers(0, 256, (rows, 24), dtype=np.uint8) < 26).view(np.bool_)
    query, query_labels = codes[:queries], labels[:queries]
    numba.set_num_threads(1)
    call = lambda: evaluate(query, codes, query_labels, labels, metrics=["map"])  # noqa: E731
    evaluate(query[:2], codes[:2000], query_labels[:2], labels[:2000], metrics=["map"])
    took = seconds(call)
    few = slice(0, 3)
    turned = np.roll(np.arange(rows), rows // 3)
    moved = evaluate(query[few], codes[turned], query_labels[few], labels[turned], metrics=["map"]).map
    agree = abs(moved - evaluate(query[few], codes, query_labels[few], labels, metrics=["map"]).map) < 1e-12
    return {
        "case": f"{queries}x{rows}x24 map expected, packed",
        "bits": 64,
        "threads": 1,
        "baseline_s": None,
        "ours_s": round(took, 4),
        "ratio": None,
        "peak_mb": round(peak_mb(call), 1),
        "agree": bool(agree),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON rows instead of a table")
    parser.add_argument("--quick", action="store_true", help="fewer cases, under 50 s on two cores")
    options = parser.parse_args()
    most = numba.get_num_threads()
    rows: list[dict[str, Any]] = []
    if options.quick:
        rows += compare("2000x18015x24", 64, repeat=5)
        rows += compare("2100x193734x21", 64, repeat=3)
        rows += compare("2100x193734x21", 128, repeat=3)
        if most > 1:
            rows += spread("2100x193734x21", 64, most, repeat=15)
        rows += [scale(count, 200) for count in (10_000, 100_000, 1_000_000)]
    else:
        for case in CASES:
            for bits in (16, 32, 64, 128):
                print(f"{case}, {bits} bits ...", file=sys.stderr, flush=True)
                rows += compare(case, bits, repeat=5)
                if most > 1:
                    rows += spread(case, bits, most, repeat=15)
        for count in (10_000, 100_000, 1_000_000, 10_000_000):
            print(f"{count:,} rows ...", file=sys.stderr, flush=True)
            rows.append(scale(count, 1000))
    print(
        f"largest resident size: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MB", file=sys.stderr
    )
    if options.json:
        print(json.dumps(rows))
        return
    print("| case | bits | threads | usual s | ours s | ratio | extra MB | agree |\n|---|---|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join("" if value is None else str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    main()
