"""A process that forks writers of a collection, to be killed. It imports once, so that a writer starts at once.

A line `PATH SEED EVENT` on its input starts a writer, whose process number it prints; when that has ended, "ended". The
writer changes the collection again and again, at random, and says what it is about to do and what it has done in
PATH.log. If EVENT is not 0, it makes one change and kills itself before the EVENT-th time that it changes a file.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import numpy as np

import hashzoo.search
from hashzoo.codes import Codes
from hashzoo.search import tables, writing

BITS = 16
MOST = 400  # rows that a writer keeps about


def codes_of(ids) -> Codes:
    """The codes that a writer gives to ids."""
    return Codes((np.asarray(ids, dtype="<u2") * 40503).astype("<u2").view(np.uint8).reshape(-1, 2), BITS)


def change(collection, rng, log) -> None:
    """One change at random, with what it does before and after on a line of the log."""

    def said(**line):
        os.write(log, (json.dumps(line) + "\n").encode())

    action = rng.choice(["append", "append", "delete", "compact"])
    ids = collection.ids()
    if action == "append" and len(ids) < MOST:
        first = collection._snapshot.manifest.next_id
        new = list(range(first, first + int(rng.integers(1, 40))))
        said(begin="append", ids=new)
        collection.append(codes_of(new), metadata={"name": [f"row {n}" for n in new]})
    elif action == "compact":
        said(begin="compact", ids=[])
        collection.compact()
    elif len(ids):
        gone = rng.permutation(ids)[: int(rng.integers(1, len(ids) + 1))].tolist()
        said(begin="delete", ids=gone)
        collection.delete(gone)
    else:
        return
    said(done=True)


def kill_before(event: int) -> None:
    """Die before the event-th time that a file is made, renamed or removed."""
    left = [event]

    def hook(name, arguments):
        writes = name == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or name in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def write(path: str, seed: int, event: int) -> None:
    writing.FANOUT = 3
    os.fsync = lambda descriptor: None  # the system keeps what a killed process wrote; waiting for the disk takes long
    log = os.open(f"{path}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    collection, rng = hashzoo.search.open(path), np.random.default_rng(seed)
    if event:
        kill_before(event)
        change(collection, rng, log)
        return
    while True:
        change(collection, rng, log)


def main() -> None:
    import pyarrow.parquet

    pyarrow.set_cpu_count(1)
    tables.prepared({"name": ["row"]}, {}, 1)  # pyarrow imports pandas now, and not in every writer
    for line in sys.stdin:
        path, seed, event = line.split()
        child = os.fork()
        if not child:
            try:
                write(path, int(seed), int(event))
                os._exit(0)
            except BaseException as error:
                print(error, file=sys.stderr, flush=True)
                os._exit(1)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print("ended" if status != 256 else "failed", flush=True)


if __name__ == "__main__":
    main()
