"""Pivots: the values of a setting, defaults too, and never runs that differ in anything else."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL

from hashzoo.benches.benchmark import bench
from hashzoo.errors import HashzooError
from hashzoo.report import collect, pivot
from hashzoo.storage.files import read_json, write_json


def run(methods=("toy",), bits=(8,), *, settings=(), **options):
    asked = {"dataset": "scenes", "encoders": "tiny+bow", "settings": [*SMALL, *settings], "threads": 1, **options}
    return bench(methods, bits, **asked)


def scores_of(results, **wanted):
    """The mean of both directions of each run that has these settings."""
    return [
        (r["scores"]["i2t"]["map"] + r["scores"]["t2i"]["map"]) / 2
        for r in results
        if r["method"] == "toy" and all(r["settings"].get(k.replace("__", ".")) == v for k, v in wanted.items())
    ]


@pytest.fixture
def swept(tiny) -> list[dict]:
    """Two seeds of two values; a third value is the method's own, of one seed, and was never typed."""
    results = run(sweep={"trainer.epochs": [1, 4]}, seeds=(0, 1), bits=(8, 16))["results"]
    return results + run(bits=(8,))["results"]


def test_rows_are_values_and_columns_code_lengths(swept):
    (table,) = pivot(collect(Path("runs")), ["trainer.epochs"])
    assert table.names == ("trainer.epochs", "bits")
    assert (table.rows, table.columns) == ((1, 2, 4), (8, 16))
    assert table.counts.tolist() == [[2, 2], [1, 0], [2, 2]]
    values = scores_of([r for r in swept if r["bits"] == 8], trainer__epochs=4)
    assert table.means[2, 0] == pytest.approx(np.mean(values))
    assert table.deviations[2, 0] == pytest.approx(np.std(values, ddof=1))
    # The one that was left at the method's value, and has no deviation.
    (alone,) = scores_of([r for r in swept if not r["settings"]])
    assert table.means[1, 0] == pytest.approx(alone)
    assert np.isnan(table.deviations[1, 0])
    assert np.isnan(table.means[1, 1])
    assert table.title == "mAP, mean of both directions, on scenes, toy, tiny+bow"
    assert table.notes == (
        "scores are of query rows: to choose a value, use --folds, not this table",
        "cells are of 1 to 2 runs",
    )
    i2t, t2i = (pivot(collect(Path("runs")), ["trainer.epochs"], one)[0].means for one in ("i2t", "t2i"))
    np.testing.assert_allclose((i2t + t2i) / 2, table.means)


def test_two_settings_have_a_table_for_each_code_length_and_method(swept):
    run(sweep={"trainer.epochs": [1, 4], "trainer.lr": [0.01]}, bits=(8,))
    tables = pivot(collect(Path("runs")), ["trainer.lr", "trainer.epochs"])
    assert sorted(table.title.rpartition(", ")[2] for table in tables) == ["16 bits", "8 bits"]
    (table,) = [table for table in tables if table.title.endswith(", 8 bits")]
    assert (table.rows, table.columns) == ((0.001, 0.01), (1, 2, 4))
    assert table.counts.tolist() == [[2, 1, 2], [1, 0, 1]]


def test_runs_that_differ_in_anything_else_stand_in_tables_of_their_own(swept):
    run(sweep={"trainer.epochs": [1, 4]}, settings=["trainer.lr=0.01"])
    run(sweep={"trainer.epochs": [1, 4]}, settings=["dataset.seed=1"])
    path = next(Path("runs").glob("*/toy/*-s1-*/run.json"))
    run_of_other_source = path.parent.with_name(path.parent.name.replace("-s1-", "-s2-"))
    tracks = collect(Path("runs"))
    tables = pivot(tracks, ["trainer.epochs"])
    assert [(len(table.tracks), table.counts.sum()) for table in tables].count((1, 9)) == 1
    assert len(tables) == 3
    shutil.copytree(path.parent, run_of_other_source)
    stored = read_json(run_of_other_source / "run.json")
    stored["plugins"]["tiny"]["digest"] = "another"
    write_json(run_of_other_source / "run.json", stored)
    result = read_json(run_of_other_source / "result.json") | {"run": str(run_of_other_source)}
    tracks[0]["results"].append(result)
    assert len(pivot(tracks, ["trainer.epochs"])) == 4


