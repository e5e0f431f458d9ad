"""The options of `--protocol online`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hashzoo.errors import HashzooError

if TYPE_CHECKING:
    from hashzoo.data.stream import Stream

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


def stream_of(
    protocol: str, chunk: int | None, chunks_by: str | None, order_seed: int | None, database_codes: str | None
) -> Stream | None:
    """What the options ask for; None for the offline protocol, which takes none of the others."""
    typed: dict[str, Any] = {
        "chunk": chunk,
        "by": chunks_by,
        "order_seed": order_seed,
        "database_codes": database_codes,
    }
    typed = {name: value for name, value in typed.items() if value is not None}
    if protocol not in ("offline", "online"):
        raise HashzooError(f"--protocol is offline or online, not '{protocol}'")
    if protocol == "offline":
        if typed:
            option = {"by": "chunks-by"}.get(next(iter(typed)), next(iter(typed)).replace("_", "-"))
            raise HashzooError(f"--{option} is for --protocol online; add that, or leave it out")
        return None
    from hashzoo.data.stream import Stream

    return Stream(**typed)
