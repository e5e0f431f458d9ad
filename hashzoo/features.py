"""A frozen encoder runs once: its outputs are cached under a key of everything that can change them."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hashzoo.data import Dataset
from hashzoo.data.training import NO_TEXT
from hashzoo.encoders.base import Encoder
from hashzoo.encoders.lookup import Lookup
from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage import atomic_write, cache_dir, digest, read_json, write_json

BATCH = 64


@dataclass(frozen=True)
class Encoded:
    """One modality of a data set as its tower takes it.

    Attributes:
        features: (N, width) float32, memory-mapped; named outputs side by side in the order of `widths`.
        inputs: `features` again, or (N, ...) prepared items when the encoder is trained along.
        widths: width of each named output.
        encoder: the encoder itself, in evaluation mode.
        frozen: whether the tower starts from features (True) or holds the encoder.
    """

    features: np.ndarray
    inputs: np.ndarray
    widths: dict[str, int]
    encoder: Encoder
    frozen: bool

    def trainable_encoder(self) -> Encoder:
        """A copy of the encoder that may be trained, as it was before any training."""
        return copy.deepcopy(self.encoder).requires_grad_(True)

    def inputs_of(self, rows: np.ndarray) -> np.ndarray:
        """A copy of the inputs of some rows, (n, ...); NO_TEXT stands for the empty text."""
        return self._with_blanks(self.inputs[rows], rows, self.frozen)

    def features_of(self, rows: np.ndarray) -> np.ndarray:
        """A copy of the features of some rows, (n, width); NO_TEXT stands for the empty text."""
        return self._with_blanks(self.features[rows], rows, True)

    def _with_blanks(self, taken: np.ndarray, rows: np.ndarray, features: bool) -> np.ndarray:
        """Put what the encoder makes of the empty text where it is asked for; zeros, where texts are looked up."""
        blank = rows == NO_TEXT
        if not blank.any():
            return taken
        if isinstance(self.encoder, Lookup):
            taken[blank] = 0
            return taken
        prepared = self.encoder.prepare("")[None]
        taken[blank] = (_run(self.encoder, prepared, self.widths) if features else prepared).numpy()
        return taken

    def tower_inputs(self, items: Sequence[Any]) -> Tensor:
        """Raw items, not of the data set, as the tower takes them: (len, ...)."""
        prepared = torch.stack([self.encoder.prepare(item) for item in items])
        return _run(self.encoder, prepared, self.widths) if self.frozen else prepared


def encode_modality(
    dataset: Dataset, encoder: Encoder, card: Mapping[str, Any], role: str, outputs: Sequence[str], frozen: bool
) -> Encoded:
    """Features (and, for a trainable encoder, prepared items) of all rows, from the cache where they are.

    Args:
        dataset: where the items come from.
        encoder: fitted, in evaluation mode.
        card: the encoder's, and "name": what the user calls it.
        role: "image" or "text".
        outputs: named outputs that the head asks for beside "pooled"; used only if the encoder has them all.
        frozen: False to prepare items for an encoder that is trained along.
    """
    if isinstance(encoder, Lookup):
        if not frozen:
            raise HashzooError(f"{card['name']} looks features up and cannot be trained; leave out {role}.frozen=false")
        features = encoder.open(dataset)
        return Encoded(features, features, {"pooled": encoder.dim}, encoder, frozen=True)
    item = dataset.image if role == "image" else dataset.text
    widths = {"pooled": encoder.dim}
    if outputs and all(name in encoder.outputs for name in outputs):
        widths |= {name: encoder.outputs[name] for name in outputs}
    source = {"dataset": dataset.name, "content": dataset.fingerprint(), "role": role, "rows": len(dataset)}

    def prepared(row: int) -> Tensor:
        try:
            return encoder.prepare(item(row))
        except OSError as error:  # told apart here from a cache that cannot be written
            reason = f"the {role} of row {row} of {dataset.name} cannot be read ({error})"
            raise HashzooError(f"{reason}; see `hashzoo datasets verify {dataset.name}`", exit_code=1) from error

    def batches(function: Callable[[Tensor], Tensor]) -> Iterator[np.ndarray]:
        for start in range(0, len(dataset), BATCH):
            rows = range(start, min(start + BATCH, len(dataset)))
            yield function(torch.stack([prepared(row) for row in rows])).numpy()

    unit = f"{role}s"
    features = cached_array(
        {"kind": "features", "encoder": card, "outputs": list(widths), **source},
        lambda: batches(lambda batch: _run(encoder, batch, widths)),
        f"{card['name']} features of {dataset.name}",
        unit,
    )
    inputs = features
    if not frozen:
        inputs = cached_array(
            {"kind": "prepared", "encoder": card, **source},
            lambda: batches(lambda batch: batch),
            f"{card['name']} inputs of {dataset.name}",
            unit,
        )
    return Encoded(features, inputs, widths, encoder, frozen)


def cached_array(
    preimage: dict[str, Any], make: Callable[[], Iterator[np.ndarray]], description: str, unit: str
) -> np.ndarray:
    """The array that belongs to `preimage`, memory-mapped; made in batches and stored when it is not there.

    A file that does not match the digest stored beside it is said to be damaged and made again.
    """
    key = digest(preimage)
    path = cache_dir() / "features" / f"{key[:24]}.npy"
    sidecar = path.with_suffix(".json")
    if sidecar.exists():
        try:
            return _open(path, read_json(sidecar))
        except (HashzooError, ValueError, OSError, KeyError, TypeError) as error:
            print(f"hashzoo: {path} is damaged ({error}); computing it again", file=sys.stderr)
    else:
        _say_what_changed(path.parent, preimage)
    _store(path, make(), preimage["rows"], description, unit)
    content = digest(path.read_bytes())
    write_json(sidecar, {"preimage": preimage, "size": path.stat().st_size, "sha256": content})
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _open(path: Path, sidecar: dict[str, Any]) -> np.ndarray:
    if path.stat().st_size != sidecar["size"]:
        raise ValueError(f"it has {path.stat().st_size} bytes instead of {sidecar['size']}")
    if digest(path.read_bytes()) != sidecar["sha256"]:
        raise ValueError("its content does not match its digest")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _store(path: Path, batches: Iterator[np.ndarray], rows: int, description: str, unit: str) -> None:
    """Write batches behind one .npy header, so that only one batch is in memory."""
    first = next(batches)
    header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False}
    with atomic_write(path) as file, progress(description, rows, unit) as advance:
        np.lib.format.write_array_header_2_0(file, header | {"shape": (rows, *first.shape[1:])})
        file.write(first.tobytes())
        advance(len(first))
        for batch in batches:
            file.write(batch.tobytes())
            advance(len(batch))


@torch.no_grad()
def _run(encoder: Encoder, prepared: Tensor, widths: Mapping[str, int]) -> Tensor:
    if list(widths) == ["pooled"]:
        return encoder(prepared).float()
    outputs = encoder.forward_outputs(prepared)
    return torch.cat([outputs[name].float() for name in widths], dim=1)


def _say_what_changed(folder: Path, preimage: dict[str, Any]) -> None:
    """When a cached array differs from the wanted one in a single field, name the field."""
    wanted = _flat(preimage)
    for sidecar in sorted(folder.glob("*.json")):
        try:
            stored = _flat(read_json(sidecar)["preimage"])
        except (HashzooError, KeyError, TypeError, AttributeError):
            continue
        different = [name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name)]
        if len(different) == 1:
            name = different[0]
            print(
                f"hashzoo: cached features differ in {name} ({stored.get(name)} there, {wanted.get(name)} here)",
                file=sys.stderr,
            )
            return


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: leaf
        for key, inner in value.items()
        for name, leaf in _flat(inner, f"{prefix}.{key}" if prefix else key).items()
    }
