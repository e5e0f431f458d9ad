"""mAP against code length, with the uncertainty over queries and over seeds."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo.report import significance
from hashzoo.report.figures.drawing import Drawing
from hashzoo.report.figures.material import Material
from hashzoo.report.figures.panels import chance_line, finished, legend, listed, panels
from hashzoo.report.figures.style import LIGHT
from hashzoo.report.table import DIRECTION_NAMES, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OCTAVE = 0.07  # how far apart, in doublings of the code length, rows stand at one length
LABEL_CHARACTERS = 18  # of a label beside a bar, on one line


@dataclass(frozen=True)
class Point:
    """The mAP of a row at one code length: the mean, that of each seed, and the interval over queries."""

    bits: int
    mean: float
    seeds: tuple[float, ...]
    interval: tuple[float, float] | None


def draw_lengths(material: Material) -> Iterable[Drawing]:
    """One drawing, a panel a direction: lines over the code lengths, or bars where there is one length."""
    intervals = significance.intervals(significance.per_query(material.everything))
    found = {d: {label: points(material, label, d, intervals) for label in material.labels} for d in DIRECTION_NAMES}
    one = len(material.bits) == 1
    title = f"mAP at {material.bits[0]} bits, {material.title}" if one else f"mAP by code length, {material.title}"
    caption = (
        f"Thin bars: {significance.INTERVAL}, where they were kept. "
        + (f"Dots: each of up to {material.seeds} seeds; the mean stands at the marker. " if material.seeds > 1 else "")
        + "Dashed: mAP of random codes, exact."
    )
    figure = (_bars if one else _lines)(material, title, found)
    yield Drawing("map", material.id, title, _alt(material, found), caption, figure)


def points(material: Material, label: str, direction: str, intervals: dict[Any, Any]) -> list[Point]:
    """The points of a row in one direction, by code length."""
    made = []
    for bits in material.bits:
        seeds = tuple(run["scores"][direction]["map"] for run in material.runs(label, bits))
        if seeds:
            interval = intervals.get((direction, bits), {}).get(label)
            made.append(Point(bits, float(np.mean(seeds)), seeds, interval))
    return made


def _lines(material: Material, title: str, found: dict[str, dict[str, list[Point]]]) -> Any:
    figure, axes = panels(1, 2, title, "code length, bits", "mAP", height=2.4)
    samples: dict[str, Any] = {}
    for panel, (direction, name) in zip(axes[0], DIRECTION_NAMES.items(), strict=True):
        panel.set_title(name)
        for number, (label, row) in enumerate(found[direction].items()):
            look = material.looks[label]
            x = np.array([point.bits for point in row]) * 2 ** (OCTAVE * (number - (len(material.labels) - 1) / 2))
            (samples[label],) = panel.plot(x, [point.mean for point in row], **look.line())
            for at, point in zip(x, row, strict=True):
                if point.interval:
                    panel.vlines(at, *point.interval, color=look.colour, linewidth=0.8)
                if len(point.seeds) > 1:
                    at_seeds = np.full(len(point.seeds), at)
                    panel.plot(at_seeds, point.seeds, ".", color=LIGHT["ink"], markersize=1.8, zorder=3)
        chance = chance_line(panel, material.results[0]["floor"])
        panel.set_xscale("log", base=2)
        panel.set_xticks(material.bits, [str(bits) for bits in material.bits])
        panel.minorticks_off()
    legend(figure, [*((line, label) for label, line in samples.items()), (chance, "chance, exact")])
    return finished(figure)


def _bars(material: Material, title: str, found: dict[str, dict[str, list[Point]]]) -> Any:
    labels = [textwrap.fill(label, LABEL_CHARACTERS) for label in material.labels]
    lines = sum(1 + label.count("\n") for label in labels)
    figure, axes = panels(1, 2, title, "mAP", "", height=0.35 + 0.22 * max(lines, 2))
    for panel, (direction, name) in zip(axes[0], DIRECTION_NAMES.items(), strict=True):
        panel.set_title(name)
        panel.grid(False, axis="y")
        for at, (label, (point,)) in enumerate(found[direction].items()):
            panel.barh(at, point.mean, height=0.6, color=material.looks[label].colour)
            low, high = point.interval or (point.mean, point.mean)
            panel.hlines(at, low, high, color=LIGHT["ink"], linewidth=0.8)
            _value(panel, at, max(high, point.mean), point.mean)
        chance = panel.axvline(material.results[0]["floor"], color=LIGHT["ink"], linestyle=(0, (4, 2)), linewidth=0.8)
        panel.set_xlim(0, 1.18)  # room for the number beside a bar
        panel.set_xticks([0, 0.25, 0.5, 0.75, 1])
        panel.set_yticks(range(len(labels)), labels)
        panel.tick_params(axis="y", length=0)
    axes[0, 0].invert_yaxis()
    legend(figure, [(chance, "chance, exact")])
    return finished(figure)


def _value(panel: Axes, at: float, end: float, value: float) -> None:
    panel.annotate(score(value), (end, at), (3, 0), textcoords="offset points", va="center", fontsize="small")


def _alt(material: Material, found: dict[str, dict[str, list[Point]]]) -> str:
    said = []
    for direction, name in DIRECTION_NAMES.items():
        rows = []
        for label, row in found[direction].items():
            first, last = row[0], row[-1]
            rise = f"{score(first.mean)} at {first.bits} bits"
            rows.append(f"{label} {rise}" + (f" to {score(last.mean)} at {last.bits}" if last is not first else ""))
        said.append(f"{name}: {listed(rows)}")
    kind = "Bar chart" if len(material.bits) == 1 else "Line chart"
    return f"{kind} of mAP. {'; '.join(said)}; chance {score(material.results[0]['floor'])}."
