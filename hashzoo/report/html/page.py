"""From collected runs to the page: what its templates are given, and what its browser is allowed to do."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import hashzoo
from hashzoo.benches.track import title_of
from hashzoo.errors import HashzooError
from hashzoo.report import significance
from hashzoo.report.costs import Costs, make_costs
from hashzoo.report.figures import looks
from hashzoo.report.html.figures import Figure, Figures
from hashzoo.report.html.gallery import Gallery, make_gallery
from hashzoo.report.html.pictures import Pictures
from hashzoo.report.html.provenance import Made, as_typed, provenance
from hashzoo.report.table import DIRECTION_NAMES, FAILED, Column, Row, Table, make_table, score
from hashzoo.storage.files import atomic_write

QUERIES = 6  # of each direction, in the gallery of each track
MOST_QUERIES = 100
NOTES_SHOWN = 6  # of a table; further ones are folded
FIGURES_SHOWN = 3  # of a track; further ones are folded


@dataclass(frozen=True)
class Cell:
    """One score of a row; `mark` is "best", "equal" (not significantly worse) or "", `interval` its limits."""

    text: str
    value: str  # what the column is sorted by: a number, or ""
    mark: str
    interval: str


@dataclass(frozen=True)
class Section:
    """What the page says of one track. Without figures, or without a gallery, `no_figures` and `no_gallery` say why."""

    title: str
    track: dict[str, Any]
    table: Table
    rows: tuple[tuple[Row, tuple[Cell, ...]], ...]
    costs: Costs | None
    figures: tuple[Figure, ...]
    no_figures: str
    gallery: Gallery | None
    no_gallery: str
    made: tuple[Made, ...]
    results: tuple[dict[str, Any], ...]


def write_html(tracks: Sequence[dict[str, Any]], path: Path, queries: int = QUERIES) -> list[str]:
    """Write the page (see `render`) to a file, whole or not at all.

    Returns:
        For each track that lacks figures, or the gallery that it was to have, a sentence that says why.
    """
    text, said = render(tracks, queries)
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "replace"))  # half of a surrogate pair, in a text, is no UTF-8
    return said


def render(tracks: Sequence[dict[str, Any]], queries: int = QUERIES) -> tuple[str, list[str]]:
    """The page, and for each track what is missing and why (see `write_html`).

    Equal runs give an equal page. It loads nothing and sends nothing: its policy lets a browser run its own style
    and script alone, which are allowed by their digests, and show no picture but those that it holds.

    Args:
        tracks: what `collect` gives.
        queries: shown in the gallery of each track, 0 for no gallery.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if not 0 <= queries <= MOST_QUERIES:
        raise HashzooError(f"the gallery shows 0 to {MOST_QUERIES} queries, not {queries}; type --gallery {QUERIES}")
    pictures = Pictures()
    figures = Figures(looks(tracks))
    sections = [_section(item, figures, queries, pictures) for item in tracks]
    own = {"style": f"{_own('page.css')}{figures.style()}", "script": f"{_own('page.js')}{_theme()}"}
    policy = [f"{name}-src '{_allowed(text)}'" for name, text in own.items()]
    environment = Environment(
        loader=PackageLoader("hashzoo.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": score, "typed": as_typed}
    text = environment.get_template("page.html").render(
        version=hashzoo.__version__,
        policy="; ".join(["default-src 'none'", "img-src data:", *policy, "base-uri 'none'", "form-action 'none'"]),
        **own,
        sections=sections,
        pictures=pictures.by_id,
        directions=DIRECTION_NAMES,
        test=significance.TEST,
        interval=significance.INTERVAL,
        notes_shown=NOTES_SHOWN,
        figures_shown=FIGURES_SHOWN,
    )
    missing = (("not all figures", "no_figures"), ("no gallery", "no_gallery"))
    return text, [
        f"{what} of {section.title}: {why}"
        for section in sections
        for what, reason in missing
        if (why := getattr(section, reason))
    ]


def _section(item: dict[str, Any], figures: Figures, queries: int, pictures: Pictures) -> Section:
    track, results = item["track"], item["results"]
    values = significance.per_query(results)
    table = make_table(item, significance.as_good_as_best(values))
    leads = {row.label: row.best for row in make_table(item).rows}
    intervals = significance.intervals(values)
    gallery, why_not = None, ""
    if queries:
        try:
            gallery = make_gallery(results, queries, pictures)
        except HashzooError as error:
            why_not = str(error)
    return Section(
        title_of(track),
        {"overlap": "", "training": {}} | track,
        table,
        tuple((row, _cells(table, row, leads[row.label], intervals)) for row in table.rows),
        make_costs(item),
        *figures.of(item),
        gallery,
        why_not,
        tuple(provenance(track, results)),
        tuple(results),
    )


def _cells(
    table: Table,
    row: Row,
    leads: frozenset[Column],
    intervals: dict[Column, dict[str, tuple[float, float]]],
) -> tuple[Cell, ...]:
    cells = []
    for column in table.columns():
        text = row.cells[column]
        limits = intervals.get(column, {}).get(row.label)
        cells.append(
            Cell(
                text,
                "" if text in ("", FAILED) else text.partition("±")[0],
                "" if column not in row.best else "best" if column in leads else "equal",
                "\N{EN DASH}".join(map(score, limits)) if limits else "",
            )
        )
    return tuple(cells)


def _own(name: str) -> str:
    return (files("hashzoo.report.html") / "templates" / name).read_text(encoding="utf-8")


def _theme() -> str:
    """The script of the theme's button, which the page of the search service has, too."""
    return (files("hashzoo.serve") / "page" / "theme.js").read_text(encoding="utf-8")


def _allowed(text: str) -> str:
    """The name by which a content security policy knows a style or a script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
