"""Writers of a collection are killed with SIGKILL; what they acknowledged is there, and nothing is there in part."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from collection_writer import BITS, codes_of

import hashzoo.search
from hashzoo.codes import pack
from hashzoo.search import Collection

KILLS = 200


@pytest.fixture(scope="module")
def nursery():
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("collection_writer.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.stdin.close()


def start(nursery, path, seed, event=0):
    print(path, seed, event, file=nursery.stdin, flush=True)
    return int(nursery.stdout.readline())


def wait_for_log(path, lines):
    while lines and path.read_text().count("\n") < lines:
        time.sleep(0.0005)


def check(path, held):
    """The collection holds what the log acknowledges, with or without all of the change under way.

    Returns its ids, the change under way or None, whether that is in it, and how many were acknowledged.
    """
    lines = [json.loads(line) for line in Path(f"{path}.log").read_text().splitlines()]
    changes = [line for line in lines if "begin" in line]
    under_way = changes[-1] if changes and "begin" in lines[-1] else None
    for line in changes[: -1 if under_way else None]:
        held = changed(held, line)
    Path(f"{path}.log").write_text("")
    collection = hashzoo.search.open(path)
    found = collection.ids().tolist()
    after = changed(held, under_way) if under_way else held
    assert set(found) in (held, after)
    assert len(found) == len(collection)
    for ids, codes, table in collection.blocks():
        assert np.array_equal(codes.data, codes_of(ids).data)
        assert table is None or table.column("name").to_pylist() == [f"row {n}" for n in ids]
    collection.verify()
    return set(found), under_way, set(found) == after, len(changes) - bool(under_way)


def changed(held, line):
    return held | set(line["ids"]) if line["begin"] == "append" else held - set(line["ids"])


@pytest.mark.slow
def test_a_writer_is_killed_two_hundred_times(nursery, tmp_path):
    path, rng = tmp_path / "c", random.Random(0)
    Collection.create(path, BITS)
    log = Path(f"{path}.log")
    log.touch()
    held, interrupted, acknowledged = set(), [], 0
    for seed in range(KILLS):
        child = start(nursery, path, seed)
        wait_for_log(log, rng.choice([1, 3]))  # some changes are done, and another is under way
        time.sleep(rng.random() * 0.04)
        os.kill(child, signal.SIGKILL)
        assert nursery.stdout.readline() == "ended\n"
        held, under_way, _, changes = check(path, held)
        interrupted += [under_way["begin"]] if under_way else []
        acknowledged += changes
    assert acknowledged > KILLS / 4
    assert all(interrupted.count(kind) > KILLS / 40 for kind in ("append", "delete", "compact"))
    writer = hashzoo.search.open(path)  # nothing that was left behind is in the way, and nothing stays
    writer.append(codes_of([30000]), ids=[30000], metadata={"name": ["row 30000"]})
    writer.compact()
    assert set(writer.ids().tolist()) == held | {30000}
    assert sorted(p.name for p in path.iterdir()) == [".lock", "deleted", "manifest.json", "segments"]
    assert len(list((path / "segments").iterdir())) == 1
    assert not list((path / "deleted").iterdir())


@pytest.mark.parametrize("kind", ["append", "delete", "compact"])
def test_a_writer_is_killed_before_each_change_of_a_file(kind, nursery, tmp_path):
    origin, path = tmp_path / "origin", tmp_path / "c"
    collection = Collection.create(origin, BITS)
    for n in range(2):
        ids = np.arange(10 * n, 10 * n + 10)
        collection.append(codes_of(ids), metadata={"name": [f"row {i}" for i in ids]})
    collection.delete([3, 17])
    held = set(range(20)) - {3, 17}
    # The first draw of a writer decides what it does.
    seed = next(
        s for s in range(99) if kind == np.random.default_rng(s).choice(["append", "append", "delete", "compact"])
    )
    outcomes = []
    for event in range(1, 100):
        shutil.copytree(origin, path)
        Path(f"{path}.log").write_text("")
        start(nursery, path, seed, event)
        assert nursery.stdout.readline() == "ended\n"
        finished = "done" in Path(f"{path}.log").read_text()
        found, under_way, whole, _ = check(path, held)
        assert (under_way is None) == finished
        outcomes.append(whole)
        writer = hashzoo.search.open(path)
        writer.append(codes_of([5000]), ids=[5000])
        writer.compact()
        assert set(writer.ids().tolist()) == found | {5000}
        assert len(list((path / "segments").iterdir())) == 1
        shutil.rmtree(path)
        if finished:
            break
    assert finished
    assert len(outcomes) > 5
    if kind != "compact":
        assert outcomes == sorted(outcomes)  # not yet, not yet, ..., all of it
        assert not outcomes[0]


def test_files_are_on_the_disk_before_the_manifest_names_them(tmp_path, monkeypatch):
    flushed, renamed = set(), []
    collection = Collection.create(tmp_path / "c", 8)

    def flush(descriptor):
        flushed.add(os.readlink(f"/proc/self/fd/{descriptor}"))

    plain = os.replace

    def replace(source, target):
        assert str(source) in flushed
        for folder in ("", "segments", "deleted"):
            for path in (tmp_path / "c" / folder).iterdir() if (tmp_path / "c" / folder).exists() else ():
                names = [path, *(path.iterdir() if path.is_dir() and folder else ())]
                if folder:
                    assert {str(name) for name in names} <= flushed
                    assert str(path.parent) in flushed
        renamed.append(target)
        flushed.discard(str(tmp_path / "c"))
        plain(source, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to know what is flushed")
    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", replace)
    changes = (
        lambda: collection.append(pack(np.eye(8)), metadata={"n": range(8)}),
        lambda: collection.delete([3]),
        lambda: collection.compact(),
    )
    for number, change in enumerate(changes, 1):
        change()
        assert len(renamed) == number
        assert str(tmp_path / "c") in flushed  # the folder, after the rename
