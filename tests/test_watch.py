"""How far a bench is, on a terminal and without one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hashzoo.benchmark import Event
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


def test_cells_side_by_side_are_counted():
    shown = told(("start", {"jobs": 2, "cells": 5}), ("done", OK), terminal=True)
    assert "training 5 cells, 2 side by side" in shown
