"""How fast are the indexes? hashzoo's exact search and other engines, side by side in one run.

    python benchmarks/search.py [--quick] [--json]

It needs numpy, numba, faiss-cpu and duckdb, and hashzoo-milvus for the rows of Milvus, which are left out otherwise.

Every engine has one thread and gets the same packed codes under the same ids. `random` codes are the worst case of an
approximate index: nothing is near. `clustered` ones are like those of a trained model: a thousand centres, of which
some have many codes and most have few, and each bit departs from its centre once in ten; queries are drawn alike.

qps         queries a second of CPU time, the best of several runs taken in turn, so that neighbours on the machine
            disturb all engines alike; of Milvus, which works in a process of its own, a second of the clock
batch       queries in a call; with 1 the calls come one after the other
recall      share of the k hits that are no farther than the true k-th: which of several at one distance is named does
            not matter
build_s     CPU seconds (Milvus: of the clock) from codes to an index that can be searched, learning included
bytes_per_item  growth of the resident memory while it was built; of Milvus and DuckDB, the size of the file; null where
            there are too few codes to tell
ratio_to_faiss_flat  qps as a multiple of that of faiss-flat in the same case

`memory` is no engine: for each query it adds up the words of all codes, and finds nothing. Whoever compares a query
with every code reads as much, and cannot be much faster.
"""

# ruff: noqa: E402 (the path and the number of threads must be set before the imports that they concern)
from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# What is timed is the checkout that this file stands in.
sys.path[:0] = [str(ROOT), *(str(ROOT / "plugins" / name / "src") for name in ("faiss", "milvus"))]
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import duckdb
import faiss
import numpy as np
from hashzoo_faiss.flat import FlatIndex
from hashzoo_faiss.graph import HnswIndex
from hashzoo_faiss.ivf import IvfIndex
from hashzoo_faiss.tables import MultiHashIndex

from hashzoo.codes import Codes, pack_rows
from hashzoo.errors import HashzooError
from hashzoo.search import ExactIndex, Index

K = 10
CENTRES, DEPARTURE = 1000, 0.1
TELLING = 100_000  # codes from which on the growth of the process says something of their index
BLOCK = 1 << 18  # rows drawn at a time
SECONDS = 0.5  # of one run at most: an engine that takes longer gets fewer of the queries
Search = Callable[[Codes, int], np.ndarray]


@dataclass(frozen=True)
class Case:
    """N codes of one kind, the queries of a batch, and the engines that are built for them."""

    n: int
    bits: int
    codes: str
    batch: int
    engines: tuple[str, ...]


QUICK = (
    Case(10_000, 64, "clustered", 1000, ("exact", "faiss-flat", "milvus")),
    Case(
        100_000, 64, "clustered", 1000, ("exact", "faiss-flat", "faiss-ivf", "faiss-hnsw", "faiss-multihash", "duckdb")
    ),
    Case(1_000_000, 64, "random", 200, ("exact", "faiss-flat", "memory", "faiss-ivf", "duckdb")),
    Case(1_000_000, 128, "random", 200, ("exact", "faiss-flat", "memory")),
)
ALL = ("exact", "faiss-flat", "memory", "faiss-ivf", "faiss-hnsw", "faiss-multihash", "duckdb", "milvus")


def affordable_engines(n: int, bits: int, codes: str) -> tuple[str, ...]:
    """Those that are built and searched in minutes."""
    left_out = {"milvus"} if n > 100_000 else set()
    if n > 100_000 and (n, bits, codes) != (1_000_000, 64, "clustered"):
        left_out.add("faiss-hnsw")
    return tuple(name for name in ALL if name not in left_out)


FULL = (
    *(
        Case(n, bits, codes, 1000 if n <= 1_000_000 else 200, affordable_engines(n, bits, codes))
        for n in (100_000, 1_000_000, 10_000_000)
        for bits in (64, 128)
        for codes in ("random", "clustered")
    ),
    Case(100_000_000, 64, "random", 200, ("exact", "faiss-flat", "memory")),
)


