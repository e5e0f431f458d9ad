"""The search service under load: latencies of searches by code and by text, against a bare search in this process.

A collection of random codes of random captions, by an untrained model with the default encoders, is served by
`hashzoo serve` in a process of its own; clients in this process keep it busy, each with one request at a time.

    python benchmarks/serve.py             # a million codes, 8 clients, 15 seconds of each kind of search
    python benchmarks/serve.py --quick     # 4 seconds of each
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hashzoo.benches.benchmark import bench
from hashzoo.codes import Codes
from hashzoo.inference.model import load_model
from hashzoo.search import Collection
from hashzoo.search.topk import nearest

WORDS = ("red", "green", "blue", "small", "large", "dog", "cat", "car", "house", "tree", "boat", "man", "bird", "snow")
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    seconds = 4.0 if options.quick else 15.0
    with tempfile.TemporaryDirectory() as folder:
        collection = made(Path(folder), options.codes)
        bare, whole = timed(collection, 1)
        print(f"{len(collection):,} codes of {collection.bits} bits, k = {K}, {options.clients} clients")
        print(f"bare kernel, one thread: {bare * 1e3:.2f} ms; Collection.query: {whole * 1e3:.2f} ms\n")
        print(f"{'by':<6}{'p50 ms':>8}{'p99 ms':>8}{'per s':>7}{'CPU ms':>8}{'p50 / kernel':>14}{'p99 / kernel':>14}")
        with serving(collection.path) as service:
            for kind, body in (("code", by_code(collection.bits)), ("text", by_text)):
                before = service.cpu()
                found = load(service.port, body, options.clients, seconds)
                cpu = (service.cpu() - before) / len(found)
                p50, p99 = np.percentile(found, 50), np.percentile(found, 99)
                print(
                    f"{kind:<6}{p50 * 1e3:>8.1f}{p99 * 1e3:>8.1f}{len(found) / seconds:>7.0f}{cpu * 1e3:>8.2f}"
                    f"{p50 / bare:>14.1f}{p99 / bare:>14.1f}"
                )
            print("\nCPU: of the service, for one search")
            print(f"first search by text after the start: {service.first * 1e3:.0f} ms")


def made(folder: Path, count: int) -> Collection:
    """A collection of random codes and captions, with an untrained model."""
    settings = ["dataset.pairs=100", "dataset.pixels=32"]
    os.chdir(folder)
    (result,) = bench(["random"], [64], dataset="scenes", settings=settings)["results"]
    collection = Collection.create(folder / "codes", 64, model=load_model(result["run"]).files())
    rng = np.random.default_rng(0)
    words = np.array(WORDS)[rng.integers(0, len(WORDS), (count, 5))]
    texts = [" ".join(line) for line in words]
    collection.append(Codes(rng.integers(0, 256, (count, 8), dtype=np.uint8), 64), metadata={"text": texts})
    return Collection(folder / "codes")


def timed(collection: Collection, threads: int) -> tuple[float, float]:
    """Seconds of the kernel over all codes, and of a query of the collection: the best of 30 each, in turns."""
    import numba

    numba.set_num_threads(threads)
    codes = np.concatenate([block.data for _, block, _ in collection.blocks()])
    rng = np.random.default_rng(1)
    best = [float("inf"), float("inf")]
    for _ in range(30):
        query = Codes(rng.integers(0, 256, (1, 8), dtype=np.uint8), 64)
        for place, call in enumerate((lambda q=query: nearest(q, codes, K), lambda q=query: collection.query(q, k=K))):
            start = time.perf_counter()
            call()
            best[place] = min(best[place], time.perf_counter() - start)
    return best[0], best[1]


class serving:
    """`hashzoo serve` in a process of its own; its `port`, and how many seconds its `first` search took."""

    def __init__(self, path: Path):
        command = shutil.which("hashzoo", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        assert command, "hashzoo is not installed"
        self.process = subprocess.Popen([command, "serve", str(path), "--port", "0"], stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> serving:
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.port = int(line.partition("http://127.0.0.1:")[2].partition("/")[0])
        (self.first,) = load(self.port, by_text, 1, 0.0)
        return self

    def cpu(self) -> float:
        """Seconds of all processors that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(30)


def by_code(bits: int) -> Callable[[np.random.Generator], dict]:
    return lambda rng: {"code": rng.bytes(bits // 8).hex()}


def by_text(rng: np.random.Generator) -> dict:
    return {"text": " ".join(rng.choice(WORDS, 8)) + f" {rng.integers(10**9)}"}


def load(port: int, body: Callable[[np.random.Generator], dict], clients: int, seconds: float) -> list[float]:
    """Seconds of every request that clients sent in so many seconds, one after the other; at least one."""
    found: list[float] = []

    def client(number: int) -> None:
        rng = np.random.default_rng(number)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        end = time.perf_counter() + seconds
        while True:
            content = json.dumps({**body(rng), "k": K})
            start = time.perf_counter()
            connection.request("POST", "/api/collections/codes/search", content, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            found.append(time.perf_counter() - start)
            assert response.status == 200, answer
            assert len(json.loads(answer)["hits"]) == K
            if time.perf_counter() > end:
                break

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


if __name__ == "__main__":
    main()
