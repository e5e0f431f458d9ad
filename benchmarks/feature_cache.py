"""What do many cached features cost? Disk, seconds and memory, at sizes that do not fit into memory.

    python benchmarks/feature_cache.py [--rows 1000000] [--width 512] [--stored float16] [--folder FOLDER] [--json]

Random features are written into a new cache block by block, as an extraction writes them, and read back by two
processes of their own: `read` goes through all rows in order, `train` opens them as a cell does (a random 80 % of the
rows are training rows) and draws random batches of 128. Sizes are of the process: `peak MB` is its largest resident
size, `torch MB` what importing torch alone had brought before anything was opened.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what is timed is the checkout that this file stands in

import numpy as np

from hashzoo.storage.arrays import cached_array, take

BLOCK = 1024
BATCHES = 200


def resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def features(rows: int, width: int, stored: str) -> np.ndarray:
    """The cached array; made of random numbers when it is not there."""

    def make(ranges: Sequence[range]) -> Generator[tuple[range, np.ndarray], None, None]:
        for part in ranges:
            values = np.random.default_rng(part.start).standard_normal((len(part), width), dtype=np.float32)
            yield part, values.astype(stored)

    preimage = {"kind": "benchmark", "rows": rows, "width": width, "stored": stored}
    return cached_array(preimage, BLOCK, make, "random features", "rows")


def write(rows: int, width: int, stored: str) -> dict[str, float]:
    start = time.perf_counter()
    features(rows, width, stored)
    return {"seconds": time.perf_counter() - start}


def read(rows: int, width: int, stored: str) -> dict[str, float]:
    start = time.perf_counter()
    array = features(rows, width, stored)
    opened = time.perf_counter()
    total = 0.0
    for first in range(0, rows, 8192):
        total += float(take(array, np.arange(first, min(first + 8192, rows))).sum(dtype=np.float64))
    assert abs(total) < 10 * (rows * width) ** 0.5, "these are not the numbers that were written"
    return {"open_s": opened - start, "seconds": time.perf_counter() - opened}


def train(rows: int, width: int, stored: str) -> dict[str, float]:
    import torch

    from hashzoo.encoders.described import Described
    from hashzoo.encoders.lookup import Given
    from hashzoo.features.cache import Encoded
    from hashzoo.features.extraction import Extraction
    from hashzoo.train import Rows

    imported = resident_mb()
    order = np.random.default_rng(0).permutation(rows)
    labels = np.zeros((int(0.8 * rows), 24), dtype=np.bool_)
    start = time.perf_counter()
    array = features(rows, width, stored)
    opened = time.perf_counter()
    described = Described({"name": "random"}, width, {}, True, lambda: Given(modality="image"))
    encoded = Encoded(array, {"pooled": width}, described, True, Extraction(), lambda: array)
    mapped = encoded.inputs_of(order[: len(labels)])
    given = Rows(mapped, mapped, labels, torch.device("cpu"))
    index = torch.randperm(len(given), generator=torch.Generator().manual_seed(0))
    given.batch(index[:128])
    ready = time.perf_counter()
    for batch in index.split(128)[:BATCHES]:
        given.batch(batch)
    took = time.perf_counter() - ready
    return {
        "torch_mb": imported,
        "open_s": opened - start,
        "first_batch_s": ready - start,
        "ms_a_batch": 1000 * took / min(BATCHES, -(-len(given) // 128)),
    }


STEPS = {"write": write, "read": read, "train": train}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--stored", choices=("float16", "float32"), default="float16")
    parser.add_argument("--folder", type=Path, help="where the cache is made; a temporary folder otherwise")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    size = (asked.rows, asked.width, asked.stored)
    if asked.step:
        print(json.dumps({"step": asked.step, **STEPS[asked.step](*size), "peak_mb": resident_mb()}))
        return
    results = []
    with tempfile.TemporaryDirectory(dir=asked.folder) as cache:
        for step in STEPS:
            # Processes of their own: a peak belongs to one step.
            command = [sys.executable, __file__, "--step", step, "--rows", str(asked.rows)]
            command += ["--width", str(asked.width), "--stored", asked.stored]
            environment = os.environ | {"HASHZOO_CACHE": cache}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            results.append(
                {name: round(v, 3) if isinstance(v, float) else v for name, v in json.loads(done.stdout).items()}
            )
    if asked.json:
        print(
            json.dumps(
                {"schema": 1, "rows": asked.rows, "width": asked.width, "stored": asked.stored, "steps": results}
            )
        )
        return
    for result in results:
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
