"""`hashzoo features`: features that are computed on one machine and used on another."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from hashzoo.cli.bench import BatchSize, Dataset, Device, Json, RayAddress, Runner, Settings, Share
from hashzoo.cli.common import batch_size as read_batch_size
from hashzoo.cli.common import console, on_this_machine, print_json

app = typer.Typer(help="Export features of a data set, verify an archive of them, import one.", no_args_is_help=True)
Encoders = Annotated[
    str, typer.Option("--encoders", help="lite, IMAGE+TEXT, or one encoder, such as clip:ViT-B-16/openai.")
]


@app.command("export")
def export(
    out: Annotated[
        Path, typer.Option("--out", help="The new folder that becomes the archive.", callback=on_this_machine)
    ],
    dataset: Dataset = "emoji",
    encoders: Encoders = "lite",
    settings: Settings = None,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Workers of a runner, side by side; as many as there are processors."),
    ] = None,
    runner: Runner = None,
    ray_address: RayAddress = "",
    shard: Share = "",
    json: Json = False,
) -> None:
    """Compute features and put them into a folder; anywhere else `--encoders archive:FOLDER` uses them."""
    from hashzoo.features.export import export as export_features

    # What encoders print must not end up in our data on stdout.
    with contextlib.redirect_stdout(sys.stderr):
        manifest = export_features(
            dataset,
            encoders,
            out,
            settings=settings or [],
            device=device,
            batch_size=read_batch_size(batch_size),
            jobs=jobs,
            runner=runner,
            ray_address=ray_address,
            shard=shard,
        )
    if shard and not json:
        print(
            f"share {shard} is in the cache; when all shares are, the same command without --shard makes {out} of them"
        )
        return
    _show(manifest, out, json)


@app.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(help="The folder of an archive.")],
    json: Json = False,
) -> None:
    """Compare every byte of an archive with its manifest, and say what it holds."""
    from hashzoo.encoders.archive import open_part, read_manifest

    manifest = read_manifest(folder)
    for role, part in manifest["modalities"].items():
        open_part(folder, role, part)
    _show(manifest, folder, json)


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="The folder of an archive.")],
    name: Annotated[str, typer.Option("--as", help="The name to use it by; the folder's own when left out.")] = "",
    link: Annotated[bool, typer.Option("--link", help="Leave the files where they are.")] = False,
    json: Json = False,
) -> None:
    """Verify an archive and keep it under a name: `--encoders archive:NAME` finds it from everywhere."""
    from hashzoo.features.export import import_archive

    name, manifest = import_archive(folder, name, link)
    if json:
        print_json({"name": name, **manifest})
        return
    _show(manifest, folder, False)
    console().print(f"type --encoders archive:{name}", highlight=False, markup=False)


def _show(manifest: dict, folder: Path, json: bool) -> None:
    if json:
        print_json(manifest)
        return
    out = console()
    out.print(
        f"{folder}: features of {manifest['rows']:,} rows of {manifest['dataset']}", highlight=False, markup=False
    )
    for role, part in manifest["modalities"].items():
        name = part["card"].get("name", part["card"].get("encoder", "an unnamed encoder"))
        size = f"{part['shape'][1]} numbers each, {part['dtype']}"
        out.print(f"{role}: {size}, of {name}", highlight=False, markup=False)
