"""`hashzoo serve`."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from hashzoo.errors import HashzooError


def serve(
    codes: Annotated[
        list[Path], typer.Argument(metavar="CODES...", help="Folders of collections: see hashzoo encode.")
    ],
    host: Annotated[str, typer.Option("--host", help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="A file with the token that requests must bear; or set HASHZOO_TOKEN."),
    ] = None,
    max_k: Annotated[int, typer.Option("--max-k", min=1, max=10_000, help="Hits that a search may ask for.")] = 200,
    max_body: Annotated[int, typer.Option("--max-body", min=1, help="Megabytes of a request.")] = 16,
    max_pixels: Annotated[int, typer.Option("--max-pixels", min=1, max=150, help="Millions, of a picture.")] = 40,
    max_at_once: Annotated[
        int, typer.Option("--max-at-once", min=1, help="Requests that are worked on or wait; others get 503.")
    ] = 64,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for a request and its answer.")] = 15.0,
    where: Annotated[bool, typer.Option("--where/--no-where", help="Take conditions on metadata.")] = True,
) -> None:
    """Serve collections: a page on which a sentence or a picture finds what is like it, and an HTTP interface."""
    token = os.environ.get("HASHZOO_TOKEN", "")
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise HashzooError(f"{token_file} cannot be read as a token; write one line into it") from error
        if not token:
            raise HashzooError(f"{token_file} is empty; write a token into it")
    if token and (not token.isascii() or not token.isprintable() or " " in token):
        raise HashzooError("a token is printable ASCII without spaces; choose another one")

    def say(address: str) -> None:
        if host not in ("127.0.0.1", "localhost", "::1") and not token:
            print(f"hashzoo: whoever reaches {address} can search; set HASHZOO_TOKEN to ask for it", file=sys.stderr)
        print(f"serving {', '.join(map(str, codes))} at {address} (Ctrl-C ends it)", flush=True)

    with contextlib.redirect_stdout(sys.stderr):  # what encoders print must not end up in our data
        try:
            from hashzoo.serve.limits import Limits
            from hashzoo.serve.run import run
        except ImportError as error:
            raise HashzooError(
                f"serving needs {error.name}, which is not installed: type pip install 'hashzoo[serve]'", exit_code=1
            ) from error
    limits = Limits(
        body=max_body * 2**20,
        pixels=max_pixels * 1_000_000,
        k=max_k,
        seconds=timeout,
        at_once=max_at_once,
        where=where,
    )
    run(codes, limits, host=host, port=port, token=token, say=say)
