"""`hashzoo report`."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from hashzoo.cli.common import console, on_this_machine, print_json, words
from hashzoo.errors import HashzooError

PLOTS = Path("figures")  # where plots go that name no folder


def report(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(metavar="[RUNS]", help="A runs folder, or a bundle that somebody sent: it is checked first."),
    ] = None,
    runs: Annotated[
        str, typer.Option("--runs", help="The folder that keeps runs, or an address: s3://bucket/prefix.")
    ] = "runs",
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE",
            help="Pack the tables into a zip, with all that is needed to check them.",
            callback=on_this_machine,
        ),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="A B", help="Two rows of the table: is their difference real?"),
    ] = None,
    pivot: Annotated[
        str | None,
        typer.Option(
            "--pivot",
            metavar="NAME[,NAME]",
            help="Tables over the values of a setting, by code length, or of two: trainer.alpha,trainer.beta.",
        ),
    ] = None,
    measure: Annotated[
        str, typer.Option("--measure", help="What a pivot or plot shows: the mean of both directions, i2t or t2i.")
    ] = "mean",
    costs: Annotated[
        bool, typer.Option("--costs", help="What each method costs beside what it scores: time, size, operations.")
    ] = False,
    md: Annotated[bool, typer.Option("--md", help="Markdown.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="One line a run, all scores.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="A booktabs table.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="One page with all of it: tables, figures, gallery, provenance.",
            callback=on_this_machine,
        ),
    ] = None,
    gallery: Annotated[
        int | None,
        typer.Option(
            "--gallery", help="Of --html: queries of a track that are shown with what they find; 6, 0 for none."
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            metavar="DIR",
            help="Draw every figure of each track into a folder, as SVG and PNG.",
            callback=on_this_machine,
        ),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="NAME[,NAME]",
            help="Draw what --pivot shows, lines or a heat map; into the folder of --figures, or figures.",
        ),
    ] = None,
) -> None:
    """Tables of all finished runs, one for each track: nothing is trained or computed again.

    Marked are the best of a column and all that are not significantly worse; intervals stand below.
    """
    if sum((md, csv, json, latex, html is not None)) > 1:
        raise HashzooError("--md, --csv, --json, --latex and --html exclude each other; give one")
    if html is None and gallery is not None:
        raise HashzooError("--gallery is a part of the page; type --html report.html --gallery N")
    from hashzoo.benches.mirror import place_of
    from hashzoo.report import collect, join_folds

    if (figures or plot) and (compare or pivot or md or csv or json or latex or html):
        raise HashzooError(
            "--figures and --plot draw and print the names of files; leave the other forms of a report out"
        )
    if measure != "mean" and not (pivot or plot):
        raise HashzooError("--measure is of a pivot; add --pivot, such as --pivot trainer.alpha")
    if compare and pivot:
        raise HashzooError("--compare and --pivot exclude each other; give one")
    if pivot and html:
        raise HashzooError("--pivot prints tables; leave --html out, or --pivot")
    if costs and (compare or pivot or csv or json or html or figures or plot):
        raise HashzooError(
            "--costs prints tables of its own, --md or --latex; --csv, --json and --html have them anyway"
        )
    if bundle and (compare or pivot or costs or md or csv or json or latex or html or figures or plot):
        raise HashzooError("--bundle packs all tables; leave the other forms of a report out")
    if source is not None and (given := context.get_parameter_source("runs")) and given.name == "COMMANDLINE":
        raise HashzooError(f"{source} and --runs both name runs; leave one of the two out")
    with contextlib.ExitStack() as stack:
        folder, mirror = place_of(source or runs)
        named: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = list  # of JSON and CSV, which name folders
        if mirror is None and folder.is_file():
            if bundle:
                raise HashzooError(f"{folder} is a bundle already; copy it as it is, or give a runs folder")
            unpacked = stack.enter_context(_unpacked(folder))
            named = functools.partial(_named, folder=unpacked, bundle=folder)
            found = collect(unpacked)
        else:
            found = collect(folder, None if mirror is None else mirror.fetch_all())
        if bundle:
            _bundle(found, bundle)
        elif costs:
            _costs(join_folds(found), "md" if md else "latex" if latex else "terminal")
        elif plot:
            _plot(found, words([plot], "--plot"), measure, figures or PLOTS)
        elif figures:
            _figures(found, figures)
        elif pivot:
            forms = (("md", md), ("csv", csv), ("json", json), ("latex", latex))
            form = next((name for name, asked in forms if asked), "")
            _pivots(found, words([pivot], "--pivot"), measure, form)
        elif compare:
            if md or csv or latex or html:
                raise HashzooError("--compare prints a table, or --json; leave --md, --csv, --latex and --html out")
            _compare(join_folds(found), *compare, json)
        elif html:
            _page(found, html, gallery)
        elif json:
            print_json({"schema": 1, "tracks": named(found)})
        elif csv:
            from hashzoo.report import frame

            print(frame(named(found)).to_csv(index=False), end="")
        else:
            _tables(join_folds(found), "md" if md else "latex" if latex else "terminal")


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The runs folder of a bundle, of which was said what was checked."""
    from hashzoo.report.bundled import unpacked

    with unpacked(path) as (folder, checked):
        runs = "1 run" if checked.runs == 1 else f"{checked.runs:,} runs"
        failed = f" ({checked.failed:,} of them failed)" if checked.failed else ""
        print(
            f"hashzoo: checked {path}: {runs}{failed}; {checked.numbers:,} numbers are those that the codes give",
            file=sys.stderr,
        )
        yield folder


