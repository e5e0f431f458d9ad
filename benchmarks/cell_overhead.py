"""What does a cell of a bench cost beyond its training: start, caches, encoding, evaluation, writing?

    python benchmarks/cell_overhead.py [--rows 10000] [--queries 10000] [--database 20000] [--bits 64] [--json]

A data set of random features (512 numbers a row) with so many training rows, queries and database rows is put into a
temporary cache, and `hashzoo.bench` trains cells on it in a process of its own: once so that every cache is full, then
with other seeds. The method is `random`, which learns nothing, so that all of its time is overhead. `cell` is the least
that a cell took in a process that had trained one already, `first cell` what the first one took, with all that is
imported and opened for it; `cpu` is user and system time of all threads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WIDTH, CLASSES = 512, 24
METHOD = "random"


def prepare(train: int, queries: int, database: int) -> None:
    """Put the data set files/random into the cache; the training rows are the first of the database."""
    from hashzoo.data.base import Splits
    from hashzoo.data.prepared import Rows, write_prepared
    from hashzoo.storage.files import cache_dir

    draw = np.random.default_rng(0)
    rows = queries + database
    labels = draw.random((rows, CLASSES)) < 0.1
    features = {role: draw.standard_normal((rows, WIDTH), dtype=np.float32) for role in ("image", "text")}
    order = np.arange(rows)
    splits = Splits(
        train=order[queries : queries + min(train, database)],
        query=order[:queries],
        database=order[queries:],
        rule="in order",
    )
    content = Rows([f"label{n}" for n in range(CLASSES)], labels, splits, features=features, source={"notes": []})
    write_prepared(cache_dir() / "datasets" / "files" / "random", "files/random", content, "random numbers")


def cells(seeds: list[int], bits: int, runs: Path) -> dict[str, list[float]]:
    """Train cells in this process: wall and CPU seconds of each, and of its evaluation alone."""
    marks = [(time.perf_counter(), 0.0)]  # CPU time from the start of Python on
    from hashzoo import bench

    results = bench(
        [METHOD],
        [bits],
        dataset="files/random",
        encoders="given",
        seeds=seeds,
        runs=runs,
        watch=lambda event: marks.append((time.perf_counter(), time.process_time())) if event.kind == "done" else None,
    )["results"]
    return {
        "wall": [stop[0] - start[0] for start, stop in itertools.pairwise(marks)],
        "cpu": [stop[1] - start[1] for start, stop in itertools.pairwise(marks)],
        "evaluate": [result["seconds"]["evaluate"] for result in results],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000, help="training rows, at most those of the database")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--database", type=int, default=20_000)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seeds", type=int, nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.seeds:
        print(json.dumps(cells(asked.seeds, asked.bits, asked.runs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HASHZOO_CACHE"] = str(Path(folder) / "cache")
        prepare(asked.rows, asked.queries, asked.database)
        command = [sys.executable, __file__, "--runs", str(Path(folder) / "runs"), "--bits", str(asked.bits), "--seeds"]
        subprocess.run([*command, "100"], check=True, stdout=subprocess.DEVNULL)  # fills the caches, compiles kernels
        done = subprocess.run([*command, "0", "1", "2", "3"], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    result = {
        "rows": min(asked.rows, asked.database),
        "queries": asked.queries,
        "database": asked.database,
        "bits": asked.bits,
    }
    for clock in ("wall", "cpu"):
        result |= {f"first_cell_{clock}_s": found[clock][0], f"cell_{clock}_s": min(found[clock][1:])}
    result["evaluation_s"] = min(found["evaluate"][1:])
    result = {name: round(value, 3) if isinstance(value, float) else value for name, value in result.items()}
    if asked.json:
        print(json.dumps({"schema": 1, **result}))
        return
    print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
