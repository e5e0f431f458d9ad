"""An online track round after round: mAP as the database grows, and what each round takes of time and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashzoo.report.figures.drawing import Drawing
from hashzoo.report.figures.material import Material
from hashzoo.report.figures.panels import DASHED, finished, legend, listed, panels
from hashzoo.report.rounds import mark
from hashzoo.report.table import DIRECTION_NAMES, score

DECADES = 1.2  # from which range of a cost on, in powers of ten, its axis is logarithmic


@dataclass(frozen=True)
class Cost:
    """What a round takes: how it is called, and how it is read from a round of a result."""

    title: str
    read: Callable[[dict[str, Any]], float]


COSTS = (
    Cost("seconds a round", lambda line: line["seconds"]["train"]),
    Cost("MB kept", lambda line: line["state_bytes"] / 1e6),
)


def draw_rounds(material: Material) -> Iterable[Drawing]:
    """A drawing of mAP and one of costs; of neither where the track is no online one."""
    if not material.stream:
        return
    yield _draw_maps(material)
    if any(curve(material, label, bits, COSTS[0].read) for label in material.labels for bits in material.bits):
        yield _draw_costs(material)


def curve(
    material: Material, label: str, bits: int, read: Callable[[dict[str, Any]], float]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows that have arrived and what `read` says of those rounds, (R,) each: means over the runs of a row.

    Rounds that do not have it are left out, such as those in which no query was asked; None where no round has it.
    """
    found: dict[int, list[float]] = {}
    for run in material.runs(label, bits):
        for line in run["rounds"]:
            try:
                value = read(line)
            except KeyError:
                continue
            found.setdefault(line["rows"], []).append(value)
    if not found:
        return None
    return np.array(list(found)), np.array([np.mean(values) for values in found.values()])


def _draw_maps(material: Material) -> Drawing:
    """A row of panels a code length, a column a direction."""
    title = f"mAP as the database grows, {material.place}"
    figure, axes = panels(len(material.bits), 2, title, "rows that have arrived", "mAP", height=1.7)
    offline = {label for label in material.labels if mark(material.runs(label)[0])}
    samples: dict[str, Any] = {}
    for row, bits in enumerate(material.bits):
        for column, (direction, name) in enumerate(DIRECTION_NAMES.items()):
            panel = axes[row, column]
            panel.set_title(f"{name}, {bits} bits")
            for label in material.labels:
                points = curve(material, label, bits, _map_of(direction))
                if points is None:
                    continue
                # What is trained once, on all chunks, has no markers: no round of it stands for itself.
                changes = {"marker": ""} if label in offline else {}
                (line,) = panel.plot(*points, **material.looks[label].line(**changes))
                samples.setdefault(label, line)
            (chance,) = panel.plot(*_floor(material.results[0]), **DASHED)
    legend(figure, [*((line, label) for label, line in samples.items()), (chance, "chance, exact")])
    means = f" Means over {material.seeds} seeds." if material.seeds > 1 else ""
    return Drawing(
        "rounds",
        material.id,
        title,
        _alt_of_maps(material),
        "After each round all queries are measured against all rows that have arrived."
        + (" Without markers: trained once, on the rows of all chunks." if offline else "")
        + f"{means} Dashed: mAP of random codes, exact.",
        finished(figure),
    )


def _draw_costs(material: Material) -> Drawing:
    """A row of panels a code length, a column a cost; only what learns chunk after chunk has any."""
    title = f"What a round takes, {material.place}"
    figure, axes = panels(len(material.bits), len(COSTS), title, "rows that have arrived", "", 1.7, sharey="col")
    samples: dict[str, Any] = {}
    for column, cost in enumerate(COSTS):
        highest, lowest = 0.0, np.inf
        for row, bits in enumerate(material.bits):
            panel = axes[row, column]
            panel.set_title(f"{cost.title}, {bits} bits")
            for label in material.labels:
                points = curve(material, label, bits, cost.read)
                if points is not None:
                    (line,) = panel.plot(*points, **material.looks[label].line())
                    samples.setdefault(label, line)
                    highest, lowest = max(highest, points[1].max()), min(lowest, points[1].min())
        if lowest > 0 and np.log10(highest / lowest) > DECADES:
            _logarithmic(axes[:, column])
        else:
            axes[0, column].set_ylim(0, 1.08 * highest or 1)
    legend(figure, [(line, label) for label, line in samples.items()])
    means = f" Means over {material.seeds} seeds." if material.seeds > 1 else ""
    return Drawing(
        "rounds-cost",
        material.id,
        title,
        _alt_of_costs(material, list(samples)),
        "Left: seconds of training in a round, without encoding and evaluation. Right: tensors and arrays that the "
        f"trainer keeps for the next round, in millions of bytes.{means}",
        finished(figure),
    )


def _logarithmic(column: np.ndarray) -> None:
    """A logarithmic y axis for panels that share it, with plain numbers at it."""
    from matplotlib.ticker import LogLocator, NullLocator

    for panel in column:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())


def _map_of(direction: str) -> Callable[[dict[str, Any]], float]:
    return lambda line: line["map"][direction]


def _floor(result: dict[str, Any]) -> tuple[list[int], list[float]]:
    asked = [line for line in result["rounds"] if "floor" in line]
    return [line["rows"] for line in asked], [line["floor"] for line in asked]


def _alt_of_maps(material: Material) -> str:
    bits = material.bits[-1]
    said = []
    for direction, name in DIRECTION_NAMES.items():
        ends = []
        for label in material.labels:
            if (points := curve(material, label, bits, _map_of(direction))) is not None:
                rows, values = points
                first, last = (f"{score(values[at])} at {rows[at]:,}" for at in (0, -1))
                ends.append(f"{label} {first} to {last} rows")
        said.append(f"{name}: {listed(ends)}")
    return f"Line charts of mAP by rows that have arrived. At {bits} bits, {'; '.join(said)}."


def _alt_of_costs(material: Material, labels: list[str]) -> str:
    bits = material.bits[-1]
    said = []
    for cost in COSTS:
        ends = []
        for label in labels:
            if (points := curve(material, label, bits, cost.read)) is not None:
                ends.append(f"{label} from {points[1][0]:.3g} in the first round to {points[1][-1]:.3g} in the last")
        said.append(f"{cost.title}: {listed(ends)}")
    return f"Line charts of costs by rows that have arrived. At {bits} bits, {'; '.join(said)}."
