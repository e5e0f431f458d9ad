"""Weights that `hashzoo pretrain` made: a safetensors file whose metadata say what they were trained on."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from hashzoo.errors import HashzooError
from hashzoo.storage.files import atomic_write

SCHEMA = 1
METADATA = "hashzoo"  # one entry: safetensors writes several in any order, and equal weights shall be equal files


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors, and what is said about them as plain JSON, in one piece; the same gives the same bytes."""
    # Copies: tensors that share memory cannot be written.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(safetensors.torch.save(copies, {METADATA: json.dumps(about)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            return tensors, _about(file)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise HashzooError(f"{path} cannot be read ({error}); delete it and make it again", exit_code=1) from error


def card_of(weights: object) -> dict[str, Any] | None:
    """The card of a file that `hashzoo pretrain` made; None for words, missing files and the files of others."""
    if not isinstance(weights, str) or weights in ("pretrained", "random"):
        return None
    try:
        with safetensors.safe_open(Path(weights).expanduser(), framework="pt") as file:
            card = _about(file).get("card")
    except (safetensors.SafetensorError, OSError, ValueError):
        return None
    return card if isinstance(card, dict) and card.get("made_by") == "hashzoo pretrain" else None


def load_trained(encoder: nn.Module, weights: str) -> None:
    """Load such a file into an encoder of the same kind."""
    path = Path(weights).expanduser()
    tensors, about = read_tensors(path)
    try:
        encoder.load_state_dict(tensors)
    except RuntimeError as error:
        raise HashzooError(
            f"{weights} holds weights of {about['card']['encoder']} that do not fit what this version of it builds; "
            f"train them again with hashzoo pretrain"
        ) from error


def check_trained(
    weights: str, card: Mapping[str, Any], encoder: str, settings: Mapping[str, Any], track: Mapping[str, Any]
) -> None:
    """Refuse weights that were trained on rows that this track does not train on, or for another use of the encoder.

    Args:
        weights: where they are.
        card: theirs.
        encoder: its name, as the user types it.
        settings: its settings; all but `weights` must be those that it was trained with.
        track: `Track.describe()` of what is to be run.
    """
    if card["encoder"] != encoder:
        raise HashzooError(f"{weights} holds weights of {card['encoder']}, not of {encoder}")
    asked = {name: value for name, value in settings.items() if name != "weights"}
    for name, value in card["settings"].items():
        if name in asked and json.loads(json.dumps(asked[name])) != value:
            raise HashzooError(
                f"{weights} was trained with {name}={value}, and {asked[name]} is asked for; "
                f"add --set {card['modality']}.{name}={value}"
            )
    theirs = card["track"]
    if theirs["fingerprint"] == track["fingerprint"]:
        if theirs["splits"] != track["splits"]:
            raise HashzooError(
                f"{weights} was trained on another split of '{track['dataset']}', whose training rows may be queries "
                f"here; train weights on this one with hashzoo pretrain"
            )
        if theirs.get("training") != track.get("training"):
            raise HashzooError(
                f"{weights} was trained on '{track['dataset']}' with other settings train_data.* than asked for here; "
                f"train weights with the same ones"
            )
    elif _base(theirs["dataset"]) == _base(track["dataset"]) and multiprocessing.parent_process() is None:
        print(
            f"hashzoo: {weights} was trained on other content of '{theirs['dataset']}'; nobody has checked that no "
            f"query of this '{track['dataset']}' is among its training rows",
            file=sys.stderr,
        )


def _about(file: Any) -> dict[str, Any]:
    """What was written about the tensors of an open file; {} in the files of others."""
    return json.loads((file.metadata() or {}).get(METADATA, "{}"))


def _base(dataset: str) -> str:
    return dataset.partition("/")[0]
