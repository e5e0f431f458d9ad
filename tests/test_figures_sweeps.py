"""Figures of sweeps: the numbers of a pivot, as lines or as a heat map."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import inside

from hashzoo.report.pivot import Pivot

pytest.importorskip("matplotlib", reason="install hashzoo[figures]")
from hashzoo.report.figures.style import HEAT
from hashzoo.report.figures.sweeps import draw_sweeps


def pivot_of(names, rows, columns, means, deviations=None, tracks=("toys-1",)) -> Pivot:
    means = np.array(means, dtype=float)
    deviations = np.full(means.shape, np.nan) if deviations is None else np.array(deviations, dtype=float)
    counts = np.isfinite(means).astype(np.int64)
    title = "mAP, mean of both directions, on toys, soda, lite0+minilm"
    notes = ("scores are of query rows: to choose a value, use --folds, not this table",)
    return Pivot(title, "soda", "a+b", names, rows, columns, means, deviations, counts, "mean", tracks, notes)


LINES = pivot_of(
    *(("trainer.lr", "bits"), (1e-4, 1e-3, 1e-2), (16, 32)),
    [[0.4, 0.5], [0.55, np.nan], [0.45, 0.6]],
    [[0.01, 0.02], [np.nan, np.nan], [0.03, 0.01]],
)
CELLS = pivot_of(
    *(("trainer.alpha", "trainer.prompt"), (0.1, 1.0), (None, "a $x$ of {}, and much more than fits", "b")),
    [[0.4, 0.5, 0.47], [0.55, np.nan, 0.42]],
    tracks=("toys-1", "toys-2"),
)


def test_one_setting_is_a_line_a_code_length():
    (drawing,) = draw_sweeps([LINES])
    (panel,) = drawing.figure.axes
    short, long = panel.lines
    np.testing.assert_array_equal(short.get_xydata(), [[1e-4, 0.4], [1e-3, 0.55], [1e-2, 0.45]])
    np.testing.assert_array_equal(long.get_xydata(), [[1e-4, 0.5], [1e-2, 0.6]])
    bars = panel.collections[0].get_segments()
    np.testing.assert_allclose([bars[0], bars[-1]], [[[1e-4, 0.39], [1e-4, 0.41]], [[1e-2, 0.42], [1e-2, 0.48]]])
    assert panel.get_xscale() == "log"
    assert (drawing.name, drawing.track) == ("sweep-soda-trainer.lr-bits-1", "toys-1")
    assert drawing.alt.endswith("from .400 to .600, highest at trainer.lr 0.01, bits 32.")
    assert drawing.caption.startswith("Bars: one standard deviation up and down. Scores are of query rows")
    assert inside(drawing)


def test_two_settings_are_a_heat_map_with_its_numbers():
    (drawing,) = draw_sweeps([CELLS])
    (panel,) = drawing.figure.axes
    cells = {(patch.get_x() + 0.5, patch.get_y() + 0.5): patch for patch in panel.patches}
    assert set(cells) == {(0, 0), (1, 0), (2, 0), (0, 1), (2, 1)}
    assert {text.get_text(): text.get_position() for text in panel.texts} == {
        **{".400": (0, 0), ".500": (1, 0), ".470": (2, 0), ".550": (0, 1), ".420": (2, 1)}
    }
    from matplotlib.colors import to_hex

    assert to_hex(cells[0, 0].get_facecolor()) == HEAT[0]
    assert to_hex(cells[0, 1].get_facecolor()) == HEAT[-1]
    assert [place for place, cell in cells.items() if cell.get_linewidth()] == [(0, 1)]
    assert drawing.track == "sweeps"
    assert "highest at trainer.alpha 1.0, trainer.prompt" in drawing.alt
    assert inside(drawing)


def test_a_sweep_of_one_value_is_drawn():
    for pivot in (pivot_of(("a", "bits"), ("x",), (16,), [[0.5]]), pivot_of(("a", "b"), (1,), (True,), [[0.5]])):
        (drawing,) = draw_sweeps([pivot])
        assert inside(drawing)
        assert drawing.svg() == drawing.svg()


def test_pivots_of_one_setting_have_files_of_their_own():
    assert len({drawing.name for drawing in draw_sweeps([LINES, LINES])}) == 2


@pytest.mark.parametrize("option", ["--json", "--latex"])
def test_a_plot_is_no_table(option, sentence):
    assert "--figures and --plot draw and print" in sentence("report", "--plot", "trainer.lr", option)
