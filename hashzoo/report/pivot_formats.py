"""A pivot in each of the formats that people publish in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hashzoo.report.formats import LATEX, empty_grid, md_line, print_titled
from hashzoo.report.pivot import BITS, Pivot
from hashzoo.report.table import score
from hashzoo.settings import text_of

if TYPE_CHECKING:
    import pandas
    from rich.console import Console


def print_pivot(pivot: Pivot, console: Console) -> None:
    """Print to a terminal."""
    from rich.text import Text

    table = empty_grid()
    table.add_column(Text(pivot.names[0]), overflow="fold")
    for name in _heads(pivot):
        table.add_column(Text(name), justify="right", overflow="fold")
    for value, cells in zip(pivot.rows, _cells(pivot), strict=True):
        table.add_row(Text(_label(value)), *cells)
    print_titled(pivot.title, table, console)
    console.print(_caption(pivot), style="dim", highlight=False, markup=False)
    for note in pivot.notes:
        console.print(f"! {note}", style="yellow", highlight=False, markup=False)


def pivot_markdown(pivot: Pivot) -> str:
    """A GitHub table, notes below."""
    lines = [f"**{pivot.title}**", "", md_line([pivot.names[0], *_heads(pivot)])]
    lines.append(md_line([":--", *["--:"] * len(pivot.columns)]))
    lines += [md_line([_label(value), *cells]) for value, cells in zip(pivot.rows, _cells(pivot), strict=True)]
    return "\n".join([*lines, "", _caption(pivot), *(f"\n! {note}" for note in pivot.notes)]) + "\n"


def pivot_latex(pivot: Pivot) -> str:
    """A booktabs table, ready for a paper."""
    lines = [f"% {pivot.title}", f"% {_caption(pivot)}", *(f"% ! {note}" for note in pivot.notes)]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(pivot.columns)}}}", r"\toprule"]
    lines += [_latex_line([pivot.names[0], *_heads(pivot)]), r"\midrule"]
    lines += [_latex_line([_label(value), *cells]) for value, cells in zip(pivot.rows, _cells(pivot), strict=True)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def pivot_frame(pivots: Sequence[Pivot]) -> pandas.DataFrame:
    """One line a cell that has runs."""
    import pandas

    return pandas.DataFrame([cell for pivot in pivots for cell in _long(pivot)])


def pivot_json(pivot: Pivot) -> dict[str, Any]:
    """Plain JSON; null where there is no run, or no deviation."""
    return {
        "title": pivot.title,
        "method": pivot.method,
        "encoders": pivot.encoders,
        "names": list(pivot.names),
        "rows": list(pivot.rows),
        "columns": list(pivot.columns),
        "measure": pivot.measure,
        "means": [[_number(value) for value in line] for line in pivot.means.tolist()],
        "deviations": [[_number(value) for value in line] for line in pivot.deviations.tolist()],
        "counts": pivot.counts.tolist(),
        "tracks": list(pivot.tracks),
        "notes": list(pivot.notes),
    }


def _heads(pivot: Pivot) -> list[str]:
    """Names of columns: "16 bits", or the second setting with its value."""
    name = pivot.names[1]
    return [f"{value} bits" if name == BITS else f"{name}={_label(value)}" for value in pivot.columns]


def _cells(pivot: Pivot) -> list[list[str]]:
    both = zip(pivot.means.tolist(), pivot.deviations.tolist(), strict=True)
    return [[_cell(*cell) for cell in zip(*line, strict=True)] for line in both]


def _cell(mean: float, deviation: float) -> str:
    if math.isnan(mean):
        return ""
    return score(mean) + ("" if math.isnan(deviation) else f"±{score(deviation)}")


def _caption(pivot: Pivot) -> str:
    runs = int(pivot.counts.max())
    several = f"mean±deviation of up to {runs} runs a cell; " if runs > 1 else ""
    which = ", ".join(pivot.tracks) if len(pivot.tracks) < 4 else f"{len(pivot.tracks)} tracks"
    return f"{several}whole ranking, ties by exact expectation; {which}"


def _long(pivot: Pivot) -> list[dict[str, Any]]:
    return [
        {
            "title": pivot.title,
            "method": pivot.method,
            "encoders": pivot.encoders,
            pivot.names[0]: _label(row),
            pivot.names[1]: _label(column),
            "measure": pivot.measure,
            "mean": float(pivot.means[i, j]),
            "deviation": _number(float(pivot.deviations[i, j])),
            "runs": int(pivot.counts[i, j]),
        }
        for i, row in enumerate(pivot.rows)
        for j, column in enumerate(pivot.columns)
        if pivot.counts[i, j]
    ]


def _label(value: Any) -> str:
    return text_of(value) or '""'


def _latex_line(cells: list[str]) -> str:
    return " & ".join(cell.translate(LATEX) for cell in cells) + r" \\"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