def test_tracks_stand_side_by_side_only_along_what_makes_them_different(tiny):
    run(sweep={"train_data.label_noise": [0, 0.5], "train_data.seed": [0, 1]}, folds=2)
    tracks = collect(Path("runs"))
    (table, floor) = pivot(tracks, ["train_data.label_noise"])
    assert (table.method, floor.method) == ("toy", "random")
    assert (table.rows, table.columns, table.counts.tolist()) == ((0.0, 0.5), (8,), [[2], [4]])
    assert len(table.tracks) == 6
    assert "runs of several tracks stand here side by side: they differ in train_data.label_noise alone" in table.notes
    assert "means are also over train_data.seed 0, 1" in table.notes
    assert "deviations are over folds" in table.notes
    assert "2-fold cross-validation" in table.title
    # Along another setting the noise keeps them apart.
    assert len([one for one in pivot(tracks, ["trainer.epochs"]) if one.method == "toy"]) == 2
    (seeds,) = [one for one in pivot(tracks, ["train_data.seed"]) if one.method == "toy" and "noise" in one.title]
    assert (seeds.rows, seeds.counts.tolist()) == ((0, 1), [[2], [2]])


def test_settings_of_a_data_set_are_values_too(tiny):
    small = [setting for setting in SMALL if "difficulty" not in setting]
    asked = {"dataset": "scenes", "encoders": "tiny+bow", "settings": small, "threads": 1}
    bench(["random"], [8], **asked, sweep={"dataset.difficulty": [0, 1]})
    bench(["random"], [8], **asked)
    (table,) = pivot(collect(Path("runs")), ["dataset.difficulty"])
    assert (table.rows, table.counts.tolist()) == ((0.0, 0.5, 1.0), [[1], [1], [1]])
    assert len(table.tracks) == 3


def test_every_format(swept, command):
    shown = command("report", "--pivot", "trainer.epochs")
    assert shown.code == 0, shown
    assert "mAP, mean of both directions, on scenes, toy, tiny+bow" in shown.out
    lines = command("report", "--pivot", "trainer.epochs", "--md").out.splitlines()
    assert lines[2] == "| trainer.epochs | 8 bits | 16 bits |"
    assert lines[5].startswith("| 2 | .")
    assert lines[5].endswith(" |  |")
    tex = command("report", "--pivot", "trainer.epochs", "--latex").out
    assert r"trainer.epochs & 8 bits & 16 bits \\" in tex
    assert r"$\pm$" in tex
    (found,) = json.loads(command("report", "--pivot", "trainer.epochs", "--json").out)["pivots"]
    assert found["rows"] == [1, 2, 4]
    assert found["means"][1][1] is None
    assert found["counts"] == [[2, 2], [1, 0], [2, 2]]
    lines = list(csv.DictReader(io.StringIO(command("report", "--pivot", "trainer.epochs", "--csv").out)))
    assert [(line["trainer.epochs"], line["bits"], line["runs"]) for line in lines] == [
        *(("1", "8", "2"), ("1", "16", "2"), ("2", "8", "1"), ("4", "8", "2"), ("4", "16", "2"))
    ]
    assert float(lines[0]["mean"]) == found["means"][0][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pivot", "trainer.epoch"), "no run has the setting 'trainer.epoch'; did you mean trainer.epochs?"),
        (("--pivot", "trainer.lr,trainer.lr"), "a pivot is over one setting, or two different ones"),
        (("--pivot", "a,b,c"), "a pivot is over one setting, or two different ones"),
        (("--pivot", "trainer.lr", "--measure", "map"), "the measure is mean, i2t, t2i, not 'map'"),
        (("--measure", "i2t"), "--measure is of a pivot; add --pivot"),
        (("--pivot", "trainer.lr", "--compare", "a", "b"), "--compare and --pivot exclude each other"),
    ],
)
def test_pivots_that_cannot_be_made(arguments, said, tiny, sentence):
    run()
    assert said in sentence("report", *arguments)


def test_runs_that_failed_are_said_and_left_out(swept):
    (item,) = collect(Path("runs"))
    for result in item["results"][:2]:
        result["status"] = "failed"
    (table,) = pivot([item], ["trainer.epochs"])
    assert table.counts.sum() == 7
    assert "2 runs failed and are left out" in table.notes
    for result in item["results"]:
        result["status"] = "failed"
    with pytest.raises(HashzooError, match="no finished run has both trainer.epochs and bits"):
        pivot([item], ["trainer.epochs"])
