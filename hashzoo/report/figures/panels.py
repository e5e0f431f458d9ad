"""Small multiples: a grid of panels with shared axis titles, one legend below, and curves of few points."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo.report.figures.style import LIGHT, WIDTH

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MOST_POINTS = 200
TITLE_CHARACTERS = 56  # that fit one line of a title
LEGEND_CHARACTERS = 66  # that fit one line of a legend, with the room for its samples
SAMPLE_CHARACTERS = 8  # what the sample of a legend takes
DASHED: dict[str, Any] = {"color": LIGHT["ink"], "linestyle": (0, (4, 2)), "linewidth": 0.8, "zorder": 1.5}


def panels(
    rows: int, columns: int, title: str, x: str, y: str, height: float = 1.45, **shared: Any
) -> tuple[Figure, np.ndarray]:
    """A figure and its (rows, columns) array of axes.

    Args:
        x, y: titles of the axes, which stand below the last row and beside the first column.
        height: of a panel, in inches.
        shared: `sharex` and `sharey` of `Figure.subplots`; all panels share both unless told.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, rows * height + 0.75), layout="constrained")
    shared = {"sharex": True, "sharey": True, **shared}
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    figure.suptitle(textwrap.fill(title, TITLE_CHARACTERS), x=0.01, ha="left")
    for panel in axes[-1]:
        panel.set_xlabel(x)
    for panel in axes[:, 0]:
        panel.set_ylabel(y)
    return figure, axes


def legend(figure: Figure, samples: Sequence[tuple[Artist, str]]) -> None:
    """One legend for all panels, below them, in as many columns as its labels leave room for."""
    if not samples:
        return
    labels = [textwrap.fill(label, LEGEND_CHARACTERS - SAMPLE_CHARACTERS) for _, label in samples]
    columns = next(n for n in range(len(labels), 0, -1) if n == 1 or _width(labels, n) <= LEGEND_CHARACTERS)
    rows = -(-len(samples) // columns)
    figure.set_figheight(figure.get_figheight() + 0.17 * sum(1 + label.count("\n") for label in labels[:rows]))
    figure.legend([line for line, _ in samples], labels, loc="outside lower center", ncols=columns)


def _width(labels: Sequence[str], columns: int) -> int:
    """Characters that a line of a legend takes; matplotlib fills column after column, the first ones fuller."""
    fewest, more = divmod(len(labels), columns)
    ends = np.cumsum([fewest + (column < more) for column in range(columns)])
    parts = [labels[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return sum(SAMPLE_CHARACTERS + max(len(line) for label in part for line in label.splitlines()) for part in parts)


def finished(figure: Figure) -> Figure:
    """The figure with its parts in their places, so that writing it twice does not place them twice."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine("none")
    return figure


def thin(*arrays: Any) -> list[np.ndarray]:
    """The arrays of a curve at no more than MOST_POINTS of their positions: evenly spaced, both ends kept."""
    kept = np.unique(np.linspace(0, len(arrays[0]) - 1, min(len(arrays[0]), MOST_POINTS)).round().astype(int))
    return [np.asarray(array)[kept] for array in arrays]


def every(points: int, number: int = 0, markers: int = 5) -> tuple[int, int]:
    """`markevery` of the curve of this number: a few markers, not where other curves have theirs."""
    step = max(1, points // markers)
    return number * step // 3 % step, step


def chance_line(axes: Axes, value: float) -> Line2D:
    """What random codes reach, as a dashed line across a panel."""
    return axes.axhline(value, **DASHED)


def listed(words: Iterable[str]) -> str:
    """ "a, b and c"."""
    first, _, last = ", ".join(words).rpartition(", ")
    return f"{first} and {last}" if first else last
