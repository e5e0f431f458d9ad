"""Training curves: each term that a method logged, stages one after the other."""

from __future__ import annotations

import math
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hashzoo.report.figures.drawing import Drawing, file_names
from hashzoo.report.figures.material import Material
from hashzoo.report.figures.panels import finished, legend, listed, panels, thin
from hashzoo.report.figures.style import DASHES, LIGHT, MARKERS

TITLE_CHARACTERS = 28  # of a panel's title, on one line
BOOKKEEPING = ("epoch", "stage")


@dataclass
class History:
    """What a run logged, at the number of epochs that had passed: terms of epochs, and measurements beside them.

    `stages` holds the name of each stage and the number of epochs before it and at its end.
    """

    terms: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    measured: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    stages: list[tuple[str, int, int]] = field(default_factory=list)


def read_history(lines: Iterable[dict[str, Any]]) -> History:
    """The lines of train.jsonl in their order; a line without an epoch is a measurement beside."""
    history, epochs = History(), 0
    for line in lines:
        is_epoch = "epoch" in line
        epochs += is_epoch
        if is_epoch and "stage" in line:
            stage = str(line["stage"])
            if history.stages and history.stages[-1][0] == stage:
                history.stages[-1] = (stage, history.stages[-1][1], epochs)
            else:
                history.stages.append((stage, epochs - 1, epochs))
        for name, value in line.items():
            if name not in BOOKKEEPING and isinstance(value, int | float) and not isinstance(value, bool):
                finite = float(value) if abs(value) <= sys.float_info.max else math.nan
                (history.terms if is_epoch else history.measured)[name].append((epochs, finite))
    return history


def draw_training(material: Material) -> Iterable[Drawing]:
    """A drawing a row of the table: a panel a term, a line a run."""
    files = file_names(material.labels)
    for label in material.labels:
        read = [(run, read_history(material.log(run))) for run in material.runs(label)]
        histories = [(run, history) for run, history in read if history.terms or history.measured]
        if histories:
            yield _draw(material, f"training-{files[label]}", label, histories)


def _draw(material: Material, file: str, label: str, histories: list[tuple[dict[str, Any], History]]) -> Drawing:
    from matplotlib.lines import Line2D

    terms = list(dict.fromkeys(name for _, history in histories for name in history.terms))
    measured = list(dict.fromkeys(name for _, history in histories for name in history.measured))
    names = [*((name, False) for name in terms), *((name, True) for name in measured)]
    columns = 1 if len(names) == 1 else 2
    rows = -(-len(names) // columns)
    title = f"Training of {label}, {material.title}"
    figure, axes = panels(rows, columns, title, "epoch", "", height=1.35, sharey=False)
    samples: dict[int, Any] = {}
    for panel, (name, beside) in zip(axes.T.flat, names, strict=False):
        titled = name.replace("_", " ") + (", measured beside" if beside else "")
        panel.set_title(textwrap.fill(titled, TITLE_CHARACTERS))
        for run, history in histories:
            at = material.bits.index(run["bits"])
            logged = (history.measured if beside else history.terms).get(name)
            if not logged:
                continue
            x, y = thin(*zip(*logged, strict=True))
            style: dict[str, Any] = {
                "color": material.looks[label].colour,
                "alpha": 0.45 + 0.55 * (at + 1) / len(material.bits),
            }
            if beside:
                panel.plot(x, y, linestyle="", marker=MARKERS[at % len(MARKERS)], **style)
            else:
                # One epoch is a point, which no line would show.
                marker = "." if len(x) == 1 else ""
                panel.plot(x, y, linestyle=DASHES[at % len(DASHES)], marker=marker, **style)
            samples[run["bits"]] = Line2D(
                *([], []),
                linestyle=DASHES[at % len(DASHES)],
                marker=MARKERS[at % len(MARKERS)] if measured else "",
                **style,
            )
        _mark_stages(panel, max((history.stages for _, history in histories), key=len), first=panel in axes[0])
    _leave_out(figure, axes, len(names))
    legend(figure, [(samples[bits], f"{bits} bits") for bits in sorted(samples)])
    return Drawing(
        file,
        material.id,
        title,
        _alt(material, label, histories, terms),
        _caption(material, measured),
        finished(figure),
    )


def _mark_stages(panel: Any, stages: list[tuple[str, int, int]], first: bool) -> None:
    """A thin line between stages; their names at the end of each, where losses are low."""
    for stage, before, end in stages:
        if before:
            panel.axvline(before + 0.5, color=LIGHT["muted"], linewidth=0.6)
        if first:
            panel.annotate(
                *(stage, (end, 1), (-2, -2)),
                **{"xycoords": ("data", "axes fraction"), "textcoords": "offset points"},
                **{"ha": "right", "va": "top", "fontsize": "x-small", "color": LIGHT["muted"]},
            )


def _leave_out(figure: Any, axes: np.ndarray, used: int) -> None:
    """Take away the panels that are not used; those above them get the axis that they would have shared."""
    for number in range(used, axes.size):
        column, row = divmod(number, len(axes))
        figure.delaxes(axes[row, column])
        axes[row - 1, column].tick_params(labelbottom=True)
        axes[row - 1, column].set_xlabel("epoch").set_in_layout(False)  # there is room below


def _caption(material: Material, measured: list[str]) -> str:
    said = "Means of each logged term over an epoch, stages one after the other; each panel has a scale of its own."
    if measured:
        said += f" Measured beside the terms, not minimised: {listed(name.replace('_', ' ') for name in measured)}."
    return said + (f" One line a run, {material.seeds} seeds." if material.seeds > 1 else "")


def _alt(material: Material, label: str, histories: list[tuple[dict[str, Any], History]], terms: list[str]) -> str:
    run, history = histories[-1]
    said = []
    for name in terms:
        if values := [value for _, value in history.terms.get(name, ()) if not math.isnan(value)]:
            said.append(f"{name.replace('_', ' ')} from {values[0]:.3g} to {values[-1]:.3g}")
    return f"Line charts of the training of {label}. At {run['bits']} bits, seed {run['seed']}: {listed(said)}."
