"""`hashzoo pretrain`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hashzoo.cli.bench import Dataset, Device, Json
from hashzoo.cli.common import on_this_machine, print_json


def pretrain(
    encoder: Annotated[str, typer.Argument(help="An encoder with weights: timm:resnet18, cnnf.")],
    dataset: Dataset = "emoji",
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the training rows.")] = 30,
    batch: Annotated[int, typer.Option("--batch", help="Rows a step.")] = 64,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate at the start; cosine decay to zero.")] = 1e-3,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Of the encoder or the data, such as image.pixels=64; may be given often."),
    ] = None,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The .safetensors file to make.", callback=on_this_machine)
    ] = None,
    json: Json = False,
) -> None:
    """Train an encoder from scratch on the labels of the training rows, and keep its weights.

    Use them with --set image.weights=PATH. Stopped at any time, the same command goes on where it was.
    """
    from hashzoo.pretrain import pretrain as run

    with contextlib.redirect_stdout(sys.stderr):
        made = run(
            encoder,
            dataset=dataset,
            settings=settings or [],
            epochs=epochs,
            batch=batch,
            lr=lr,
            seed=seed,
            device=device,
            threads=threads,
            out=out,
            watch=_tell,
        )
    if json:
        print_json(made)
        return
    if made["reused"]:
        print(f"hashzoo: {made['weights']} is finished already", file=sys.stderr)
    print(made["weights"])


def _tell(line: dict[str, Any]) -> None:
    val = f", val loss {line['val_loss']:.4f}" if "val_loss" in line else ""
    told = f"epoch {line['epoch']}/{line['epochs']}: loss {line['loss']:.4f}{val} ({line['seconds']:.1f} s)"
    print(told, file=sys.stderr, flush=True)
