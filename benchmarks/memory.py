"""How much memory does a cell take of a million pairs, and of ten million database items?

    python benchmarks/memory.py [WHAT ...] [--rows 10000,100000,1000000] [--bits 64] [--steps 4] [--limit 8]
                                [--queries 10000] [--stored float16] [--set METHOD.trainer.SETTING=VALUE ...]
                                [--folder FOLDER] [--quick] [--json] [--figure FILE.svg] [--read FILE.json]

WHAT is the name of a method, `evaluation` or `encoding`; by default soda, dcmh, resnet, cmfh, lemon and both of these.

A method is trained by `hashzoo.bench`, as any cell is: on a prepared data set of random features (512 numbers a row,
24 labels) with 1,000 queries, and the first 20,000 training rows as the database; it is encoded, evaluated and written.
Its trainer makes one pass or iteration of each kind, of which no more than `--steps` batches: what a step needs does
not grow with their number, and at a million rows a batch of DCMH takes a second. Trainers that take no batches see all
rows. `--set` is that of `hashzoo bench`. `evaluation` is every metric of one direction for `--queries` queries,
`encoding` the codes of both modalities, block by block, through linear towers. Their database has ten times the rows of
`--rows`.

Each is measured in a process of its own. `peak` is the most private memory that it held (RssAnon of Linux, looked at
every 20 ms): pages of files that are mapped, such as cached features, are the system's to take back, and do not count.
`resident` counts them too (VmHWM). `bytes a row` is by how much `peak` grew since the smallest number of rows. A
process that wants more than `--limit` GB of private memory is refused it (RLIMIT_DATA), and is said not to fit. Seconds
are of CPU time, start and imports included.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # what is measured is the checkout that this file stands in

import numpy as np

WIDTH, CLASSES, QUERIES, DATABASE = 512, 24, 1_000, 20_000
BLOCK = 8192  # rows that are drawn at once
OF_DATABASE = ("evaluation", "encoding")
DEFAULT = ("soda", "dcmh", "resnet", "cmfh", "lemon", *OF_DATABASE)
QUICK = ("dcmh", "cmfh", *OF_DATABASE)
ONE = ("epochs", "teacher_epochs", "student_epochs", "label_epochs", "rounds", "iterations")  # settings that are passes
LOOK_S = 0.02


def prepare(rows: int, stored: str) -> None:
    """Put the data set files/random into the cache: `rows` training rows, some of them the database, and queries."""
    from hashzoo.data.base import Splits
    from hashzoo.data.prepared import Rows, write_prepared
    from hashzoo.storage.files import cache_dir

    folder, total = cache_dir() / "drawn", rows + QUERIES
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    labels = draw.random((total, CLASSES)) < 0.1
    features = {}
    for role in ("image", "text"):
        made = np.lib.format.open_memmap(folder / f"{role}.npy", "w+", stored, (total, WIDTH))
        for start in range(0, total, BLOCK):
            made[start : start + BLOCK] = draw.standard_normal((min(BLOCK, total - start), WIDTH), dtype=np.float32)
        made.flush()
        features[role] = np.load(folder / f"{role}.npy", mmap_mode="r")
    order = np.arange(total)
    database = order[QUERIES : QUERIES + DATABASE]
    splits = Splits(train=order[QUERIES:], query=order[:QUERIES], database=database, rule="in order")
    content = Rows([f"label{n}" for n in range(CLASSES)], labels, splits, features=features, source={"notes": []})
    write_prepared(cache_dir() / "datasets" / "files" / "random", "files/random", content, "random numbers")
    for role in features:
        (folder / f"{role}.npy").unlink()


def passes(method: str) -> list[str]:
    """The settings that make a trainer take one pass, of those that it has."""
    from hashzoo import zoo
    from hashzoo.settings import keywords

    name = zoo.load().find("method", method)[1].trainer
    plugin, part = zoo.load().find("trainer", name)
    known = keywords(zoo.resolve_target(plugin, part.target))
    return [f"{method}.trainer.{setting}=1" for setting in ONE if setting in known]


def train(method: str, bits: int, steps: int, given: list[str], folder: Path) -> None:
    """One cell."""
    import torch

    import hashzoo

    whole = torch.Tensor.tensor_split  # divides the shuffled rows of a pass into batches, and nothing else
    torch.Tensor.tensor_split = lambda order, parts: whole(order, parts)[:steps]  # type: ignore[method-assign]
    files = {"dataset": "files/random", "encoders": "given", "runs": folder / "runs", "fresh": True}
    settings = passes(method) + [one for one in given if one.startswith(f"{method}.")]
    results = hashzoo.bench([method], [bits], settings=settings, **files)["results"]
    failed = [result["reason"] for result in results if result["status"] != "ok"]
    if failed:
        raise MemoryError(failed[0]) if refused(failed[0]) else RuntimeError(failed[0])


def refused(reason: str) -> bool:
    """Whether an error says that memory was not given: numpy, torch and Python have words of their own."""
    return any(words in reason for words in ("MemoryError", "allocate memory", "Unable to allocate"))


def evaluation(rows: int, queries: int, bits: int) -> None:
    """What a cell does with its codes, in one direction."""
    from hashzoo import evaluate
    from hashzoo.codes import Codes, health

    draw = np.random.default_rng(0)
    codes, labels = {}, {}
    for name, count in {"query": queries, "database": rows}.items():
        codes[name] = Codes(draw.integers(0, 256, (count, bits // 8), dtype=np.uint8), bits)
        labels[name] = np.empty((count, CLASSES), dtype=np.bool_)
        for start in range(0, count, BLOCK):
            part = labels[name][start : start + BLOCK]
            part[:] = draw.random(part.shape, dtype=np.float32) < 0.1
    evaluate(codes["query"], codes["database"], labels["query"], labels["database"], per_query=True)
    health(codes["database"])


def encoding(rows: int, bits: int, stored: str, folder: Path) -> None:
    """Encode both modalities; their features are a file of zeros after the first rows, which takes no disk."""
    from hashzoo.fitting import encode_rows
    from hashzoo.linear import Projection
    from hashzoo.model import Towers

    made = np.lib.format.open_memmap(folder / "features.npy", "w+", stored, (rows, WIDTH))
    made[:BLOCK] = np.random.default_rng(0).standard_normal((BLOCK, WIDTH))
    del made
    features = np.load(folder / "features.npy", mmap_mode="r")
    splits = SimpleNamespace(query=np.arange(QUERIES), database=np.arange(QUERIES, rows))
    encoded = SimpleNamespace(inputs=features)
    bench: Any = SimpleNamespace(dataset=SimpleNamespace(splits=splits), encoded=lambda recipe, role: encoded)
    towers = Towers(*(Projection(WIDTH, bits) for _ in range(2)))
    for tower in towers.children():
        tower.weight.normal_()
    nothing: Any = None
    cell: Any = SimpleNamespace(bits=bits, method="random")
    encode_rows(bench, nothing, cell, towers)


def child(asked: argparse.Namespace) -> None:
    """One measurement, in a process that may not hold more than the limit."""
    limit = int(asked.limit * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    (what,), (rows,) = asked.what, asked.rows
    run = {
        "evaluation": functools.partial(evaluation, rows, asked.queries, asked.bits),
        "encoding": functools.partial(encoding, rows, asked.bits, asked.stored, asked.folder),
    }.get(what, functools.partial(train, what, asked.bits, asked.steps, asked.set, asked.folder))
    fits = True
    try:
        run()
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not refused(str(error)):
            raise
        fits = False
    print(json.dumps({"fits": fits, "cpu_s": round(time.process_time(), 1)}))


def memory_of(process: int) -> dict[str, int]:
    """Bytes of private memory now, and of all resident memory at most."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    found = {
        name: int(value.split()[0]) * 1024
        for name, _, value in (line.partition(":") for line in lines)
        if "kB" in value
    }
    return {"peak": found.get("RssAnon", 0), "resident": found.get("VmHWM", 0)}


