"""How fast is the evaluator? It and the usual one, side by side in one run.

    python benchmarks/evaluator.py [--quick] [--json]

It needs numpy and numba, and hashzoo need not be installed.

The usual evaluator does, for each query: float Hamming distances by a product of +-1 codes, relevance by a product of
label rows, argsort, cumulative precision. It is timed on some of the queries and scaled (its cost is linear in them).
Ours gets the same unpacked float32 codes and bool labels, and its time includes packing them. One-thread times are CPU
seconds, the least of several runs taken in turn, so that neighbours on the machine disturb both sides alike; times on
more threads are wall seconds. `peak_mb` is what our call allocates beyond its inputs. `agree`: with a stable sort the
usual evaluator gives our "stable" mAP on the timed queries to 1e-9, and its own order lies between our two bounds.
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


def seconds(call: Callable[[], Any], threads: int) -> float:
    clock = time.process_time if threads == 1 else time.perf_counter
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


def compare(case: str, bits: int, runs: dict[str, dict[str, Any]], threads: list[int], repeat: int) -> list[dict]:
    """One case at one code length: a row for each run and number of threads."""
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
    rows = []
    usual = float("inf")
    ours = {(name, count): float("inf") for name in runs for count in threads}
    for name in runs:
        evaluate(*few, **runs[name])  # compiled before anything is timed
    for _ in range(repeat):
        usual = min(usual, seconds(lambda: usual_map(*usual_inputs, None), 1))
        for name, count in ours:
            numba.set_num_threads(count)
            ours[name, count] = min(
                ours[name, count], seconds(lambda name=name: evaluate(*inputs, **runs[name]), count)
            )
    numba.set_num_threads(1)
    usual *= len(inputs[0]) / timed
    for (name, count), took in ours.items():
        rows.append(
            {
                "case": f"{case} {name}",
                "bits": bits,
                "threads": count,
                "baseline_s": round(usual, 3),
                "ours_s": round(took, 4),
                "ratio": round(usual / took, 1),
                "peak_mb": round(peak_mb(lambda name=name: evaluate(*inputs, **runs[name])), 1),
                "agree": bool(agree),
            }
        )
    return rows


def scale(rows: int, queries: int, threads: int) -> dict[str, Any]:
    """mAP of packed random 64-bit codes over a database of some size, 24 labels; agreement on a shifted copy."""
    rng = np.random.default_rng(1)
    codes = Codes(rng.integers(0, 256, (rows, 8), dtype=np.uint8), 64)
    labels = (rng.integers(0, 256, (rows, 24), dtype=np.uint8) < 26).view(np.bool_)
    query, query_labels = codes[:queries], labels[:queries]
    numba.set_num_threads(threads)
    call = lambda: evaluate(query, codes, query_labels, labels, metrics=["map"])  # noqa: E731
    evaluate(query[:2], codes[:2000], query_labels[:2], labels[:2000], metrics=["map"])
    took = seconds(call, threads)
    few = slice(0, 3)
    turned = np.roll(np.arange(rows), rows // 3)
    moved = evaluate(query[few], codes[turned], query_labels[few], labels[turned], metrics=["map"]).map
    agree = abs(moved - evaluate(query[few], codes, query_labels[few], labels, metrics=["map"]).map) < 1e-12
    return {
        "case": f"{queries}x{rows}x24 map expected, packed",
        "bits": 64,
        "threads": threads,
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
        rows += compare("2000x18015x24", 64, RUNS, [1], repeat=5)
        rows += compare("2100x193734x21", 64, RUNS, sorted({1, most}), repeat=3)
        rows += compare("2100x193734x21", 128, RUNS, [1], repeat=3)
        rows += [scale(count, 200, 1) for count in (10_000, 100_000, 1_000_000)]
    else:
        for case in CASES:
            for bits in (16, 32, 64, 128):
                print(f"{case}, {bits} bits ...", file=sys.stderr, flush=True)
                rows += compare(case, bits, RUNS, sorted({1, most}), repeat=5)
        for count in (10_000, 100_000, 1_000_000, 10_000_000):
            print(f"{count:,} rows ...", file=sys.stderr, flush=True)
            rows.append(scale(count, 1000, 1))
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
