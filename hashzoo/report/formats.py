"""One table in each of the formats that people publish in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hashzoo.benches.track import title_of
from hashzoo.report.costs import Costs
from hashzoo.report.table import DIRECTION_NAMES, Column, Row, Table, overlap_of, score

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

LATEX = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
)


def print_table(table: Table, console: Console) -> None:
    """Print to a terminal: both directions side by side if they fit, one above the other if not."""
    both = _rich_table(table, tuple(DIRECTION_NAMES))
    # The table is measured without a limit: rich would squeeze its columns to fit.
    width = console.measure(both, options=console.options.update(max_width=10_000)).maximum
    if width <= console.width:
        print_titled(table.title, both, console)
    else:
        for direction, name in DIRECTION_NAMES.items():
            print_titled(f"{table.title}, {name}", _rich_table(table, (direction,)), console)
    console.print(table.caption, style="dim", highlight=False, markup=False)
    print_overlap(table.overlap, console)
    for note in table.notes:
        console.print(f"! {note}", style="yellow", highlight=False, markup=False)


def print_overlap(overlap: str, console: Console) -> None:
    """Print the line below scores in which query rows leak (see `overlap_of`); nothing for all others."""
    if overlap:
        console.print(f"! {overlap}", style="bold red", highlight=False, markup=False)


def print_intervals(
    table: Table, intervals: Mapping[Column, Mapping[str, tuple[float, float]]], what: str, console: Console
) -> None:
    """The interval of every cell, a table a direction."""
    for direction, name in DIRECTION_NAMES.items():
        grid = empty_grid()
        grid.add_column("method", no_wrap=True)
        columns = [(direction, bits) for bits in table.bits]
        for _, bits in columns:
            grid.add_column(str(bits), justify="right", no_wrap=True)
        for row in table.rows:
            cells = [intervals.get(column, {}).get(row.label) for column in columns]
            grid.add_row(row.label, *("-".join(map(score, cell)) if cell else "" for cell in cells))
        print_titled(f"{what}, {name}", grid, console)


def print_comparison(compared: dict[str, Any], a: str, b: str, console: Console) -> None:
    """Two rows of one track, column by column (see `significance.compare`)."""
    grid = empty_grid()
    for column in ("direction", "bits", a, b, "difference", "interval", "p"):
        grid.add_column(column, justify="left" if column == "direction" else "right", no_wrap=True)
    for row in compared["rows"]:
        low, high = row["interval"]
        difference, interval = f"{row['difference']:+.3f}", f"{low:+.3f} to {high:+.3f}"
        name, bits = DIRECTION_NAMES.get(row["direction"], "mean of both"), str(row["bits"])
        grid.add_row(name, bits, score(row["a"]), score(row["b"]), difference, interval, f"{row['p']:.4f}")
    print_titled(f"mAP of {a} and {b} on {title_of(compared['track'])}", grid, console)
    print_overlap(overlap_of(compared["track"]), console)


def print_costs(costs: Costs, console: Console) -> None:
    grid = empty_grid()
    grid.add_column("method", overflow="fold")
    for head in costs.heads:
        grid.add_column(head, justify="right", no_wrap=True)
    for label, cells in costs.rows:
        grid.add_row(label, *(text for text, _ in cells))
    print_titled(costs.title, grid, console)
    console.print(costs.caption, style="dim", highlight=False, markup=False)


def markdown_costs(costs: Costs) -> str:
    lines = [f"**{costs.title}**", "", md_line(["method", *costs.heads]), md_line([":--", *["--:"] * len(costs.heads)])]
    lines += [md_line([label, *(text for text, _ in cells)]) for label, cells in costs.rows]
    return "\n".join([*lines, "", costs.caption]) + "\n"


def latex_costs(costs: Costs) -> str:
    lines = [
        rf"% {costs.title}",
        rf"% {costs.caption}",
        rf"\begin{{tabular}}{{l{'r' * len(costs.heads)}}}",
        r"\toprule",
        " & ".join(["Method", *costs.heads]) + r" \\",
        r"\midrule",
    ]
    for label, cells in costs.rows:
        lines.append(" & ".join([label.translate(LATEX), *(text.replace(" ", r"\,") for text, _ in cells)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def markdown(table: Table) -> str:
    """A GitHub table; the best of each column in bold, notes below."""
    head = ["method", *(f"{direction} {bits}" for direction, bits in table.columns()), table.spent]
    lines = [f"**{table.title}**", "", md_line(head), md_line([":--", *["--:"] * (len(head) - 1)])]
    for row in (*table.rows, *table.limits):
        cells = [f"**{row.cells[c]}**" if c in row.best else row.cells[c] for c in table.columns()]
        lines.append(md_line([row.label, *cells, row.seconds]))
    said = [f"\n**! {table.overlap}**"] if table.overlap else []
    return "\n".join([*lines, "", table.caption, *said, *(f"\n! {note}" for note in table.notes)]) + "\n"


def latex(table: Table) -> str:
    """A booktabs table, ready for a paper; the best of each column in bold."""
    n = len(table.bits)
    head = " & ".join(rf"\multicolumn{{{n}}}{{c}}{{{name.capitalize()}}}" for name in DIRECTION_NAMES.values())
    lines = [
        rf"% {table.title}",
        rf"% {table.caption}",
        *(f"% ! {note}" for note in table.notes),
        rf"\begin{{tabular}}{{l{'r' * 2 * n}}}",
        r"\toprule",
        rf" & {head} \\",
        rf"\cmidrule(lr){{2-{n + 1}}} \cmidrule(lr){{{n + 2}-{2 * n + 1}}}",
        "Method & " + " & ".join(str(bits) for _, bits in table.columns()) + r" \\",
        r"\midrule",
    ]
    lines += [_latex_line(table, row) for row in table.rows]
    lines += [r"\midrule", *(_latex_line(table, row) for row in table.limits)]
    lines.append(r"\bottomrule")
    if table.overlap:  # not in a comment: it has to be seen in print
        said = rf"\footnotesize {table.overlap.translate(LATEX)}"
        lines.append(rf"\multicolumn{{{2 * n + 1}}}{{p{{0.9\linewidth}}}}{{{said}}} \\")
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _rich_table(table: Table, directions: tuple[str, ...]) -> RichTable:
    from rich.text import Text

    grid = empty_grid()
    grid.add_column("method", overflow="fold")  # the one column that may be broken where a line is too short
    for direction in directions:
        for position, bits in enumerate(table.bits):
            name = f"{direction} {bits}" if position == 0 else str(bits)
            grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column(table.spent, justify="right", no_wrap=True)
    columns = [(direction, bits) for direction in directions for bits in table.bits]
    for row in table.rows:
        cells = [Text(row.cells[c], style="bold green" if c in row.best else "") for c in columns]
        grid.add_row(Text(row.label), *cells, row.seconds)
    grid.add_section()
    for row in table.limits:
        grid.add_row(row.label, *(row.cells[c] for c in columns), "", style="dim")
    return grid


def empty_grid() -> RichTable:
    from rich import box
    from rich.table import Table as RichTable

    return RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def print_titled(title: str, grid: RichTable, console: Console) -> None:
    """A title over a table; as the table's own title, rich would fold it to the width of the table."""
    console.print(title, style="bold", highlight=False, markup=False)
    console.print(grid)


def md_line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _latex_line(table: Table, row: Row) -> str:
    cells = []
    for column in table.columns():
        text = row.cells[column].translate(LATEX)
        cells.append(rf"\textbf{{{text}}}" if column in row.best else text)
    return " & ".join([row.label.translate(LATEX), *cells]) + r" \\"
