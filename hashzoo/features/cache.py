"""A frozen encoder runs once: its outputs are cached under a key of everything that can change them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hashzoo.data import Dataset
from hashzoo.data.training import NO_TEXT
from hashzoo.encoders.base import Encoder, Width
from hashzoo.encoders.described import Described
from hashzoo.encoders.lookup import Lookup
from hashzoo.errors import HashzooError
from hashzoo.features.extraction import Extraction, blocks, features
from hashzoo.storage.arrays import LARGE, Selected, Wanted, cached_array
from hashzoo.storage.files import digest


@dataclass(frozen=True)
class Encoded:
    """One modality of a data set as its tower takes it.

    Attributes:
        inputs: `features`, or (N, ...) prepared items when the encoder is trained along; memory-mapped.
        widths: width of each named output, (tokens, width) of sequences.
        described: the encoder.
        frozen: whether the tower starts from features (True) or holds the encoder.
        how: the features are computed.
        compute: the features, from the cache where they are.
    """

    inputs: np.ndarray
    widths: dict[str, Width]
    described: Described
    frozen: bool
    how: Extraction
    compute: Callable[[], np.ndarray]

    @functools.cached_property
    def features(self) -> np.ndarray:
        """(N, width) float32 or float16, memory-mapped; named outputs side by side, flat, in the order of `widths`."""
        return self.inputs if self.frozen else self.compute()

    @property
    def encoder(self) -> Encoder:
        """The encoder itself, in evaluation mode; built when it is asked for first."""
        return self.described.encoder

    def trainable_encoder(self) -> Encoder:
        """A copy of the encoder that may be trained, as it was before any training."""
        return copy.deepcopy(self.encoder).requires_grad_(True)

    def inputs_of(self, rows: np.ndarray) -> np.ndarray | Selected:
        """Inputs of some rows, (n, ...): a copy, or, of many, rows that are read when they are taken.

        NO_TEXT stands for the empty text.
        """
        if len(rows) * self.inputs[:1].nbytes < LARGE:
            return self._taken(self.inputs, rows, self.frozen)
        return Selected(self.inputs, rows, self._blank(self.inputs, self.frozen) if NO_TEXT in rows else self.inputs[0])

    def features_of(self, rows: np.ndarray) -> np.ndarray:
        """A copy of the features of some rows, (n, width); NO_TEXT stands for the empty text."""
        return self._taken(self.features, rows, True)

    def _taken(self, array: np.ndarray, rows: np.ndarray, as_features: bool) -> np.ndarray:
        blank = self._blank(array, as_features) if NO_TEXT in rows else array[0]
        return Selected(array, rows, blank).take(np.arange(len(rows)))

    def _blank(self, array: np.ndarray, as_features: bool) -> np.ndarray:
        """What the encoder makes of the empty text; zeros in a look-up."""
        if self.described.looks_up:
            return np.zeros_like(array[0])
        prepared = self.encoder.prepare("")[None]
        made = features(self.encoder, prepared, self.widths, self.how) if as_features else prepared
        return made[0].cpu().numpy()

    def tower_inputs(self, strings: Sequence[str]) -> Tensor:
        """Texts that are not of the data set, as the tower takes them: (len, ...); features are cached like its own."""
        if not self.frozen:
            return torch.stack([self.encoder.prepare(string) for string in strings])
        card, how = self.described.card, self.how
        content = {"rows": len(strings), "strings": digest(list(strings))}
        preimage = {"kind": "strings", "encoder": card, "outputs": list(self.widths), **content, **how.place()}

        def make(ranges: Sequence[range]) -> Generator[tuple[range, np.ndarray], None, None]:
            encoder = self.encoder.to(how.device)
            return blocks(
                ranges,
                lambda row: encoder.prepare(strings[row]),
                lambda batch: features(encoder, batch, self.widths, how),
                how,
                one_at_a_time=True,
            )

        made = cached_array(preimage, how.rows, make, f"{card['name']} features of prompts", "prompts")
        return torch.from_numpy(np.array(made)).float()


def widths_of(described: Described, outputs: Sequence[str]) -> dict[str, Width]:
    """Widths of the named outputs that a head gets: "pooled", and what it asks for if the encoder has all of that."""
    widths: dict[str, Width] = {"pooled": described.dim}
    if outputs and all(name in described.outputs for name in outputs):
        widths |= {name: described.outputs[name] for name in outputs}
    return widths


class Make(Protocol):
    """Makes rows of an array: `arrays.Make`. Rows that cannot be read are put into `noted` where it is given."""

    def __call__(
        self, ranges: Sequence[range], noted: list[str] | None = None
    ) -> Generator[tuple[range, np.ndarray], None, None]: ...


def encode_modality(
    dataset: Dataset,
    described: Described,
    role: str,
    outputs: Sequence[str] = (),
    frozen: bool = True,
    how: Extraction = Extraction(),  # noqa: B008 - it is frozen
) -> Encoded:
    """Features (or, for a trainable encoder, prepared items) of all rows, from the cache where they are.

    A row that cannot be read is named, and all that can be computed without it is kept for the next call.

    Args:
        dataset: where the items come from.
        described: the encoder; it is built only where something is missing in the cache.
        role: "image" or "text".
        outputs: named outputs that the head asks for beside "pooled"; used only if the encoder has them all.
        frozen: False to prepare items for an encoder that is trained along.
        how: on which device, in which batches, how precisely.
    """
    if described.looks_up:
        if not frozen:
            name = described.card["name"]
            raise HashzooError(f"{name} looks features up and cannot be trained; leave out {role}.frozen=false")
        encoder = described.encoder
        assert isinstance(encoder, Lookup), "that is what looks_up says"
        found = encoder.open(dataset)
        return Encoded(found, {"pooled": described.dim}, described, True, how, lambda: found)

    def array(as_features: bool) -> np.ndarray:
        wanted, make = wanted_of(dataset, described, role, outputs, as_features, how)
        return wanted.array(make)

    compute = functools.partial(array, True)
    inputs = compute() if frozen else array(False)
    return Encoded(inputs, widths_of(described, outputs), described, frozen, how, compute)


def wanted_of(
    dataset: Dataset, described: Described, role: str, outputs: Sequence[str], frozen: bool, how: Extraction
) -> tuple[Wanted, Make]:
    """The array of `encode_modality`, which need not be there, and how rows of it are made; not for look-ups."""
    card = described.card
    source = {"dataset": dataset.name, "content": dataset.fingerprint(), "role": role, "rows": len(dataset)}
    item = dataset.image if role == "image" else dataset.text
    widths = widths_of(described, outputs)

    def make(
        ranges: Sequence[range], noted: list[str] | None = None
    ) -> Generator[tuple[range, np.ndarray], None, None]:
        encoder = described.encoder.to(how.device)

        def prepare(row: int) -> Tensor:
            try:
                return encoder.prepare(item(row))
            except (HashzooError, OSError) as error:
                raise HashzooError(f"the {role} of row {row} of {dataset.name} cannot be read ({error})") from error

        def network(batch: Tensor) -> Tensor:
            return features(encoder, batch, widths, how) if frozen else batch

        # Tokenisers are rarely made for several threads, and take little time.
        return blocks(ranges, prepare, network, how, one_at_a_time=role == "text", noted=noted)

    shapes = [name if isinstance(width, int) else [name, *width] for name, width in widths.items()]
    computed = {"kind": "features", "encoder": card, "outputs": shapes, **source, **how.place()}
    preimage = computed if frozen else {"kind": "prepared", "encoder": card, **source}
    what = f"{card['name']} {'features' if frozen else 'inputs'} of {dataset.name}"
    return Wanted(preimage, how.rows, what, f"{role}s"), make
