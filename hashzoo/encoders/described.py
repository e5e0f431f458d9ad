"""What is known of an encoder without building it: its card and its widths, remembered in the cache.

To import a library of networks, to read weights and to take their digest costs seconds, in every process. Where all
features are cached nothing of it is needed but the card, which is the key of the features.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashzoo.encoders.base import Encoder, Width
from hashzoo.encoders.lookup import Lookup
from hashzoo.errors import HashzooError
from hashzoo.storage.files import cache_dir, digest, file_identity, read_json, write_json


@dataclass(frozen=True)
class Described:
    """An encoder of a modality, which is built and fitted only once it is asked for.

    Attributes:
        card: the encoder's, and "name": what the user calls it.
        dim: width of the feature vector.
        outputs: widths of further named outputs, (tokens, width) of sequences.
        looks_up: whether the encoder looks features up (`Lookup`).
        build: makes the encoder, fitted, in evaluation mode, where it is to run.
    """

    card: Mapping[str, Any]
    dim: int
    outputs: Mapping[str, Width]
    looks_up: bool
    build: Callable[[], Encoder]

    @classmethod
    def of(cls, encoder: Encoder, card: Mapping[str, Any]) -> Described:
        """An encoder that is there already."""
        return cls(card, encoder.dim, encoder.outputs, isinstance(encoder, Lookup), lambda: encoder)

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The encoder itself."""
        return self.build()


def recalled(preimage: Mapping[str, Any], build: Callable[[], Described]) -> Described | None:
    """What is remembered of an encoder, as long as every file that it was read from is what it was.

    Args:
        preimage: what was asked for, and every source and package that gives it a meaning.
        build: makes the encoder anew; one that is not what was remembered is an error when it is asked for.
    """
    with contextlib.suppress(HashzooError, OSError, KeyError, TypeError, ValueError):
        note = read_json(_note(preimage)) if _note(preimage).exists() else {}
        if note["preimage"] == preimage and note["files"] == _identities([Path(each[0]) for each in note["files"]]):
            card = note["card"]

            def built() -> Encoder:
                made = build()
                if digest(made.card) != digest(card):
                    _note(preimage).unlink(missing_ok=True)
                    raise HashzooError(
                        f"encoder '{card['name']}' is not what it was when its features were cached; run again",
                        exit_code=1,
                    )
                return made.encoder

            outputs = {name: tuple(w) if isinstance(w, list) else w for name, w in note["outputs"].items()}
            return Described(card, int(note["dim"]), outputs, False, built)
    return None


def remember(preimage: Mapping[str, Any], described: Described, files: Sequence[Path]) -> None:
    """Keep what is known of an encoder, and the files that it was read from, for the next process."""
    known = {"card": described.card, "dim": described.dim, "outputs": dict(described.outputs)}
    with contextlib.suppress(HashzooError, OSError):  # a cache that cannot be written costs time, not the result
        write_json(_note(preimage), {"preimage": preimage, **known, "files": _identities(files)})


def _identities(files: Sequence[Path]) -> list[list[Any]]:
    return [file_identity(path) for path in files]


def _note(preimage: Mapping[str, Any]) -> Path:
    return cache_dir() / "encoders" / f"{digest(preimage)[:24]}.json"
