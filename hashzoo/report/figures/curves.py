"""Curves that the evaluator kept with each result: precision and recall by radius and by rank, top-N precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashzoo.evaluator.metrics import TOP_N
from hashzoo.report.figures.drawing import Drawing
from hashzoo.report.figures.material import Material
from hashzoo.report.figures.panels import chance_line, every, finished, legend, listed, panels, thin
from hashzoo.report.table import DIRECTION_NAMES, score


@dataclass(frozen=True)
class Curve:
    """Which of the evaluator's curves to draw, and how to speak of it."""

    name: str
    metric: str
    x: str  # field of the metric
    y: str
    x_title: str
    title: str
    caption: str


CURVES = (
    Curve(
        *("precision-recall-rank", "pr_curve_rank", "recall_macro", "precision_macro", "recall"),
        "Precision and recall by rank",
        "Each curve runs through the ranks from 1 to the whole database; ties count with their expectation.",
    ),
    Curve(
        *("precision-recall-radius", "pr_curve_radius", "recall_macro", "precision_macro", "recall"),
        "Precision and recall by Hamming radius",
        "Each curve runs through the radii from 0 to the code length. A query that finds nothing within a radius has "
        "precision 0 there, which is why curves may begin low.",
    ),
    Curve(
        *("top-n-precision", "top_n_precision", "n", "precision", "N, items retrieved"),
        "Precision of the first N items",
        "Ties count with their expectation.",
    ),
)


def draw_curves(material: Material) -> Iterable[Drawing]:
    """A drawing for each of CURVES: a row a code length, a column a direction."""
    for curve in CURVES:
        yield _draw(material, curve)


def points(curve: Curve, runs: list[dict[str, Any]], direction: str, database: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y, (P,): means over the runs, which differ in their seed, at each rank or radius of the curve."""
    stored = [run["scores"][direction][curve.metric] for run in runs]
    x, y = (np.mean([one[field] for one in stored], axis=0) for field in (curve.x, curve.y))
    reached = x <= database if curve.x == "n" else np.ones(len(x), dtype=bool)
    return x[reached], y[reached]


def _draw(material: Material, curve: Curve) -> Drawing:
    title = f"{curve.title}, {material.title}"
    figure, axes = panels(len(material.bits), 2, title, curve.x_title, "precision")
    drawn: dict[str, Any] = {}
    for row, bits in enumerate(material.bits):
        for column, (direction, name) in enumerate(DIRECTION_NAMES.items()):
            panel = axes[row, column]
            panel.set_title(f"{name}, {bits} bits")
            panel.set_ylim(0, 1.02)
            panel.set_xlim(0, 1.02 * (1 if curve.x != "n" else min(TOP_N[-1], material.database)))
            for number, label in enumerate(material.labels):
                if runs := material.runs(label, bits):
                    x, y = thin(*points(curve, runs, direction, material.database))
                    (line,) = panel.plot(x, y, **material.looks[label].line(markevery=every(len(x), number)))
                    drawn.setdefault(label, line)
            drawn["chance"] = chance_line(panel, material.results[0]["scores"][direction]["relevant_share"])
    chance = drawn.pop("chance")
    legend(figure, [*((line, label) for label, line in drawn.items()), (chance, "chance, exact")])
    means = f" Means over {material.seeds} seeds." if material.seeds > 1 else ""
    return Drawing(
        curve.name,
        material.id,
        title,
        _alt(material, curve),
        f"{curve.caption} Means over queries.{means} Dashed: what a random ranking reaches.",
        finished(figure),
    )


def _alt(material: Material, curve: Curve) -> str:
    bits = material.bits[-1]
    said = []
    for direction, name in DIRECTION_NAMES.items():
        ends = []
        for label in material.labels:
            if runs := material.runs(label, bits):
                x, y = points(curve, runs, direction, material.database)
                middle = int(np.argmin(abs(x - (0.5 if curve.x != "n" else 100))))
                where = f"recall {x[middle]:.2f}" if curve.x != "n" else f"N = {x[middle]:.0f}"
                ends.append(f"{label} {score(y[middle])} at {where}")
        said.append(f"{name}: {listed(ends)}")
    lengths = listed(map(str, material.bits))
    return f"Line charts of precision at {lengths} bits. Precision at {bits} bits, {'; '.join(said)}."
