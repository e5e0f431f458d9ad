"""`hashzoo report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hashzoo.cli.common import console, print_json
from hashzoo.errors import HashzooError


def report(
    runs: Annotated[Path, typer.Option("--runs", help="The folder that keeps runs.")] = Path("runs"),
    md: Annotated[bool, typer.Option("--md", help="Markdown.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="One line a run, all scores.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="A booktabs table.")] = False,
) -> None:
    """Tables of all finished runs, one for each track: nothing is trained or computed again."""
    if sum((md, csv, json, latex)) > 1:
        raise HashzooError("--md, --csv, --json and --latex exclude each other; give one")
    from hashzoo.report import collect, frame, make_table
    from hashzoo.report.formats import latex as as_latex
    from hashzoo.report.formats import markdown, print_table

    found = collect(runs)
    if json:
        print_json({"schema": 1, "tracks": found})
    elif csv:
        print(frame(found).to_csv(index=False), end="")
    elif md or latex:
        print("\n".join((as_latex if latex else markdown)(make_table(item)) for item in found), end="")
    else:
        for item in found:
            print_table(make_table(item), console())
