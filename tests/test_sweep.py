"""Swept settings: every combination once, methods without the setting once, several tracks in one bench."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import SMALL

from hashzoo.benches.benchmark import Event, bench
from hashzoo.benches.sweep import axes_of, cells_of, parse_sweep
from hashzoo.errors import HashzooError
from hashzoo.report import collect
from hashzoo.settings import text_of
from hashzoo.storage.files import read_json

OPTIONS = ("--dataset", "scenes", "--encoders", "tiny+bow", "--bits", "8", "--threads", "1", "--jobs", "1")


def run(methods=("toy",), bits=(8,), *, settings=(), **options):
    asked = {"dataset": "scenes", "encoders": "tiny+bow", "settings": [*SMALL, *settings], "threads": 1, **options}
    return bench(methods, bits, **asked)


def rows_of(item):
    return [(r["method"], r["settings"], r["reused"]) for r in item["results"]]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("trainer.alpha=0.01, 0.1,1", ("0.01", "0.1", "1")),
        ('trainer.prompt="An image of {}, drawn.","{}"', ("An image of {}, drawn.", "{}")),
        ('trainer.prompt="a ""b"" c",""', ('a "b" c', "")),
        ('trainer.widths="512,256", 1024', ("512,256", "1024")),
        ("trainer.prompt=it's, x=y", ("it's", "x=y")),
    ],
)
def test_values_stand_between_commas_and_in_quotes_where_they_hold_one(text, values):
    assert parse_sweep([text]) == {text.partition("=")[0]: values}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["trainer.lr"], "'trainer.lr' sweeps nothing; write it as trainer.lr=0.001,0.01"),
        (["trainer.lr=1,,2"], "has an empty value"),
        (["trainer.lr="], "has an empty value"),
        (['trainer.prompt="a, b'], "quotes in 'trainer.prompt=\"a, b' are not closed"),
        (['trainer.prompt="a" b'], "are not closed"),
        (["trainer.lr=1", "trainer.lr=2"], "trainer.lr is swept twice; give all of its values at once"),
    ],
)
def test_sweeps_that_cannot_be_read(texts, said):
    with pytest.raises(HashzooError) as refused:
        parse_sweep(texts)
    assert said in str(refused.value)


def test_values_of_python_are_those_that_are_typed():
    assert [text_of(value) for value in (True, None, 1e-5, 3, (512, 256), "a b")] == [
        *("true", "none", "1e-05", "3", "512,256", "a b")
    ]
    with pytest.raises(HashzooError, match="a setting is a number, a word, true, false or a list of them"):
        text_of({"a": 1})


def test_every_method_has_the_cells_of_the_settings_that_it_has():
    """The one that lacks a setting, or has it set for itself, has no more cells than without the sweep."""
    names = {"soda": {"trainer.lr", "trainer.alpha"}, "dcmh": {"trainer.lr"}, "random": set()}
    sweep = {"trainer.lr": ["1", "2"], "trainer.alpha": ["3", "4"], "soda.trainer.lr": ["5"]}
    settings = ["dcmh.trainer.lr=6"]
    axes = axes_of(sweep, settings, list(names))
    cells = cells_of(list(names), ["lite"], [16, 32], [0], axes, settings, lambda method, spec: names[method])
    swept = [(cell.method, cell.bits, tuple(f"{s.path}={s.text}" for s in cell.swept)) for cell in cells]
    assert swept == [
        ("soda", 16, ("trainer.alpha=3", "soda.trainer.lr=5")),
        ("soda", 32, ("trainer.alpha=3", "soda.trainer.lr=5")),
        ("soda", 16, ("trainer.alpha=4", "soda.trainer.lr=5")),
        ("soda", 32, ("trainer.alpha=4", "soda.trainer.lr=5")),
        ("dcmh", 16, ()),
        ("dcmh", 32, ()),
        ("random", 16, ()),
        ("random", 32, ()),
    ]


def test_a_swept_setting_is_a_setting(tiny):
    """Folders, keys and results are those of --set, so that the one finds the runs of the other."""
    events: list[Event] = []
    swept = run(["toy", "fragile"], sweep={"trainer.epochs": [1, 3], "trainer.lr": [0.01]}, watch=events.append)
    assert rows_of(swept) == [
        ("toy", {"trainer.epochs": 1, "trainer.lr": 0.01}, False),
        ("toy", {"trainer.epochs": 3, "trainer.lr": 0.01}, False),
        ("fragile", {}, False),
        ("random", {}, False),
    ]
    assert [(e.number, e.total) for e in events if e.kind == "done"] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {e.track for e in events} == {""}
    alone = run(settings=["trainer.epochs=3", "trainer.lr=0.01"])
    assert [r["run"] for r in alone["results"]] == [swept["results"][1]["run"], swept["results"][3]["run"]]
    assert all(r["reused"] for r in alone["results"])
    again = run(["toy", "fragile"], sweep={"trainer.lr": [0.01], "trainer.epochs": [1, 3]})
    assert all(r["reused"] for r in again["results"])
    assert [r["run"] for r in again["results"]] == [r["run"] for r in swept["results"]]


def test_a_finished_sweep_needs_no_torch(tiny, monkeypatch):
    from hashzoo.benches import plan

    run(sweep={"trainer.epochs": [1, 2]})
    monkeypatch.setattr(plan.Plan, "recipe", lambda *a: pytest.fail("a plugin was imported"))
    monkeypatch.setattr("hashzoo.benches.sweep.build", lambda *a: pytest.fail("a plugin was imported"))
    assert all(r["reused"] for r in run(sweep={"trainer.epochs": [1, 2]})["results"])


def test_what_is_asked_for_in_two_ways_is_trained_once(tiny):
    events: list[Event] = []
    outcome = run(sweep={"trainer.lr": ["0.01", "1e-2"]}, watch=events.append, fresh=True)
    assert rows_of(outcome) == [("toy", {"trainer.lr": 0.01}, False), ("random", {}, False)]
    assert {e.number: e.content["reused"] for e in events if e.kind == "done"} == {1: False, 2: True, 3: False}


def test_settings_of_the_data_make_tracks_that_share_workers(tiny):
    events: list[Event] = []
    sweep = {"trainer.epochs": [1, 2], "train_data.label_noise": [0, 0.5], "train_data.seed": [0, 1]}
    outcome = run(sweep=sweep, jobs=2, watch=events.append)
    assert set(outcome) == {"schema", "tracks"}
    # Without noise the seed of the noise has no meaning: that track is there once.
    settings = [item["track"].get("training", {}).get("settings") for item in outcome["tracks"]]
    assert settings == [None, {"label_noise": 0.5, "seed": 0}, {"label_noise": 0.5, "seed": 1}]
    assert [len(item["results"]) for item in outcome["tracks"]] == [3, 3, 3]
    assert events[0].content == {"runner": "processes", "workers": 2, "cells": 9}
    assert sorted(e.number for e in events if e.kind == "done") == list(range(1, 10))
    assert {e.track for e in events} == {
        "scenes train_data.label_noise=0",
        "scenes train_data.label_noise=0.5 train_data.seed=0",
        "scenes train_data.label_noise=0.5 train_data.seed=1",
    }
    plain = run(settings=["trainer.epochs=2"])
    assert all(r["reused"] for r in plain["results"])
    assert plain["track"] == outcome["tracks"][0]["track"]
    assert len(collect(Path("runs"))) == 3


def test_settings_of_a_data_set_stand_in_the_title_and_in_the_run(tiny, command):
    small = [word for setting in SMALL if "pixels" not in setting for word in ("--set", setting)]
    shown = command("bench", *OPTIONS, *small, "--method", "toy", "--sweep", "dataset.pixels=16,17")
    assert shown.code == 0, shown
    assert "mAP on scenes, pixels 16, tiny+bow" in shown.out
    assert "mAP on scenes, pixels 17, tiny+bow" in shown.out
    assert "4/4 random tiny+bow 8 bits seed 0 (scenes dataset.pixels=17): i2t" in shown.err
    about = [read_json(path) for path in sorted(Path("runs").glob("*/toy/*/run.json"))]
    assert {one["dataset_settings"]["dataset.pixels"]["value"] for one in about} == {16, 17}
    assert {one["dataset_settings"]["dataset.val"]["origin"] for one in about} == {"default"}


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"trainer.epoch": [1]}, "no method asked for has the setting 'trainer.epoch'; did you mean trainer.epochs?"),
        ({"toy.trainer.epoch": [1]}, "'toy' has no setting 'trainer.epoch'; did you mean trainer.epochs?"),
        ({"fragile.trainer.bits": [1]}, "for a method that was not asked for"),
        ({"trainr.epochs": [1]}, "'trainr' in 'trainr.epochs=1' is no section; did you mean trainer?"),
        ({"trainer.epochs": []}, "trainer.epochs is swept over no value"),
        ({"trainer.epochs": [1, "1"]}, "trainer.epochs is swept over 1 twice"),
        ({"trainer.epochs": [1, "many"]}, "trainer.epochs must be a whole number, not 'many'"),
        ({"dataset.pairs": [120]}, "dataset.pairs is set and swept; leave one of the two out"),
        ({"dataset.pears": [100]}, "did you mean dataset.pairs?"),
        ({"train_data.size": [0.5, 2000]}, "train_data.size=2000 is more than 'scenes' has"),
    ],
)
def test_a_sweep_that_is_refused_writes_nothing(sweep, said, tiny):
    with pytest.raises(HashzooError) as refused:
        run(sweep=sweep)
    assert said in str(refused.value)
    assert refused.value.exit_code == 2
    assert not Path("runs").exists()
