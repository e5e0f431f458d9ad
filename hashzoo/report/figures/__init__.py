"""Figures of the runs on disk, one set a track. Needs matplotlib, and never torch.

from hashzoo.report import collect
from hashzoo.report.figures import draw

for item in collect(Path("runs")):
    for drawing in draw(item):
        print(drawing.name, drawing.caption)
        page = drawing.svg("css")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hashzoo.report.figures.curves import draw_curves
from hashzoo.report.figures.distances import draw_distances
from hashzoo.report.figures.drawing import Drawing
from hashzoo.report.figures.health import draw_health
from hashzoo.report.figures.lengths import draw_lengths
from hashzoo.report.figures.material import Material, not_drawn
from hashzoo.report.figures.rounds import draw_rounds
from hashzoo.report.figures.style import Look, css, house_style, looks
from hashzoo.report.figures.training import draw_training

__all__ = ["Drawing", "Look", "css", "draw", "looks"]

FAMILIES = (draw_lengths, draw_rounds, draw_curves, draw_distances, draw_health, draw_training)


def draw(item: dict[str, Any], look: Mapping[str, Look] | None = None) -> list[Drawing]:
    """Every figure that the runs of a track can give. What is missing for one is said on stderr.

    Args:
        item: a track with its results, as `collect` gives it.
        look: a look for each row label; give `looks(tracks)` so that a row looks the same in all tracks of a report.
    """
    material = Material(item, dict(looks([item]) if look is None else look))
    if not material.results:
        not_drawn(f"all of {material.id}: none of its runs has finished well")
        return []
    with house_style():
        return [drawing for family in FAMILIES for drawing in family(material)]
