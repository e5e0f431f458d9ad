"""Figures of a report: what is drawn are the evaluator's numbers, in files that are the same each time."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL

from hashzoo.benchmark import bench
from hashzoo.codes import load_codes
from hashzoo.errors import HashzooError
from hashzoo.evaluator import distance_counts
from hashzoo.report import collect
from hashzoo.track import Track

pytest.importorskip("matplotlib", reason="install hashzoo[figures]")
from hashzoo.report.figures import draw
from hashzoo.report.figures.drawing import file_names
from hashzoo.report.figures.health import pair_correlations
from hashzoo.report.figures.training import read_history

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
        assert [len(panel.lines) for panel in panels.values()] == [3, 3, 2, 2], name
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


def test_distances_are_counted_by_the_evaluator(runs):
    (item,) = collect(runs)
    drawing = next(d for d in draw(item) if d.name == "distances-16")
    toy = next(r for r in item["results"] if (r["method"], r["bits"]) == ("toy", 16))
    codes, track = load_codes(Path(toy["run"]) / "codes.npz"), Track.load(Path(toy["run"]).parents[1])
    panels = {panel.get_title(loc="left"): panel for panel in drawing.figure.axes}
    assert list(panels) == [f"{row}, {way}" for row in ("fragile", "toy") for way in ("image to text", "text to image")]
    pair = codes["text_query"], codes["image_database"]
    counts = distance_counts(*pair, track.query_labels, track.database_labels)
    drawn = [patch.get_data().values for patch in panels["toy, text to image"].patches]
    for values, pairs in zip(drawn, counts[::-1], strict=True):
        np.testing.assert_allclose(values, pairs / pairs.sum())
        assert values.sum() == pytest.approx(1)
    # The same pass as the evaluator's own: precision within the largest radius is the share of relevant pairs.
    assert counts[1].sum() / counts.sum() == pytest.approx(toy["scores"]["t2i"]["relevant_share"])


def test_bits_are_described_as_the_health_of_a_run(runs):
    (item,) = collect(runs)
    drawings = {drawing.name: drawing for drawing in draw(item)}
    toy = next(r for r in item["results"] if (r["method"], r["bits"]) == ("toy", 32))
    codes = load_codes(Path(toy["run"]) / "codes.npz")["image_database"]
    panel = next(p for p in drawings["bit-balance"].figure.axes if p.get_title(loc="left") == "image codes, 32 bits")
    shares = panel.lines[-1].get_ydata()
    assert np.mean(2 * np.minimum(shares, 1 - shares)) == pytest.approx(toy["health"]["image"]["balance"])
    pairs = pair_correlations(codes.unpack())
    assert pairs.mean() == pytest.approx(toy["health"]["image"]["bit_correlation"], rel=1e-5)
    panel = next(
        p for p in drawings["bit-correlation"].figure.axes if p.get_title(loc="left") == "image codes, 32 bits"
    )
    at_zero, *_, at_one = panel.lines[-1].get_ydata()
    assert (at_zero, at_one) == (np.mean(pairs > 0), 0)


def test_a_history_puts_stages_one_after_the_other():
    history = read_history(
        [
            {"stage": "teacher", "epoch": 1, "likelihood": 3.0},
            {"stage": "teacher", "epoch": 2, "likelihood": 2.0},
            {"stage": "teacher", "image_to_label_map": 0.8},
            {"stage": "student", "epoch": 1, "likelihood": float("nan"), "note": "text", "done": True},
            {"stage": "student", "epoch": 2, "likelihood": 1.0},
        ]
    )
    assert history.stages == [("teacher", 0, 2), ("student", 2, 4)]
    assert dict(history.measured) == {"image_to_label_map": [(2, 0.8)]}
    assert list(history.terms) == ["likelihood"]
    np.testing.assert_array_equal(history.terms["likelihood"], [(1, 3), (2, 2), (3, np.nan), (4, 1)])


def test_the_maps_are_those_of_the_table(runs):
    (item,) = collect(runs)
    drawing = next(d for d in draw(item) if d.name == "map")
    panel = drawing.figure.axes[0]
    toy = [r["scores"]["i2t"]["map"] for r in item["results"] if r["method"] == "toy"]
    assert any(np.array_equal(line.get_ydata(), toy) for line in panel.lines)
    floor = item["results"][0]["floor"]
    assert any(set(line.get_ydata()) == {floor} for line in panel.lines)


def test_file_names_are_readable_and_differ():
    assert list(file_names(["soda", "soda*", "Soda lr=1e-3", "/", "x" * 99]).values()) == [
        *("soda", "soda-2", "soda-lr-1e-3", "row", "x" * 60)
    ]
