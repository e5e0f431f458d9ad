"""`hashzoo report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hashzoo.cli.common import console, print_json
from hashzoo.errors import HashzooError


def report(
    runs: Annotated[Path, typer.Option("--runs", help="The folder that keeps runs.")] = Path("runs"),
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="A B", help="Two rows of the table: is their difference real?"),
    ] = None,
    md: Annotated[bool, typer.Option("--md", help="Markdown.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="One line a run, all scores.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="A booktabs table.")] = False,
) -> None:
    """Tables of all finished runs, one for each track: nothing is trained or computed again.

    Marked are the best of a column and all that are not significantly worse; intervals stand below.
    """
    if sum((md, csv, json, latex)) > 1:
        raise HashzooError("--md, --csv, --json and --latex exclude each other; give one")
    from hashzoo.report import collect, join_folds

    found = collect(runs)
    if compare:
        if md or csv or latex:
            raise HashzooError("--compare prints a table, or --json; leave --md, --csv and --latex out")
        _compare(join_folds(found), *compare, json)
    elif json:
        print_json({"schema": 1, "tracks": found})
    elif csv:
        from hashzoo.report import frame

        print(frame(found).to_csv(index=False), end="")
    else:
        _tables(join_folds(found), "md" if md else "latex" if latex else "terminal")


def _tables(found: list[dict[str, Any]], form: str) -> None:
    from hashzoo.report import make_table, significance
    from hashzoo.report.formats import latex, markdown, print_intervals, print_table

    for item in found:
        values = significance.per_query(item["results"])
        table = make_table(item, significance.as_good_as_best(values))
        table = table.with_note(f"marked: the best, and what is not significantly worse ({significance.TEST})")
        further = [make_table(item, over_rounds=True)] if item["track"].get("stream") else []
        if form == "terminal":
            for one in (table, *further):
                print_table(one, console())
            print_intervals(table, significance.intervals(values), significance.INTERVAL, console())
        else:
            written = "\n".join(map(markdown if form == "md" else latex, (table, *further)))
            print(written, end="\n" if item is not found[-1] else "")


def _compare(found: list[dict[str, Any]], a: str, b: str, json: bool) -> None:
    from hashzoo.report import significance
    from hashzoo.report.formats import print_comparison

    compared = significance.compare(found, a, b)
    if json:
        print_json({"schema": 1, "a": a, "b": b, "test": significance.TEST_OF_TWO, "tracks": compared})
        return
    for item in compared:
        print_comparison(item, a, b, console())
        console().print(f"{significance.INTERVAL} of the difference; {significance.TEST_OF_TWO}", style="dim")
