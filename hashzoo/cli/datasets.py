"""`hashzoo datasets`: what there is, where it comes from, and whether it is in order."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from hashzoo import zoo
from hashzoo.cli.common import console, print_json
from hashzoo.errors import HashzooError

app = typer.Typer(help="List, show, prepare and verify data sets.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A data set, with its variant: emoji, emoji/full, scenes; or table:PATH.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A setting, such as dataset.size=64.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]


@app.command("list")
def list_datasets(json: Json = False) -> None:
    """Every data set that the installed plugins offer."""
    parts = [(plugin, part) for plugin in zoo.load().plugins for part in plugin.offers.get("dataset", ())]
    if json:
        listed = [{"name": part.name, "summary": part.summary, "plugin": plugin.name} for plugin, part in parts]
        print_json({"schema": 1, "datasets": listed})
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("data set", "what it is", "plugin"):
        table.add_column(column)
    for plugin, part in parts:
        table.add_row(part.name, Text(part.summary), Text(plugin.name))
    console().print(table)


@app.command("show")
def show(name: Name, settings: Settings = None) -> None:
    """What a data set holds, an example, its licence and whom to name."""
    from rich.text import Text

    from hashzoo.opening import open_dataset
    from hashzoo.settings import parse_assignments

    data = open_dataset(name, parse_assignments(settings or [], [], ["dataset"]))
    out = console()
    splits = data.splits
    labels = f"{len(data.classes)} labels, {data.labels.sum(1).mean():.2f} a pair"
    out.print(Text.assemble((data.name, "bold"), f": {len(data):,} pairs, {labels}"))
    val = f"{len(splits.val):,} val, " if len(splits.val) else ""
    out.print(f"{len(splits.train):,} train, {val}{len(splits.query):,} query, {len(splits.database):,} database rows")
    out.print(splits.rule, highlight=False, markup=False)
    for overlap in data.overlaps:
        out.print(f"! overlap: {overlap}", style="bold red", highlight=False, markup=False)
    out.print(f"labels: {', '.join(data.classes)}", highlight=False, markup=False)
    row = int(splits.train[0])
    if "text" in data.raw:
        out.print(f"text of row {row}: {data.text(row)}", highlight=False, markup=False)
    for role, features in data.features.items():
        out.print(f"{role} features: {features.shape[1]} numbers each")
    out.print(f"\n{data.licence}", highlight=False, markup=False)


@app.command("prepare")
def prepare(
    name: Name,
    source: Annotated[
        Path | None, typer.Option("--from", help="The folder, archive or file that you have of it.", exists=True)
    ] = None,
    settings: Settings = None,
) -> None:
    """Fetch and convert a data set into the cache, or convert what you have; what is there already stays."""
    from hashzoo.opening import dataset_class
    from hashzoo.settings import parse_assignments

    target, chosen = dataset_class(name, parse_assignments(settings or [], [], ["dataset"]))
    if source is not None:
        if "source" not in inspect.signature(target.prepare).parameters:
            raise HashzooError(f"'{name}' takes nothing from a path; leave out --from")
        chosen["source"] = source
    target.prepare(**chosen)
    console(stderr=True).print(f"{name} is prepared", highlight=False)


@app.command("verify")
def verify(
    name: Name,
    settings: Settings = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Query rows in other splits are said, and no fault.")
    ] = False,
    json: Json = False,
) -> None:
    """Check splits, labels and texts row by row; exit code 1 if something is wrong."""
    from hashzoo.data.verify import verify as check
    from hashzoo.opening import open_dataset
    from hashzoo.settings import parse_assignments

    outcome = check(open_dataset(name, parse_assignments(settings or [], [], ["dataset"])), allow_overlap)
    if json:
        print_json(outcome)
    else:
        counts = ", ".join(f"{value:,} {key}" for key, value in outcome["counts"].items())
        console().print(
            f"{outcome['dataset']}: {counts}; chance {outcome['floor']:.4f}; digest {outcome['digest'][:16]}",
            markup=False,
        )
        for problem in outcome["problems"]:
            console().print(f"! {problem}", style="yellow", highlight=False, markup=False)
        for note in outcome["notes"]:
            console().print(f"  note: {note}", highlight=False, markup=False)
        for overlap in outcome.get("overlaps", ()):
            console().print(f"! overlap: {overlap}", style="bold red", highlight=False, markup=False)
        console().print("in order" if outcome["ok"] else "not in order")
    if not outcome["ok"]:
        raise typer.Exit(1)
