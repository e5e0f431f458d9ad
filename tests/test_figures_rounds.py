"""Figures of an online track: what is drawn are the rounds of the results, one point a round."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import inside

pytest.importorskip("matplotlib", reason="install hashzoo[figures]")
from hashzoo.report.figures import looks
from hashzoo.report.figures.material import Material
from hashzoo.report.figures.rounds import draw_rounds
from hashzoo.report.figures.style import house_style

ROWS = (25, 50, 80)


def result(method, bits, seed, start, online=True, seconds=0.5, **changes):
    """A finished run of which mAP rises by .1 a round; image to text is at `start`, text to image .2 above."""
    rounds = [
        {"round": n, "rows": rows, "queries": 9, "map": {"i2t": start + n / 10, "t2i": start + n / 10 + 0.2}}
        | {"floor": 0.3 - n / 100}
        | ({"seconds": {"train": seconds * n, "encode": 0.1}, "state_bytes": 1_000_000 * n} if online else {})
        for n, rows in enumerate(ROWS, 1)
    ]
    return {
        **{"method": method, "encoders": {"image": "a", "text": "b"}, "settings": {}, "bits": bits, "seed": seed},
        **{"status": "ok", "trained": "online" if online else "offline", "rounds": rounds, "floor": 0.27, "run": ""},
        **changes,
    }


def drawings_of(results, stream=True):
    track = {"id": "toys-online-1", "dataset": "toys", "counts": {"database": 80}, "training": {}}
    if stream:
        track["stream"] = {"chunk": 25, "by": "rows", "order_seed": 0, "database_codes": "method", "rows": list(ROWS)}
    item = {"track": track, "results": results}
    with house_style():
        return list(draw_rounds(Material(item, looks([item]))))


def panels_of(drawing):
    return {panel.get_title(loc="left"): panel for panel in drawing.figure.axes}


RESULTS = [
    *(result("grows", bits, seed, 0.1 + bits / 100 + seed / 10) for bits in (8, 16) for seed in (0, 1)),
    *(result("knows", bits, 0, 0.5, online=False) for bits in (8, 16)),
    *(result("random", bits, 0, 0.0, online=False) for bits in (8, 16)),
]


def test_a_line_is_the_mean_over_seeds_round_after_round():
    maps, _ = drawings_of(RESULTS)
    panels = panels_of(maps)
    assert list(panels) == [f"{way}, {bits} bits" for bits in (8, 16) for way in ("image to text", "text to image")]
    grows, knows, chance = panels["text to image, 16 bits"].lines
    assert (list(grows.get_xdata()), list(knows.get_xdata())) == ([*ROWS], [*ROWS])
    np.testing.assert_allclose(grows.get_ydata(), np.array([0.1, 0.2, 0.3]) + 0.2 + 0.1 + 0.16 + 0.05)
    np.testing.assert_allclose(knows.get_ydata(), [0.8, 0.9, 1.0])
    np.testing.assert_allclose(chance.get_ydata(), [0.29, 0.28, 0.27])


def test_what_was_trained_once_has_no_markers_and_no_costs():
    maps, costs = drawings_of(RESULTS)
    grows, knows, _ = panels_of(maps)["image to text, 8 bits"].lines
    assert grows.get_marker() != knows.get_marker() == ""
    words = [text.get_text() for text in maps.figure.legends[0].get_texts()]
    assert words == ["grows", "knows (offline)", "chance, exact"]
    assert "Without markers: trained once, on the rows of all chunks. Means over 2 seeds." in maps.caption
    assert "grows .410 at 25 to .610 at 80 rows and knows (offline) .600 at 25" in maps.alt
    assert [text.get_text() for text in costs.figure.legends[0].get_texts()] == ["grows"]


def test_costs_are_seconds_of_training_and_what_is_kept():
    _, costs = drawings_of(RESULTS)
    panels = panels_of(costs)
    assert list(panels) == [f"{cost}, {bits} bits" for bits in (8, 16) for cost in ("seconds a round", "MB kept")]
    np.testing.assert_allclose(panels["seconds a round, 8 bits"].lines[0].get_ydata(), [0.5, 1, 1.5])
    np.testing.assert_allclose(panels["MB kept, 16 bits"].lines[0].get_ydata(), [1, 2, 3])
    assert panels["MB kept, 8 bits"].get_yscale() == "linear"
    assert panels["MB kept, 8 bits"].get_ylim()[0] == 0
    assert "MB kept: grows from 1 in the first round to 3 in the last." in costs.alt


def test_costs_that_differ_by_much_are_on_a_logarithmic_axis():
    _, costs = drawings_of([*RESULTS, result("slow", 16, 0, 0.2, seconds=90)])
    for bits in (8, 16):
        assert panels_of(costs)[f"seconds a round, {bits} bits"].get_yscale() == "log"
    costs.figure.draw_without_rendering()
    ticks = [tick.get_text() for tick in panels_of(costs)["seconds a round, 16 bits"].get_yticklabels()]
    assert {"1", "10", "100"} <= set(ticks)


def test_a_round_without_queries_has_no_point():
    early = result("grows", 8, 0, 0.1)
    del early["rounds"][0]["map"], early["rounds"][0]["floor"]
    maps, _ = drawings_of([early])
    line, chance = panels_of(maps)["image to text, 8 bits"].lines
    assert list(line.get_xdata()) == list(chance.get_xdata()) == [50, 80]


def test_where_nothing_learns_online_there_are_no_costs_and_elsewhere_nothing():
    assert [one.name for one in drawings_of(RESULTS)] == ["rounds", "rounds-cost"]
    assert [one.name for one in drawings_of(RESULTS[4:])] == ["rounds"]
    assert drawings_of(RESULTS, stream=False) == []


def test_no_words_are_cut_and_titles_name_the_track():
    for drawing in drawings_of([*RESULTS, result("a-method-with-a-name-that-is-long-for-a-legend", 8, 0, 0.2)]):
        assert inside(drawing)
        assert drawing.title.endswith(", toys, online in chunks of 25")
        assert drawing.alt.endswith(".")
