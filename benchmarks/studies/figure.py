"""The figure of a study page: mAP of each row of its table, or one measurement against it."""

from __future__ import annotations

import statistics
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import page

from hashzoo.report.figures.drawing import Drawing
from hashzoo.report.figures.panels import finished, legend, panels
from hashzoo.report.figures.style import DASHES, MARKERS, SERIES, house_style
from hashzoo.report.table import score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TICK_CHARACTERS = 26


def draw(name: str, study: page.Study, runs: list[page.Run]) -> Drawing:
    """The figure of a study from all of its runs."""
    with house_style(name):
        figure = _scatter(study, runs) if study.scatter else _lines(study, runs)
    means = [page.both(run) for run in runs if run["method"] != "random"]
    alt = f"Mean mAP of both directions from {score(min(means))} to {score(max(means))}; the table has every value."
    return Drawing(name, "studies", study.title, alt, "", figure)


def _lines(study: page.Study, runs: list[page.Run]) -> Figure:
    """Mean and deviation of each column of the table that is an mAP: lines over numbers, else a row each."""
    groups = page.grouped(study, runs)
    columns = page.scores(study, groups)
    ordered = len(study.rows) == 1 and all(isinstance(part, int | float) for (part,) in groups)
    labels = [" · ".join(str(part) for part in key if part != "") for key in groups]
    names = " · ".join(study.rows)
    titles = (names, "mAP") if ordered else ("mAP", "")
    figure, axes = panels(1, 1, study.title, *titles, height=2.5 if ordered else 0.6 + 0.3 * len(labels))
    panel, samples = axes[0, 0], []
    for number, (label, values) in enumerate(columns.items()):
        found = [values(group) for group in groups.values()]
        there = [at for at, one in enumerate(found) if one]
        at = np.array(there) + 0.08 * (number - (len(columns) - 1) / 2)
        means = np.array([statistics.fmean(found[n]) for n in there])
        spread = np.array([statistics.stdev(found[n]) if len(found[n]) > 1 else 0.0 for n in there])
        style = {"color": SERIES[number], "marker": MARKERS[number], "linestyle": DASHES[number] if ordered else ""}
        (line,) = panel.plot(*((at, means) if ordered else (means, at)), **style)
        bars = panel.vlines if ordered else panel.hlines
        bars(at, means - spread, means + spread, color=SERIES[number], linewidth=0.8)
        samples.append((line, label))
    if ordered:
        panel.set_xticks(range(len(labels)), labels)
    else:
        panel.set_yticks(range(len(labels)), [textwrap.fill(label, TICK_CHARACTERS) for label in labels])
        panel.invert_yaxis()
        panel.set_title(names)
        figure.get_layout_engine().set(
            rect=(0.04, 0, 0.96, 1)
        )  # labels of categories reach a little out of their place
    legend(figure, samples)
    return finished(figure)


def _scatter(study: page.Study, runs: list[page.Run]) -> Figure:
    """A dot a run: a measurement against the mean of both directions."""
    ((label, measured),) = study.measured.items()
    figure, axes = panels(1, 1, study.title, label, "mAP, mean of both directions", height=2.5)
    panel, samples = axes[0, 0], []
    for number, (key, group) in enumerate(page.grouped(study, runs).items()):
        style = {"color": SERIES[number % len(SERIES)], "marker": MARKERS[number % len(MARKERS)], "linestyle": ""}
        (dots,) = panel.plot([measured(run) for run in group], [page.both(run) for run in group], **style)
        samples.append((dots, f"{', '.join(study.rows)} {', '.join(map(str, key))}"))
    legend(figure, samples)
    return finished(figure)
