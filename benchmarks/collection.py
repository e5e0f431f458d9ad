"""What a collection costs: opening, searching with and without conditions, few segments and many.

    python benchmarks/collection.py [--rows 10000000] [--folder DIR]

CPU milliseconds of one thread, the least of several calls. Codes are random, 64 bits; metadata are a key and a year.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np

import hashzoo.search
from hashzoo.codes import Codes
from hashzoo.search import Collection

BITS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", help="where the collections are made; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        large(Path(folder) / "large", arguments.rows)
        many_segments(Path(folder) / "many")


def codes(rng: np.random.Generator, rows: int) -> Codes:
    return Codes(rng.integers(0, 256, (rows, BITS // 8), dtype=np.uint8), BITS)


def measure(name: str, call: Callable[[], object], times: int = 5) -> None:
    least = float("inf")
    for _ in range(times):
        start = time.process_time()
        call()
        least = min(least, time.process_time() - start)
    print(f"{name:44}{least * 1000:10.2f} ms", flush=True)


def large(path: Path, rows: int) -> None:
    rng, made = np.random.default_rng(0), Collection.create(path, BITS)
    made.append(codes(rng, 1000), metadata={"key": [""] * 1000, "year": [0] * 1000})
    made.query(codes(rng, 1), where="year = 0")  # compiles the kernels and loads DuckDB
    step = 200_000
    for first in range(0, rows, step):
        count = min(step, rows - first)
        keys = [f"{n}.jpg" for n in range(first, first + count)]
        made.append(codes(rng, count), metadata={"key": keys, "year": rng.integers(1990, 2025, count)})
    made.compact()
    print(f"{rows:,} codes, {len(list((path / 'segments').iterdir()))} segments")
    measure("open", lambda: hashzoo.search.open(path))
    opened = hashzoo.search.open(path)
    measure("first query: digests of codes and ids", lambda: opened.query(codes(rng, 1)), 1)
    measure("one query", lambda: opened.query(codes(rng, 1)))
    measure("1,000 queries", lambda: opened.query(codes(rng, 1000)), 2)
    measure("one query, radius 12", lambda: opened.query(codes(rng, 1), radius=12))
    measure("one query, re-ranking 1,000", lambda: opened.query(rng.standard_normal((1, BITS)), rerank=1000))
    opened.ids("year = 0")  # digests of the metadata
    for where in ("key = '777.jpg'", "year = 2000", "year < 2007"):
        measure(f"one query, {where}", lambda where=where: opened.query(codes(rng, 1), where=where), 3)
    answer = opened.query(codes(rng, 1))
    measure("metadata of 10 hits", answer.metadata)


def many_segments(path: Path) -> None:
    """As many segments as small appends can leave of a million codes, and then one."""
    rng, made = np.random.default_rng(0), Collection.create(path, BITS)
    for size in (65536, 4096, 1):
        for _ in range(15):
            made.append(codes(rng, size))
    for _ in range(2):
        print(f"{len(made):,} codes, {len(list((path / 'segments').iterdir()))} segments")
        measure("open", lambda: hashzoo.search.open(path))
        opened = hashzoo.search.open(path)
        opened.query(codes(rng, 1))
        measure("one query", lambda opened=opened: opened.query(codes(rng, 1)), 10)
        measure("100 queries", lambda opened=opened: opened.query(codes(rng, 100)))
        opened = None
        made.compact()


if __name__ == "__main__":
    main()
