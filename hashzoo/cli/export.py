"""`hashzoo export`: codes for other tools, and towers for onnxruntime."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hashzoo.cli.bench import Json
from hashzoo.cli.common import on_this_machine, print_json
from hashzoo.errors import HashzooError


def export(
    source: Annotated[
        str, typer.Argument(metavar="CODES|RUN", help="The folder of a collection, or that of a run or its address.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Write the codes of a collection: lance, elasticsearch-bulk, parquet, or as an index by its name.",
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="PATH", help="Where to; it does not exist yet.", callback=on_this_machine),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Of the index, such as index.nlist=1000; may be given often.")
    ] = None,
    onnx: Annotated[
        Path | None,
        typer.Option(
            "--onnx",
            metavar="OUT",
            help="Write the towers of a model to this new folder.",
            callback=on_this_machine,
        ),
    ] = None,
    with_encoder: Annotated[
        bool, typer.Option("--with-encoder", help="With --onnx: from prepared items, not from features.")
    ] = False,
    json: Json = False,
) -> None:
    """Hand codes to another search engine, or a trained model to onnxruntime.

    hashzoo export CODES --to parquet --out codes.parquet
    hashzoo export CODES --to faiss-ivf --out codes.ivf
    hashzoo export RUN --onnx towers
    """
    if (onnx is None) == (not to):
        raise HashzooError("give either --to lance, elasticsearch-bulk or parquet with --out PATH, or --onnx OUT")
    if onnx is not None:
        if out is not None or settings:
            raise HashzooError("--onnx names the folder itself; leave out --out and --set")
        made = _towers(source, onnx, with_encoder)
    else:
        if out is None or with_encoder:
            raise HashzooError("--to takes --out PATH, and no --with-encoder; see hashzoo export --help")
        from hashzoo.search.exports import export as export_rows

        made = export_rows(Path(source), to, out, settings or [])
        print(f"hashzoo: {made['rows']:,} codes of {made['bits']} bits", file=sys.stderr)
    if json:
        print_json(made)
        return
    print(made["out"])


def _towers(source: str, out: Path, with_encoder: bool) -> dict[str, Any]:
    from hashzoo.benches.mirror import run_folder
    from hashzoo.inference.onnx_towers import export_towers

    with contextlib.redirect_stdout(sys.stderr):
        made = export_towers(run_folder(source), out, with_encoder=with_encoder)
    for tower in made["towers"].values():
        print(
            f"hashzoo: {tower['file']} takes {tower['input']} of shape {tuple(tower['shape'])}; on {tower['rows']:,} "
            f"{tower['compared']} {tower['differing_bits']} bits differ from torch's, and values by at most "
            f"{tower['largest_difference']:.1g}",
            file=sys.stderr,
        )
    return made
