"""`hashzoo encode`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from hashzoo.benches.shard import Shard
from hashzoo.cli.bench import BatchSize, Device, Json, RayAddress, Runner, Share
from hashzoo.cli.common import batch_size as read_batch_size
from hashzoo.cli.common import on_this_machine, print_json
from hashzoo.errors import HashzooError


def encode(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The folder of a run, as hashzoo train prints it, or its address, or a collection."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="CODES", help="The folder of the collection.", callback=on_this_machine),
    ],
    images: Annotated[
        Path | None, typer.Option("--images", help="Encode all pictures in a folder and below; paths become metadata.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table", help="Encode the rows of a .csv, .tsv, .jsonl or .parquet file: columns image, text or both."
        ),
    ] = None,
    texts: Annotated[Path | None, typer.Option("--texts", help="Encode the lines of a text file.")] = None,
    dataset: Annotated[
        bool,
        typer.Option("--dataset", help="Encode rows of the run's own data set; so it is if nothing else is named."),
    ] = False,
    split: Annotated[str, typer.Option("--split", help="Of the data set: database, query, train or all.")] = "database",
    of: Annotated[
        str, typer.Option("--of", help="image or text: what to encode of rows that have both; pictures if left out.")
    ] = "",
    outputs: Annotated[
        bool, typer.Option("--outputs", help="Keep real values beside the codes, 2 bytes a bit, for search --rerank.")
    ] = False,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            help="Threads that read and encode, or workers of a runner; as many as there are processors.",
        ),
    ] = None,
    runner: Runner = None,
    ray_address: RayAddress = "",
    shard: Share = "",
    json: Json = False,
) -> None:
    """Turn pictures and texts into a collection of codes that can be searched and served.

    Stopped at any time, the same command goes on; new pictures of the folder are added. What cannot be read is told
    and left out, and the exit code is 1.
    """
    from hashzoo.inference.items import SPLITS

    named = [name for name, given in (("--images", images), ("--table", table), ("--texts", texts)) if given]
    named += ["--dataset"] if dataset else []
    if len(named) > 1:
        raise HashzooError(f"{' and '.join(named)} exclude each other; give one of them")
    if of not in ("", "image", "text"):
        raise HashzooError(f"--of is image or text, not '{of}'")
    if split not in SPLITS:
        raise HashzooError(f"--split is {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, not '{split}'")
    if named and named[0] != "--dataset" and split != "database":
        raise HashzooError(f"--split is for rows of the data set; leave it out with {named[0]}")
    if (images or texts) and of:
        raise HashzooError(f"--of is for rows that have both; leave it out with {named[0]}")
    batch = read_batch_size(batch_size)

    # What methods print must not end up in our data on stdout.
    with contextlib.redirect_stdout(sys.stderr):
        from hashzoo.benches.benchmark import check_batch_size, check_device

        check_device(device)
        check_batch_size(batch)
        from hashzoo.benches.mirror import run_folder
        from hashzoo.inference.filling import encode as encode_items

        if images:
            items = {"images": str(images)}
        elif table:
            items = {"table": str(table), "of": of}
        elif texts:
            items = {"texts": str(texts)}
        else:
            items = {"of": of, "split": split}
        model, filled = encode_items(
            run_folder(source),
            out,
            items,
            outputs=outputs,
            device=device,
            batch=batch,
            jobs=jobs,
            runner=runner,
            ray_address=ray_address,
            shard=shard,
        )
    if json:
        about = {"schema": 1, "collection": str(out), "model": model.name, "codes": len(filled.collection)}
        about |= {"there": filled.there, "added": filled.added, "left_out": filled.left_out}
        if filled.share:
            share = Shard.parse(shard)
            own, whole = filled.share
            about["shard"] = {"number": share.number, "of": share.of, "items": own, "of_items": whole}
        print_json(about)
    elif filled.share:
        print(
            f"{out}: share {shard} is encoded, {filled.share[0]:,} of {filled.share[1]:,} items; when all shares are, "
            f"the same command without --shard puts them into the collection"
        )
    else:
        left_out = f", {len(filled.left_out):,} left out" if filled.left_out else ""
        print(f"{out}: {len(filled.collection):,} codes by {model.name}{left_out}")
    if filled.left_out:
        raise typer.Exit(1)