def drawn(case: Case, rows: int, seed: int) -> Codes:
    """Codes of a case; two seeds draw other codes about the same centres."""
    rng = np.random.default_rng(seed)
    if case.codes == "random":
        return Codes(rng.integers(0, 256, (rows, case.bits // 8), dtype=np.uint8), case.bits)
    centres = np.random.default_rng(0).random((CENTRES, case.bits), dtype=np.float32) > 0.5
    share = 1 / np.arange(1, CENTRES + 1)
    data = np.empty((rows, case.bits // 8), dtype=np.uint8)
    for start in range(0, rows, BLOCK):
        part = data[start : start + BLOCK]
        departs = rng.random((len(part), case.bits), dtype=np.float32) < DEPARTURE
        part[:] = pack_rows(centres[rng.choice(CENTRES, len(part), p=share / share.sum())] ^ departs)
    return Codes(data, case.bits)


def resident() -> int:
    """Bytes of memory that this process has, after what it does not use has gone back."""
    gc.collect()
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Engine:
    """Something that was built: how it searches, with several settings perhaps, and what building it took.

    `searches` give (Q, k) distances, -1 where nothing was found.
    """

    searches: dict[str, Search]
    batches: tuple[int, ...]  # () for any
    clock: Callable[[], float]
    build: float = 0.0
    size: float | None = None


def of_index(index: Index, settings: dict[str, Callable[[], None]] | None = None) -> dict[str, Search]:
    """Searches of an index, each after a setting was made."""

    def search(change: Callable[[], None]) -> Search:
        def run(queries: Codes, k: int) -> np.ndarray:
            change()
            return index.search(queries, k).distances

        return run

    return {name: search(change) for name, change in (settings or {"": lambda: None}).items()}


def built(name: str, codes: Codes, folder: Path) -> Engine:
    """One engine with all codes under the ids 0 to n - 1."""
    ids = np.arange(len(codes))
    clock = time.perf_counter if name == "milvus" else time.process_time
    before, start = resident(), clock()
    batches: tuple[int, ...] = ()
    if name == "memory":
        engine = Engine({"": reading(codes)}, (1,), clock)
    elif name == "duckdb":
        connection = duckdb_of(codes, ids, folder / "codes.duckdb")
        engine = Engine({"": duckdb_search(connection, codes.bits)}, (1,), clock)
    else:
        index, settings = index_of(name, codes.bits)
        index.add(codes, ids)
        engine = Engine(of_index(index, settings), batches, clock)
    engine.build = clock() - start
    engine.size = (resident() - before) / len(codes) if len(codes) >= TELLING else None
    if name == "duckdb":
        connection.execute("CHECKPOINT")
        engine.size = (folder / "codes.duckdb").stat().st_size / len(codes)
    elif name == "milvus":
        index.save(folder / name)
        engine.size = sum(path.stat().st_size for path in (folder / name).rglob("*.db")) / len(codes)
    return engine


def index_of(name: str, bits: int) -> tuple[Any, dict[str, Callable[[], None]] | None]:
    """An empty index, and the settings with which it is searched."""
    if name == "exact":
        return ExactIndex(bits), None
    if name == "faiss-flat":
        return FlatIndex(bits), None
    if name == "faiss-ivf":
        ivf = IvfIndex(bits)
        return ivf, {f"nprobe={n}": lambda n=n: setattr(ivf.inner, "nprobe", n) for n in (8, 64)}
    if name == "faiss-hnsw":
        hnsw = HnswIndex(bits)
        return hnsw, {f"ef_search={n}": lambda n=n: setattr(hnsw, "ef_search", n) for n in (64, 256)}
    if name == "faiss-multihash":
        tables = MultiHashIndex(bits)
        return tables, {f"nflip={n}": lambda n=n: setattr(tables.inner, "nflip", n) for n in (0, 1)}
    from hashzoo_milvus.index import MilvusIndex

    return MilvusIndex(bits), None


def reading(codes: Codes) -> Search:
    """Reads all codes once a query, and finds nothing."""
    words = codes.data.reshape(-1).view(np.uint64)

    def read(queries: Codes, k: int) -> np.ndarray:
        for _ in range(len(queries)):
            words.sum()
        return np.full((len(queries), k), -1)

    return read


def duckdb_of(codes: Codes, ids: np.ndarray, path: Path) -> Any:
    """A table of ids and of the words of the codes."""
    connection = duckdb.connect(str(path), config={"threads": 1})
    words = codes.data.view("<u8")
    columns = {"id": ids, **{f"w{number}": np.ascontiguousarray(column) for number, column in enumerate(words.T)}}
    connection.register("given", columns)
    connection.execute("CREATE TABLE codes AS SELECT * FROM given")
    connection.unregister("given")
    return connection


def duckdb_search(connection: Any, bits: int) -> Search:
    distance = " + ".join(f"bit_count(xor(w{number}, $w{number}))" for number in range(bits // 64))
    sentence = f"SELECT {distance} AS distance, id FROM codes ORDER BY distance, id LIMIT $k"

    def search(queries: Codes, k: int) -> np.ndarray:
        found = []
        for words in queries.data.view("<u8"):
            given = {f"w{number}": int(word) for number, word in enumerate(words)}
            found.append([distance for distance, _ in connection.execute(sentence, {**given, "k": k}).fetchall()])
        return np.array(found)

    return search


def measured(case: Case, rounds: int) -> Iterator[dict[str, Any]]:
    """The rows of one case."""
    codes, queries = drawn(case, case.n, seed=1), drawn(case, case.batch, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        engines = {}
        for name in case.engines:
            try:
                engines[name] = built(name, codes, Path(folder))
            except (HashzooError, ImportError) as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
        farthest = engines["exact"].searches[""](queries, K)[:, -1:]
        flat = engines["faiss-flat"].searches[""](queries[:50], K)
        assert np.array_equal(flat, engines["exact"].searches[""](queries[:50], K)), "two exact engines disagree"
        for batch in (1, case.batch):
            yield from timed(case, engines, queries, farthest, batch, rounds)


def timed(
    case: Case, engines: dict[str, Engine], queries: Codes, farthest: np.ndarray, batch: int, rounds: int
) -> Iterator[dict[str, Any]]:
    """The rows of one batch size: first which engine takes how many queries, then all in turn."""
    runs: dict[tuple[str, str], tuple[Callable[[], None], int]] = {}
    recall: dict[tuple[str, str], float] = {}
    for name, engine in engines.items():
        for setting, search in engine.searches.items():
            if engine.batches and batch not in engine.batches:
                continue
            count = affordable(engine, search, queries, batch)
            runs[name, setting] = in_batches(search, queries[:count], batch), count
            found = search(queries[:count], K)
            recall[name, setting] = float(((found >= 0) & (found <= farthest[:count])).mean())
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for key, (run, _) in runs.items():
            clock = engines[key[0]].clock
            start = clock()
            run()
            best[key] = min(best[key], clock() - start)
    speed = {key: count / best[key] for key, (_, count) in runs.items()}
    for (name, setting), qps in speed.items():
        yield {
            "engine": f"{name} {setting}".strip(),
            "n": case.n,
            "bits": case.bits,
            "codes": case.codes,
            "k": K,
            "batch": batch,
            "qps": round(qps, 1),
            "recall": round(recall[name, setting], 4),
            "ratio_to_faiss_flat": round(qps / speed["faiss-flat", ""], 3),
            "build_s": round(engines[name].build, 2),
            "bytes_per_item": None if engines[name].size is None else round(engines[name].size, 1),
        }


def affordable(engine: Engine, search: Search, queries: Codes, batch: int) -> int:
    """Queries that an engine answers in the time that a run may take: at most 100 one by one, else whole batches."""
    few = queries[: min(10, len(queries))]
    search(few, K)  # what is compiled or read at first is no part of it
    start = engine.clock()
    for row in range(len(few)) if batch == 1 else [slice(None)]:
        search(few[row], K)
    each = max((engine.clock() - start) / len(few), 1e-7)
    most = min(len(queries), 100) if batch == 1 else len(queries)
    return int(np.clip(SECONDS / each, 5, most))


def in_batches(search: Search, queries: Codes, batch: int) -> Callable[[], None]:
    parts = [queries[start : start + batch] for start in range(0, len(queries), batch)]

    def run() -> None:
        for part in parts:
            search(part, K)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few small cases, in less than a minute")
    parser.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    asked = parser.parse_args()
    faiss.omp_set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for case in QUICK if asked.quick else FULL:
        for row in measured(case, rounds=3 if asked.quick else 5):
            rows.append(row)
            if not asked.json:
                if len(rows) == 1:
                    print(" ".join(f"{name:>{width(name)}}" for name in row))
                print(" ".join(f"{value!s:>{width(name)}}" for name, value in row.items()), flush=True)
    if asked.json:
        print(json.dumps(rows, indent=1))


def width(name: str) -> int:
    return 24 if name == "engine" else max(len(name), 9)


if __name__ == "__main__":
    main()
