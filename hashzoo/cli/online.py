"""The options of `--protocol online`."""

from __future__ import annotations

from typing import Annotated

import typer

Protocol = Annotated[
    str, typer.Option("--protocol", help="offline: the database is there. online: it arrives in chunks.")
]
Chunk = Annotated[int | None, typer.Option("--chunk", help="Online: rows of a chunk; 2000.")]
ChunksBy = Annotated[
    str | None, typer.Option("--chunks-by", help="Online: rows, or classes: each chunk admits new labels.")
]
OrderSeed = Annotated[int | None, typer.Option("--order-seed", help="Online: decides the order of rows; 0.")]
DatabaseCodes = Annotated[
    str | None,
    typer.Option(
        "--database-codes",
        help="Online: method (what each method says), or of the towers: kept as they were made, or recomputed.",
    ),
]
