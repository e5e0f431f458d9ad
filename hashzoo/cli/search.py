"""`hashzoo search`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hashzoo.cli.bench import Json
from hashzoo.cli.common import console, on_this_machine, print_json
from hashzoo.errors import HashzooError

MOST = 10_000  # hits of a query


def search(
    codes: Annotated[Path, typer.Argument(metavar="CODES", help="The folder of a collection: see hashzoo encode.")],
    text: Annotated[list[str] | None, typer.Option("--text", help="What to look for; may be given often.")] = None,
    image: Annotated[
        list[Path] | None, typer.Option("--image", help="A picture to look for; may be given often.")
    ] = None,
    texts: Annotated[Path | None, typer.Option("--texts", help="A file with a text a line.")] = None,
    k: Annotated[
        int | None, typer.Option("-k", min=1, max=MOST, help="Hits of a query; 10, or all of a radius.")
    ] = None,
    radius: Annotated[int | None, typer.Option("--radius", min=0, help="The largest distance in bits.")] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="An SQL condition on the metadata, such as \"text LIKE '%cat%'\".")
    ] = None,
    rerank: Annotated[
        int | None,
        typer.Option("--rerank", min=1, help="So many nearest are put in order by the real values of the query."),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet", help="Draw queries and hits with their pictures into a PNG file.", callback=on_this_machine
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Find the nearest items of a collection to texts or pictures, by the Hamming distance of their codes."""
    from hashzoo.search import Collection

    if sum(map(bool, (text, image, texts))) != 1:
        raise HashzooError("a search is for --text, --image or --texts; give one of them")
    collection = Collection(codes)
    queries: list[Any] = list(text or image or [])
    if texts:
        from hashzoo.inference.items import lines_of

        queries = lines_of(texts).columns["text"]
    kind = "image" if image else "text"
    with contextlib.redirect_stdout(sys.stderr):  # what encoders print must not end up in our data
        from hashzoo.search.hits import hits_of

        model = collection.model()
        encoded, values = model.encode_images(queries) if image else model.encode_texts(queries)
        # Real values are for re-ranking; their signs are the codes in any case.
        answer = collection.query(values, k=k, radius=radius, where=where, rerank=rerank)
    found = hits_of(answer)
    if sheet:
        _draw(sheet, collection.about.get("source", {}), kind, queries, found)
    if json:
        about = {"schema": 1, "collection": str(codes), "model": model.name, "codes": len(collection)}
        asked = [
            {kind: str(query), "code": code.tobytes().hex(), "hits": hits}
            for query, code, hits in zip(queries, encoded.data, found, strict=True)
        ]
        print_json({**about, "bits": collection.bits, "queries": asked})
        return
    from rich.text import Text

    console().print(Text(f"{codes}: {len(collection):,} codes by {model.name}", overflow="fold"))
    for query, hits in zip(queries, found, strict=True):
        _print(str(query), hits, list(collection.columns))


def _print(query: str, hits: list[dict[str, Any]], columns: list[str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print()
    out.print(Text(query, "bold", overflow="fold"))
    if not hits:
        out.print("  nothing found", highlight=False)
        return
    scored = "score" in hits[0]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("bits", *(["score"] if scored else []), "id"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in columns:
        table.add_column(Text(name), no_wrap=True, overflow="ellipsis", ratio=None)
    for hit in hits:
        numbers = [str(hit["distance"]), *([f"{hit['score']:.2f}"] if scored else []), str(hit["id"])]
        table.add_row(*numbers, *(Text(_words(hit["metadata"].get(name))) for name in columns))
    out.print(table)


def _words(value: Any) -> str:
    """A value of metadata on one line."""
    words = ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return " ".join(words.split())


def _draw(path: Path, source: dict[str, Any], kind: str, queries: list[Any], found: list[list[dict[str, Any]]]) -> None:
    from hashzoo.data.pictures import open_picture
    from hashzoo.inference.items import Shown
    from hashzoo.search.sheet import write_sheet

    shown = Shown(source)
    rows = []
    for query, hits in zip(queries, found, strict=True):
        drawn = []
        for hit in hits:
            metadata = hit["metadata"]
            words = _words(metadata.get("text") or metadata.get("key"))
            try:
                picture = shown.picture(hit["id"], metadata)
            except HashzooError as error:
                print(f"hashzoo: {error}", file=sys.stderr)
                picture = None
            seen = picture if picture is not None else words or f"id {hit['id']}"
            drawn.append((seen, f"{hit['distance']} bits, id {hit['id']}", words if picture is not None else ""))
        rows.append((open_picture(query) if kind == "image" else query, drawn))
    write_sheet(path, rows)