def measured(command: list[str]) -> dict[str, Any]:
    """What a process prints, and the most memory that it held."""
    most = {"peak": 0, "resident": 0}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.poll() is None:
            with contextlib.suppress(OSError):
                now = memory_of(process.pid)
                most = {name: max(value, now[name]) for name, value in most.items()}
            time.sleep(LOOK_S)
        said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return json.loads(said.splitlines()[-1]) | {f"{name}_bytes": value for name, value in most.items()}


def measure(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """A line for each size and each thing to be measured."""
    methods = [what for what in asked.what if what not in OF_DATABASE]
    found = []
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        os.environ |= {"HASHZOO_CACHE": folder, "OMP_NUM_THREADS": "1"}

        def line(what: str, pairs: int) -> dict[str, Any]:
            rows = pairs if what in methods else 10 * pairs
            command = [sys.executable, __file__, what, "--child", "--rows", str(rows), "--bits", str(asked.bits)]
            command += [
                "--steps",
                str(asked.steps),
                "--limit",
                str(asked.limit),
                "--stored",
                asked.stored,
                "--queries",
                str(asked.queries),
            ]
            command += [word for one in asked.set for word in ("--set", one)]
            result = measured([*command, "--folder", folder])
            print(f"{what}, {rows:,} rows: {result}", file=sys.stderr)
            return {"what": what, "rows": rows, **result}

        for rows in sorted(asked.rows, reverse=True):  # the largest compiles what is compiled
            if methods:
                prepare(rows, asked.stored)
            for what in asked.what:
                found.append(line(what, rows))
    return sorted(found, key=lambda one: (asked.what.index(one["what"]), one["rows"]))


def with_slopes(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines with bytes a row, since the smallest size."""
    first = {one["what"]: one for one in reversed(found)}

    def slope(one: dict[str, Any]) -> float | None:
        start = first[one["what"]]
        if one is start or not one["fits"]:
            return None
        return round((one["peak_bytes"] - start["peak_bytes"]) / (one["rows"] - start["rows"]), 1)

    return [one | {"bytes_a_row": slope(one)} for one in found]


def draw(found: list[dict[str, Any]], limit: float, path: Path) -> None:
    """Peak memory against training pairs, and against database items."""
    from hashzoo.report.figures.drawing import Drawing
    from hashzoo.report.figures.panels import DASHED, finished, legend, panels
    from hashzoo.report.figures.style import DASHES, MARKERS, SERIES, house_style

    title, samples, words = "Private memory of a cell", [], []
    with house_style("memory"):
        figure, axes = panels(1, 2, title, "training pairs", "peak, GB", height=2.2, sharex=False)
        axes[0, 1].set_xlabel("database items")
        for number, what in enumerate(dict.fromkeys(one["what"] for one in found)):
            some = [one for one in found if one["what"] == what and one["fits"]]
            rows, peaks = [one["rows"] for one in some], [one["peak_bytes"] / 1e9 for one in some]
            dashes = DASHES[(number + number // len(SERIES)) % len(DASHES)]  # eight by eight they shift
            style = {
                "color": SERIES[number % len(SERIES)],
                "marker": MARKERS[number % len(MARKERS)],
                "linestyle": dashes,
            }
            (sample,) = axes[0, int(what in OF_DATABASE)].plot(rows, peaks, **style)
            samples.append((sample, what))
            words.append(f"{what} {peaks[-1]:.1f} GB at {rows[-1]:,}")
        for panel, of_database in zip(axes[0], (False, True), strict=True):
            sizes = sorted({one["rows"] for one in found if (one["what"] in OF_DATABASE) == of_database})
            panel.axhline(limit, **DASHED)
            panel.set(xscale="log", yscale="log", ylim=(0.05, 1.5 * limit), xticks=sizes, yticks=[0.1, 1, limit])
            panel.set_xticklabels([f"{size / 1e6:g} M" for size in sizes])
            panel.set_yticklabels(["0.1", "1", f"{limit:g}"])
            panel.minorticks_off()
        legend(figure, samples)
        drawing = Drawing("memory", "scale", title, "; ".join(words), "", finished(figure))
    path.write_text(drawing.svg(), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help="methods, evaluation, encoding")
    parser.add_argument("--rows", type=lambda words: [int(word) for word in words.split(",")])
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--queries", type=int, default=10_000, help="of the evaluation")
    parser.add_argument("--steps", type=int, default=4, help="batches of a pass over the training rows")
    parser.add_argument("--limit", type=float, default=8.0, help="GB of private memory that a process may hold")
    parser.add_argument("--stored", choices=("float16", "float32"), default="float16")
    parser.add_argument("--set", action="append", default=[], help="settings of cells")
    parser.add_argument("--folder", type=Path, help="where the data are made; a temporary folder otherwise")
    parser.add_argument("--quick", action="store_true", help="fewer rows and methods, in under a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--figure", type=Path, help="an SVG file of what was measured")
    parser.add_argument("--read", type=Path, help="measure nothing, and show what --json printed")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.what = asked.what or list(QUICK if asked.quick else DEFAULT)
    asked.rows = asked.rows or ([2_000, 20_000] if asked.quick else [10_000, 100_000, 1_000_000])
    if asked.child:
        child(asked)
        return
    found = json.loads(asked.read.read_text())["results"] if asked.read else with_slopes(measure(asked))
    if asked.figure:
        draw(found, asked.limit, asked.figure)
    if asked.json:
        print(json.dumps({"schema": 1, "bits": asked.bits, "limit_gb": asked.limit, "results": found}))
        return
    for one in found:
        size = f"peak {one['peak_bytes'] / 1e6:>7,.0f} MB, resident {one['resident_bytes'] / 1e6:>7,.0f} MB"
        slope = "" if one["bytes_a_row"] is None else f", {one['bytes_a_row']:,.0f} bytes a row"
        rest = f"{one['cpu_s']:,.1f} s" if one["fits"] else f"does not fit in {asked.limit:g} GB"
        print(f"{one['what']:<11} {one['rows']:>10,} rows  {size}{slope}, {rest}")


if __name__ == "__main__":
    main()
