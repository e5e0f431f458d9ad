"""`hashzoo plugins new`: a plugin to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[
        str, typer.Argument(help="Of the plugin, and of what it offers: toy gives the package hashzoo-toy.")
    ],
    kind: Annotated[str, typer.Option("--kind", help="method, loss, trainer, encoder, dataset or index.")] = "method",
    into: Annotated[Path, typer.Option("--into", help="The folder in which the package's folder is made.")] = Path(),
) -> None:
    """Write a small plugin that works: a package to install, to check, and to change into yours."""
    from hashzoo.scaffold import with_article, write_plugin

    written = write_plugin(name, kind, into)
    print(f"{written.folder} holds {with_article(kind)} that works:\n")
    print("".join(f"    {file}\n" for file in written.files))
    print("What to type next, to install it, check it and see it:\n")
    print("".join(f"    {command}\n" for command in written.commands), end="")
