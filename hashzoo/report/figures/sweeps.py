"""What a sweep shows: lines over the values of one setting, a heat map over those of two."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo.report.figures.drawing import Drawing, file_names
from hashzoo.report.figures.panels import finished, legend, listed, panels
from hashzoo.report.figures.style import DASHES, HEAT, LIGHT, MARKERS, SERIES, house_style
from hashzoo.report.pivot import BITS, Pivot
from hashzoo.report.table import score
from hashzoo.settings import text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECADES = 1.2  # from which range of a setting on, in powers of ten, its axis is logarithmic
NUMBERED_CELLS = 150  # a heat map of more cells has no room for numbers
LABEL_CHARACTERS = 14  # of a value beside a heat map, on one line


def draw_sweeps(pivots: Sequence[Pivot]) -> list[Drawing]:
    """A drawing a pivot: lines where one of its names is the code length, else a heat map."""
    names = file_names([f"sweep-{one.method}-{'-'.join(one.names)}-{number}" for number, one in enumerate(pivots, 1)])
    with house_style():
        return [_draw(pivot, name) for pivot, name in zip(pivots, names.values(), strict=True)]


def _draw(pivot: Pivot, name: str) -> Drawing:
    lines = pivot.names[1] == BITS
    figure = (_lines if lines else _heat_map)(pivot)
    where = np.unravel_index(np.nanargmax(pivot.means), pivot.means.shape)
    best = ", ".join(
        f"{n} {text_of(v[i])}" for n, v, i in zip(pivot.names, (pivot.rows, pivot.columns), where, strict=True)
    )
    alt = (
        f"{'Line chart' if lines else 'Heat map'} of mAP over {listed(pivot.names)}: from "
        f"{score(np.nanmin(pivot.means))} to {score(np.nanmax(pivot.means))}, highest at {best}."
    )
    said = [f"{note[0].upper()}{note[1:]}." for note in pivot.notes]
    if np.isfinite(pivot.deviations).any():
        said.insert(0, "Bars: one standard deviation up and down." if lines else "Means over seeds or folds.")
    if not lines:
        said.insert(0, "Framed: the highest. The darker, the higher.")
    return Drawing(
        name, pivot.tracks[0] if len(pivot.tracks) == 1 else "sweeps", pivot.title, alt, " ".join(said), figure
    )


def _lines(pivot: Pivot) -> Figure:
    """A line a code length."""
    figure, axes = panels(1, 1, pivot.title, pivot.names[0], "mAP", height=2.6)
    panel = axes[0, 0]
    x = _along(panel, pivot.rows)
    samples = []
    for number, bits in enumerate(pivot.columns):
        colour, means, deviations = SERIES[number % len(SERIES)], pivot.means[:, number], pivot.deviations[:, number]
        style: dict[str, Any] = {"color": colour, "linestyle": DASHES[number % len(DASHES)]}
        there = np.isfinite(means)
        (line,) = panel.plot(x[there], means[there], marker=MARKERS[number % len(MARKERS)], **style)
        panel.vlines(x, means - deviations, means + deviations, color=colour, linewidth=0.8)
        samples.append((line, f"{bits} bits"))
    legend(figure, samples)
    return finished(figure)


def _along(panel: Axes, values: tuple[Any, ...]) -> np.ndarray:
    """(R,) positions of the values along x: numbers to scale, anything else side by side."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    x = np.array(values if numbers else range(len(values)), dtype=float)
    if numbers and x.min() > 0 and np.log10(x.max() / x.min()) > DECADES:
        panel.set_xscale("log")
        panel.minorticks_off()
    texts = [textwrap.fill(text_of(value), LABEL_CHARACTERS) for value in values]
    panel.set_xticks(x, texts)
    return x


def _heat_map(pivot: Pivot) -> Figure:
    """A cell a pair of values, in one of a few colours, with its number."""
    from matplotlib.patches import Rectangle

    rows, columns = pivot.means.shape
    height = max(1.2, 0.26 * rows + 0.5)
    figure, axes = panels(1, 1, pivot.title, pivot.names[1], pivot.names[0], height=height)
    panel = axes[0, 0]
    panel.grid(False)
    low, high = np.nanmin(pivot.means), np.nanmax(pivot.means)
    for (row, column), mean in np.ndenumerate(pivot.means):
        if np.isnan(mean):
            continue
        level = min(len(HEAT) - 1, int(len(HEAT) * (mean - low) / (high - low))) if high > low else 0
        frame = {"edgecolor": LIGHT["ink"], "linewidth": 1.2, "zorder": 3} if mean == high else {"linewidth": 0}
        place = (column - 0.5, row - 0.5)
        panel.add_patch(Rectangle(place, 1, 1, facecolor=HEAT[level], **frame))
        if pivot.means.size <= NUMBERED_CELLS:
            panel.text(column, row, score(mean), ha="center", va="center", fontsize="small", zorder=4)
    panel.set_xlim(-0.5, columns - 0.5)
    panel.set_ylim(rows - 0.5, -0.5)
    panel.tick_params(length=0)
    for ticks, values in ((panel.set_xticks, pivot.columns), (panel.set_yticks, pivot.rows)):
        ticks(range(len(values)), [textwrap.fill(text_of(value), LABEL_CHARACTERS) for value in values])
    return finished(figure)