def _named(found: list[dict[str, Any]], folder: Path, bundle: Path) -> list[dict[str, Any]]:
    """Results that name their runs by where they lie in the bundle."""
    inside = {
        result["run"]: f"{bundle}/{Path(result['run']).relative_to(folder.parent).as_posix()}"
        for item in found
        for result in item["results"]
    }
    return [
        item | {"results": [result | {"run": inside[result["run"]]} for result in item["results"]]} for item in found
    ]


def _bundle(found: list[dict[str, Any]], path: Path) -> None:
    from hashzoo.report.bundle import write_bundle

    count = write_bundle(found, path)
    size = path.stat().st_size
    runs = "1 run" if count == 1 else f"{count:,} runs"
    print(f"hashzoo: packed {runs}, {size:,} bytes; hashzoo report {path.name} checks it", file=sys.stderr)
    print(path)


def _page(found: list[dict[str, Any]], path: Path, gallery: int | None) -> None:
    from hashzoo.report.html import QUERIES, write_html

    for missing in write_html(found, path, QUERIES if gallery is None else gallery):
        print(f"hashzoo: {missing}", file=sys.stderr)
    print(path)


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


def _costs(found: list[dict[str, Any]], form: str) -> None:
    from hashzoo.report import make_costs
    from hashzoo.report.formats import latex_costs, markdown_costs, print_costs

    told = [costs for item in found if (costs := make_costs(item))]
    if not told:
        raise HashzooError("these runs do not say what they cost; run hashzoo bench --fresh again", exit_code=1)
    if form == "terminal":
        for costs in told:
            print_costs(costs, console())
    else:
        print("\n".join(map(markdown_costs if form == "md" else latex_costs, told)), end="")


def _figures(found: list[dict[str, Any]], folder: Path) -> None:
    from hashzoo.report.figures import draw, looks
    from hashzoo.report.figures.files import write

    look = looks(found)
    drawings = [drawing for item in found for drawing in draw(item, look)]
    if not drawings:
        raise HashzooError("there is nothing to draw; run hashzoo bench again", exit_code=1)
    for path in write(drawings, folder):
        print(path)


def _plot(found: list[dict[str, Any]], names: list[str], measure: str, folder: Path) -> None:
    from hashzoo.report import pivot
    from hashzoo.report.figures.files import write
    from hashzoo.report.figures.sweeps import draw_sweeps

    for path in write(draw_sweeps(pivot(found, names, measure)), folder):
        print(path)


def _pivots(found: list[dict[str, Any]], names: list[str], measure: str, form: str) -> None:
    from hashzoo.report import pivot
    from hashzoo.report.pivot_formats import pivot_frame, pivot_json, pivot_latex, pivot_markdown, print_pivot

    pivots = pivot(found, names, measure)
    if form == "json":
        print_json({"schema": 1, "pivots": [pivot_json(one) for one in pivots]})
    elif form == "csv":
        print(pivot_frame(pivots).to_csv(index=False), end="")
    elif form:
        print("\n".join((pivot_markdown if form == "md" else pivot_latex)(one) for one in pivots), end="")
    else:
        for one in pivots:
            print_pivot(one, console())


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
