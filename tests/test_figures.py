"""Figures of a report: what is drawn are the evaluator's numbers, in files that are the same each time."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL

from hashzoo.benchmark import bench
from hashzoo.errors import HashzooError
from hashzoo.report import collect

pytest.importorskip("matplotlib", reason="install hashzoo[figures]")
from hashzoo.report.figures import draw

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def runs(tiny) -> Path:
    bench(["toy", "fragile"], [16, 32], dataset="scenes", encoders="tiny+bow", settings=SMALL, threads=1)
    return Path("runs")


def named(runs: Path) -> dict:
    (item,) = collect(runs)
    return {drawing.name: drawing for drawing in draw(item)}


def test_the_curves_are_the_evaluators(runs):
    (item,) = collect(runs)
    drawings = {drawing.name: drawing for drawing in draw(item)}
    toy = next(r for r in item["results"] if (r["method"], r["bits"]) == ("toy", 32))
    for name, metric, x, y in (
        ("precision-recall-rank", "pr_curve_rank", "recall_macro", "precision_macro"),
        ("precision-recall-radius", "pr_curve_radius", "recall_macro", "precision_macro"),
    ):
        panels = {panel.get_title(loc="left"): panel for panel in drawings[name].figure.axes}
        assert list(panels) == [
            *("image to text, 16 bits", "text to image, 16 bits", "image to text, 32 bits", "text to image, 32 bits")
        ]
        # fragile and toy have 16 bits, toy alone 32; and the line of chance.
        assert [len(panel.lines) for panel in panels.values()] == [3, 3, 2, 2]
        for direction, title in (("i2t", "image to text, 32 bits"), ("t2i", "text to image, 32 bits")):
            line, chance = panels[title].lines
            stored = toy["scores"][direction]
            np.testing.assert_array_equal(line.get_xdata(), stored[metric][x])
            np.testing.assert_array_equal(line.get_ydata(), stored[metric][y])
            assert set(chance.get_ydata()) == {stored["relevant_share"]}


def test_a_picture_says_in_words_what_it_shows(runs):
    for drawing in named(runs).values():
        picture = ElementTree.fromstring(drawing.svg())
        assert picture.tag == f"{SVG}svg"
        assert picture.find(f"{SVG}title").text == drawing.title
        assert picture.find(f"{SVG}desc").text == drawing.alt
        assert drawing.alt in picture.get("aria-label")
        assert drawing.caption.endswith(".")


def test_equal_runs_give_equal_pictures(runs):
    first, second = named(runs), named(runs)
    assert list(first) == list(second)
    for name, drawing in first.items():
        assert drawing.svg() == drawing.svg() == second[name].svg()


def test_a_page_may_set_the_colours(runs):
    drawing = named(runs)["precision-recall-rank"]
    light, dark, css = (drawing.svg(theme) for theme in ("light", "dark", "css"))
    assert "#1b1f24" in light
    assert "#1b1f24" not in dark
    assert "var(--figure-ink, #1b1f24)" in css
    assert "var(--figure-series-1, #0650f3)" in css
    with pytest.raises(HashzooError, match="there is no theme 'sepia'; choose from: css, dark, light"):
        drawing.svg("sepia")
