"""A frozen encoder runs once: its outputs are cached under a key of everything that can change them."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hashzoo.arrays import LARGE, cached_array, take
from hashzoo.data import Dataset
from hashzoo.data.training import NO_TEXT
from hashzoo.encoders.base import Encoder
from hashzoo.encoders.lookup import Lookup
from hashzoo.errors import HashzooError
from hashzoo.extraction import Extraction, blocks, features
from hashzoo.storage import digest

COPIED_ROWS = 16_384


@dataclass(frozen=True)
class Encoded:
    """One modality of a data set as its tower takes it.

    Attributes:
        features: (N, width) float32 or float16, memory-mapped; named outputs side by side in the order of `widths`.
        inputs: `features` again, or (N, ...) prepared items when the encoder is trained along.
        widths: width of each named output.
        encoder: the encoder itself, in evaluation mode.
        frozen: whether the tower starts from features (True) or holds the encoder.
        key: digest of all that can change `inputs`.
        how: the features were computed.
    """

    features: np.ndarray
    inputs: np.ndarray
    widths: dict[str, int]
    encoder: Encoder
    frozen: bool
    key: str
    how: Extraction

    def trainable_encoder(self) -> Encoder:
        """A copy of the encoder that may be trained, as it was before any training."""
        return copy.deepcopy(self.encoder).requires_grad_(True)

    def inputs_of(self, rows: np.ndarray) -> np.ndarray:
        """Inputs of some rows and nothing else, (n, ...): a copy in memory, or, of many, in a mapped file of their own.

        NO_TEXT stands for the empty text.
        """
        if len(rows) * self.inputs[:1].nbytes < LARGE:
            return self._taken(self.inputs, rows, self.frozen)

        def copied(ranges: Sequence[range]) -> Generator[tuple[range, np.ndarray], None, None]:
            for part in ranges:
                yield part, self._taken(self.inputs, rows[part.start : part.stop], self.frozen)

        numbers = digest(np.ascontiguousarray(rows, dtype="<i8").tobytes())
        preimage = {"kind": "rows", "of": self.key, "split": numbers, "rows": len(rows)}
        return cached_array(preimage, COPIED_ROWS, copied, "rows of a split", "rows")

    def features_of(self, rows: np.ndarray) -> np.ndarray:
        """A copy of the features of some rows, (n, width); NO_TEXT stands for the empty text."""
        return self._taken(self.features, rows, True)

    def _taken(self, array: np.ndarray, rows: np.ndarray, as_features: bool) -> np.ndarray:
        """Rows of an array, with what the encoder makes of the empty text where it is asked for; zeros in a look-up."""
        taken = take(array, rows)
        blank = rows == NO_TEXT
        if not blank.any():
            return taken
        if isinstance(self.encoder, Lookup):
            taken[blank] = 0
            return taken
        prepared = self.encoder.prepare("")[None]
        made = features(self.encoder, prepared, self.widths, self.how) if as_features else prepared
        taken[blank] = made.cpu().numpy()
        return taken

    def tower_inputs(self, items: Sequence[Any]) -> Tensor:
        """Raw items, not of the data set, as the tower takes them: (len, ...)."""
        prepared = torch.stack([self.encoder.prepare(item) for item in items])
        return features(self.encoder, prepared, self.widths, self.how).float() if self.frozen else prepared


def encode_modality(
    dataset: Dataset,
    encoder: Encoder,
    card: Mapping[str, Any],
    role: str,
    outputs: Sequence[str] = (),
    frozen: bool = True,
    how: Extraction = Extraction(),  # noqa: B008 - it is frozen
) -> Encoded:
    """Features (and, for a trainable encoder, prepared items) of all rows, from the cache where they are.

    A row that cannot be read is named, and all that can be computed without it is kept for the next call.

    Args:
        dataset: where the items come from.
        encoder: fitted, in evaluation mode; it is moved to the device.
        card: the encoder's, and "name": what the user calls it.
        role: "image" or "text".
        outputs: named outputs that the head asks for beside "pooled"; used only if the encoder has them all.
        frozen: False to prepare items for an encoder that is trained along.
        how: on which device, in which batches, how precisely.
    """
    source = {"dataset": dataset.name, "content": dataset.fingerprint(), "role": role, "rows": len(dataset)}
    if isinstance(encoder, Lookup):
        if not frozen:
            raise HashzooError(f"{card['name']} looks features up and cannot be trained; leave out {role}.frozen=false")
        found = encoder.open(dataset)
        key = digest({"kind": "found", "encoder": card, **source})
        return Encoded(found, found, {"pooled": encoder.dim}, encoder, frozen=True, key=key, how=how)
    item = dataset.image if role == "image" else dataset.text
    encoder.to(how.device)
    widths = {"pooled": encoder.dim}
    if outputs and all(name in encoder.outputs for name in outputs):
        widths |= {name: encoder.outputs[name] for name in outputs}

    def prepare(row: int) -> Tensor:
        try:
            return encoder.prepare(item(row))
        except (HashzooError, OSError) as error:
            raise HashzooError(f"the {role} of row {row} of {dataset.name} cannot be read ({error})") from error

    def array(preimage: dict[str, Any], what: str, network: Any) -> np.ndarray:
        # Tokenisers are rarely made for several threads, and take little time.
        return cached_array(
            preimage,
            how.rows,
            lambda ranges: blocks(ranges, prepare, network, how, one_at_a_time=role == "text"),
            f"{card['name']} {what} of {dataset.name}",
            f"{role}s",
        )

    preimage = {"kind": "features", "encoder": card, "outputs": list(widths), **source, **how.place()}
    computed = array(preimage, "features", lambda batch: features(encoder, batch, widths, how))
    inputs = computed
    if not frozen:
        preimage = {"kind": "prepared", "encoder": card, **source}
        inputs = array(preimage, "inputs", lambda batch: batch)
    return Encoded(computed, inputs, widths, encoder, frozen, digest(preimage), how)
