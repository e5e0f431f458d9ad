"""`hashzoo eval`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hashzoo.cli.common import console, print_json
from hashzoo.errors import HashzooError


def evaluate(
    named: Annotated[
        list[str],
        typer.Argument(metavar="RUNS", help="Run folders, as hashzoo train prints them, or their addresses."),
    ],
    rerank: Annotated[
        int | None,
        typer.Option(
            "--rerank",
            metavar="N",
            help="Also score with the N nearest of each query re-ranked by asymmetric distance; say what it costs.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> None:
    """Compute every metric again from the stored codes of runs. Nothing is trained or changed."""
    from hashzoo.benches.mirror import run_folder
    from hashzoo.benches.rounds import score_run
    from hashzoo.benches.track import Track

    if rerank is not None and rerank < 1:
        raise HashzooError(f"--rerank is a number of candidates from 1, not {rerank}; type --rerank 100")
    results: list[dict[str, Any]] = []
    for run in map(run_folder, named):
        if not (run / "codes.npz").exists():
            raise HashzooError(f"{run} holds no codes; give the folder of a finished run, as hashzoo train prints it")
        track = Track.load(run.resolve().parent.parent)
        overlap = {"overlap": track.overlap} if track.overlap else {}
        result = {"run": str(run), **overlap, **score_run(track, run)[0]}
        if rerank is not None:
            from hashzoo.inference.reranked import score_reranked

            result["reranked"] = score_reranked(track, run, rerank)
        results.append(result)
    if json:
        print_json({"schema": 1, "results": results})
        return
    for result in results:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from hashzoo.report.formats import print_overlap
    from hashzoo.report.table import overlap_of

    table = Table(title=Text(result["run"], overflow="fold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric")
    for direction in result["scores"]:
        table.add_column(direction, justify="right")
    scores = result["scores"].values()
    for name, value in next(iter(scores)).items():
        if isinstance(value, int | float):
            table.add_row(name, *(_number(direction[name]) for direction in scores))
    if "reranked" in result:
        _add_reranked(table, result["reranked"], list(result["scores"]))
    table.add_section()
    table.add_row("map, chance (exact)", *[_number(result["floor"])] * 2)
    table.add_row("map, label oracle", *[_number(result["ceiling"])] * 2)
    console().print(table)
    if "rounds" in result:
        console().print(_rounds(result))
    print_overlap(overlap_of(result), console())


def _add_reranked(table: Any, reranked: dict[str, Any], directions: list[str]) -> None:
    """What re-ranking brings, beside the same ranking without it, and what it costs."""
    found, count = [reranked[direction] for direction in directions], reranked["candidates"]
    table.add_section()
    table.add_row("map, ties by row", *(_number(one["map_hamming"]) for one in found))
    table.add_row(f"map, {count:,} re-ranked", *(_number(one["map"]) for one in found))
    for name, what in (("search", f"search for {count:,}"), ("rerank", "re-ranking")):
        table.add_row(f"ms a query, {what}", *(f"{one['seconds'][name] * 1000:.3f}" for one in found))


def _rounds(result: dict[str, Any]) -> Any:
    """mAP of an online run round by round."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("round", "rows", "queries", *result["scores"], "chance"):
        table.add_column(column, justify="right")
    for line in result["rounds"]:
        maps = [_number(value) for value in line["map"].values()] if "map" in line else [""] * len(result["scores"])
        counts = (_number(line[name]) for name in ("round", "rows", "queries"))
        table.add_row(*counts, *maps, _number(line["floor"]) if "floor" in line else "")
    table.add_section()
    means = (_number(value) for value in result["mean_over_rounds"].values())
    table.add_row("mean", "", "", *means, "")
    return table


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
