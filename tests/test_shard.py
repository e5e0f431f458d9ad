"""Shares of a bench: together they are all of it, each says which it is, and all of it finds what they trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import SMALL

from hashzoo.benches.benchmark import bench
from hashzoo.benches.shard import Shard
from hashzoo.errors import HashzooError
from hashzoo.report import make_table

ASKED = ("--method", "toy", "--dataset", "scenes", "--encoders", "tiny+bow", *(f"--set={text}" for text in SMALL))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2", "a share is written as 2/8, the second of eight, not '2'"),
        ("a/b", "not 'a/b'"),
        ("-1/4", "not '-1/4'"),
        ("0/8", "shares of 8 are 1/8 to 8/8, not '0/8'; an array that starts at 0 adds 1"),
        ("9/8", "shares of 8 are 1/8 to 8/8"),
        ("1/0", "not '1/0'"),
    ],
)
def test_what_is_no_share(text, said, tiny, sentence):
    assert said in sentence("bench", *ASKED, f"--shard={text}")
    assert not Path("runs").exists()


def test_shares_are_all_cells_and_the_whole_finds_them(tiny, command):
    sizes, keys = [], []
    for number in (1, 2, 3):
        shard = ("--shard", f"{number}/3", "--bits", "8,16", "--seeds", "0,1", "--runner", "local")
        told = json.loads(command("bench", *ASKED, *shard, "--json").out)
        assert told["track"]["shard"] == {"number": number, "of": 3, "cells": len(told["results"]), "of_cells": 8}
        assert not any(result["reused"] for result in told["results"])
        sizes.append(len(told["results"]))
        keys += [result["key"] for result in told["results"]]
    assert sorted(sizes) == [2, 3, 3]
    whole = json.loads(command("bench", *ASKED, "--bits", "8,16", "--seeds", "0,1", "--json").out)
    assert "shard" not in whole["track"]
    assert all(result["reused"] for result in whole["results"])
    assert sorted(keys) == sorted(result["key"] for result in whole["results"])
    shown = command("bench", *ASKED, "--bits", "8,16", "--seeds", "0,1", "--shard", "2/3")
    assert "mAP on scenes, share 2 of 3, tiny+bow" in shown.out
    assert f"! share 2 of 3: {sizes[1]} of 8 cells of the bench; when all" in " ".join(shown.out.split())
    alone = bench(["toy"], [8, 16], dataset="scenes", encoders="tiny+bow", settings=SMALL, seeds=[0, 1], runs="alone")
    assert [row.cells for row in make_table(alone).rows] == [row.cells for row in make_table(whole).rows]


def test_a_share_depends_on_what_was_typed_alone(tiny):
    cells = {}
    for runs in ("here", "there"):
        asked = {"dataset": "scenes", "encoders": "tiny+bow", "settings": SMALL, "runs": runs, "runner": "local"}
        found = bench(["toy"], [8, 16], **asked, shard="1/2")
        again = bench(["toy"], [8, 16], **asked, shard="1/2")
        assert all(result["reused"] for result in again["results"])
        cells[runs] = [(result["method"], result["bits"]) for result in found["results"]]
    assert cells["here"] == cells["there"]


def test_the_same_run_in_other_words_is_in_one_share(tiny):
    asked = {"dataset": "scenes", "encoders": "tiny+bow", "settings": SMALL}
    keys = []
    for number in (1, 2, 3, 4):
        words = {"sweep": {"trainer.lr": ["0.01", "1e-2"]}, "shard": f"{number}/4"}
        found = bench(["toy"], [8], **asked, **words)
        keys.append([result["key"] for item in found.get("tracks", [found]) for result in item["results"]])
    assert sorted(map(len, keys)) == [0, 0, 1, 1]


def test_a_share_without_a_cell_says_so(tiny, command):
    told = command("bench", *ASKED, "--bits", "8", "--shard", "9/9")
    assert (told.code, told.out) == (0, "")
    assert "this share holds no cell" in told.err


def test_shares_of_folds_are_joined(tiny):
    found = bench(["toy"], [8], dataset="scenes", encoders="tiny+bow", settings=SMALL, folds=2, shard="1/2")
    assert {json.dumps(item["track"]["shard"]) for item in found.get("tracks", [found])} == {
        json.dumps({"number": 1, "of": 2, "cells": 2, "of_cells": 4})
    }


def test_shares_are_as_even_as_can_be():
    from types import SimpleNamespace

    plan = SimpleNamespace(content=lambda cell: str(cell))
    tasks = [
        (0, SimpleNamespace(method="m", encoders="e", bits=bits, seed=seed, swept=()))
        for bits in (16, 32, 64, 128)
        for seed in range(8)
    ]
    shares = [Shard(number, 4).of_tasks([plan], tasks) for number in (1, 2, 3, 4)]
    assert sorted(task for share in shares for task in share) == list(range(32))
    assert {len(share) for share in shares} == {8}
    assert all(len({tasks[task][1].bits for task in share}) > 1 for share in shares)
    with pytest.raises(HashzooError):
        Shard.parse("1/x")
