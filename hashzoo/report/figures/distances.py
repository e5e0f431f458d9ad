"""How far relevant and other pairs lie apart in Hamming space."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import numpy as np

from hashzoo.benches.track import DIRECTIONS
from hashzoo.evaluator import distance_counts
from hashzoo.report.figures.drawing import Drawing
from hashzoo.report.figures.material import Material
from hashzoo.report.figures.panels import finished, legend, listed, panels
from hashzoo.report.figures.style import LIGHT
from hashzoo.report.table import DIRECTION_NAMES

TITLE_CHARACTERS = 32  # of a panel's title, on one line


def draw_distances(material: Material) -> Iterable[Drawing]:
    """A drawing a code length: a row of panels a row of the table, a column a direction."""
    if material.track is None:
        return
    for bits in material.bits:
        counts = {label: found for label in material.labels if (found := _counts(material, label, bits))}
        if counts:
            yield _draw(material, bits, counts)


def _counts(material: Material, label: str, bits: int) -> dict[str, np.ndarray]:
    """(2, bits + 1) pairs by distance in each direction, summed over the seeds; {} where no codes can be read."""
    assert material.track is not None
    labels = material.track.query_labels, material.track.database_labels
    stored = [codes for run in material.runs(label, bits) if (codes := material.codes(run))]
    return {
        direction: np.sum(
            [distance_counts(codes[f"{source}_query"], codes[f"{target}_database"], *labels) for codes in stored],
            axis=0,
        )
        for direction, (source, target) in (DIRECTIONS.items() if stored else ())
    }


def _draw(material: Material, bits: int, counts: dict[str, dict[str, np.ndarray]]) -> Drawing:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    title = f"Hamming distances at {bits} bits, {material.title}"
    titles = {
        (label, d): textwrap.fill(f"{label}, {name}", TITLE_CHARACTERS)
        for label in counts
        for d, name in DIRECTION_NAMES.items()
    }
    lines = max(1 + text.count("\n") for text in titles.values())
    figure, axes = panels(len(counts), 2, title, "Hamming distance, bits", "share of pairs", height=1.05 + 0.15 * lines)
    edges, highest = np.arange(bits + 2) - 0.5, 0.0
    for row, (label, found) in enumerate(counts.items()):
        colour = material.looks[label].colour
        for column, (direction, pairs) in enumerate(found.items()):
            panel = axes[row, column]
            panel.set_title(titles[label, direction])
            others, relevant = pairs / np.maximum(pairs.sum(axis=1, keepdims=True), 1)
            panel.stairs(relevant, edges, fill=True, facecolor=(colour, 0.35), edgecolor=colour, linewidth=1.1)
            panel.stairs(others, edges, color=LIGHT["ink"], linewidth=1.0, linestyle=(0, (3, 1.2)))
            panel.set_xlim(-0.5, bits + 0.5)
            highest = max(highest, relevant.max(), others.max())
    axes[0, 0].set_ylim(0, 1.05 * highest)
    others_sample = Line2D([], [], color=LIGHT["ink"], linewidth=1.0, linestyle=(0, (3, 1.2)))
    sample = Patch(facecolor=LIGHT["muted"], alpha=0.45)
    legend(figure, [(sample, "relevant pairs"), (others_sample, "other pairs")])
    said = [
        f"{label} {name} {_mean(found[d][1]):.1f} and {_mean(found[d][0]):.1f}"
        for label, found in counts.items()
        for d, name in DIRECTION_NAMES.items()
    ]
    return Drawing(
        f"distances-{bits}",
        material.id,
        title,
        f"Histograms of Hamming distances. Mean distance of relevant and of other pairs in bits: {listed(said)}.",
        "Pairs of a query and a database item; relevant pairs share a label. Each histogram sums to 1; the less the "
        "two overlap, the better a ranking can be." + (" All seeds together." if material.seeds > 1 else ""),
        finished(figure),
    )


def _mean(counts: np.ndarray) -> float:
    return float(counts @ np.arange(len(counts)) / max(counts.sum(), 1))
