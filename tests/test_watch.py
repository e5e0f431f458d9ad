"""How far a bench is, on a terminal and without one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hashzoo.benches.benchmark import Event
from hashzoo.cli.watch import Watch
from hashzoo.recipe import Cell

CELL = Cell("toy", "tiny+bow", 8, 0)
OK = {
    "status": "ok",
    "reused": False,
    "seconds": {"train": 1.25, "encode": 0.25},
    "scores": {"i2t": {"map": 0.5}, "t2i": {"map": 0.25}},
}


def told(*events: tuple[str, dict], terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None)
    with Watch(console) as watch:
        for kind, content in events:
            watch(Event(kind, 2, 7, CELL, content))
    return out.getvalue()


def test_a_line_a_cell():
    lines = told(
        ("start", {}),
        ("epoch", {"epoch": 1, "likelihood": 0.69}),
        ("done", OK),
        ("done", OK | {"reused": True}),
        ("done", {"status": "failed", "reason": "no [/markup]"}),
    ).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("2/7 toy tiny+bow 8 bits seed 0: i2t 0.500  t2i 0.250  (1.5 s)")
    assert lines[1].endswith("(reused)")
    assert lines[2].endswith("failed: no [/markup]")


@pytest.mark.parametrize("last", [("done", OK), ("epoch", {"epoch": 3, "stage": "[/student]"})])
def test_a_terminal_shows_the_epoch(last):
    shown = told(("start", {}), ("epoch", {"epoch": 1, "likelihood": 0.6931}), last, terminal=True)
    assert "2/7 toy tiny+bow 8 bits seed 0" in shown
    assert "epoch 1 likelihood 0.693" in shown or "epoch 3 stage [/student]" in shown


def test_all_workers_are_in_one_display():
    out = io.StringIO()
    with Watch(Console(file=out, force_terminal=True, width=120, height=6, color_system=None)) as watch:
        watch(Event("workers", 1, 9, CELL, {"runner": "processes", "workers": 4, "cells": 9}))
        for number in (1, 2, 3, 4):
            watch(Event("start", number, 9, CELL, {}))
        watch(Event("epoch", 2, 9, CELL, {"epoch": 7, "loss": 0.25}))
        shown = watch.shown()
        watch(Event("done", 1, 9, CELL, OK))
        after = watch.shown()
    cell = "toy tiny+bow 8 bits seed 0"
    assert shown == [
        "training 9 cells by processes, 4 side by side",
        f"1/9 {cell}",
        f"2/9 {cell}: epoch 7 loss 0.25",
        "and 2 more",
    ]
    assert after[1:] == [f"2/9 {cell}: epoch 7 loss 0.25", f"3/9 {cell}", "and 1 more"]
    assert "as many side by side as fit" in told(
        ("workers", {"runner": "ray", "workers": None, "cells": 5}), ("start", {}), terminal=True
    )


def test_a_worker_that_is_lost_is_a_line():
    gone = {"reason": "ended by SIGKILL", "times": 1}
    lines = told(("start", {}), ("lost", gone), ("lost", gone | {"times": 3})).splitlines()
    assert [line.strip().partition("seed 0: ")[2] for line in lines] == [
        "its worker was lost (ended by SIGKILL); trained again",
        "its worker was lost (ended by SIGKILL); given up",
    ]
