"""What the cells of one bench share: the data set, its encoders and their features."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hashzoo import zoo
from hashzoo.benches.track import Track
from hashzoo.data import Dataset
from hashzoo.data.training import Training
from hashzoo.encoders.base import Encoder, state_digest
from hashzoo.encoders.described import Described, recalled, remember
from hashzoo.encoders.lookup import Lookup
from hashzoo.encoders.trained import check_trained
from hashzoo.errors import HashzooError, one_line
from hashzoo.features.cache import Encoded, Make, encode_modality, wanted_of
from hashzoo.features.extraction import Extraction
from hashzoo.model import standard
from hashzoo.once import Memo
from hashzoo.recipe import Recipe, modality_of
from hashzoo.settings import plain
from hashzoo.source import environment
from hashzoo.storage.arrays import Wanted
from hashzoo.storage.files import canonical_json, digest

# The files whose code decides what a run's codes are; an edit to one of them makes other runs.
CORE_SOURCES = (
    *("model.py", "train.py", "once.py", "online.py", "losses.py", "codes.py", "fitting.py", "fused.py"),
    *("storage/arrays.py", "features/extraction.py", "features/cache.py", "benches/run.py", "benches/workbench.py"),
    "encoders/*.py",
)


@dataclass
class Workbench:
    """What the cells of one bench share: the data set, its encoded modalities, the device, the threads asked for.

    `batch` is the rows that an encoder takes at once; None is what suits the device.
    """

    dataset: Dataset
    track: Track
    device: torch.device
    threads: int | None
    batch: int | None = None
    memo: Memo = field(default_factory=Memo)  # of what trainers compute alike
    _described: dict[str, Described] = field(default_factory=dict)
    _encoded: dict[str, Encoded] = field(default_factory=dict)
    _texts: dict[str, torch.Tensor] = field(default_factory=dict)
    _standards: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    @functools.cached_property
    def training(self) -> Training:
        """The training and val rows as trainers, and encoders that are fitted, see them."""
        return Training.of(self.dataset, self.track.train_data)

    def described(self, recipe: Recipe, role: str) -> Described:
        """The encoder of a role: its card from the cache, or built and fitted once for all cells of equal settings."""
        how = self.extraction(recipe, role)
        key = digest([recipe.encoders[role], modality_of(role), _section(recipe, role), how.card()])
        if key not in self._described:
            weights, trained = recipe.trained(role)
            if trained:
                check_trained(weights, trained, recipe.encoders[role], _section(recipe, role), self.track.describe())
            preimage = self._preimage(recipe, role)
            found = recalled(preimage, lambda: self._built(recipe, role))
            if found is None:
                found = self._built(recipe, role)
                if found.encoder.files is not None:
                    remember(
                        preimage, found, [*found.encoder.files, *([Path(weights).expanduser()] if trained else [])]
                    )
            self._described[key] = found
        return self._described[key]

    def _built(self, recipe: Recipe, role: str) -> Described:
        """The encoder of a role, built, fitted and described."""
        how = self.extraction(recipe, role)
        encoder = recipe.encoder(role)
        try:
            if isinstance(encoder, Lookup):
                encoder.open(self.dataset)
            else:
                encoder.fit(self.training.train.items(self.dataset, modality_of(role)))
            card = full_card(encoder, recipe, role, how)
            canonical_json(card)
        except HashzooError:
            raise
        except Exception as error:
            raise HashzooError(
                f"encoder '{recipe.encoders[role]}' of {recipe.sections[role].plugin.origin} cannot be fitted and "
                f"described: {one_line(error)}",
                exit_code=1,
            ) from error
        return Described.of(encoder.eval().to(how.device), card)

    def _preimage(self, recipe: Recipe, role: str) -> dict[str, Any]:
        """Everything that can change an encoder's card, but for the content of the files that it is read from."""
        section = recipe.sections[role]
        settings = _section(recipe, role)
        named = [recipe.encoders[role].partition(":")[2].removeprefix("local-dir:"), *map(str, settings.values())]
        preimage = {
            "encoder": recipe.encoders[role],
            "role": modality_of(role),
            "settings": settings,
            "extraction": self.extraction(recipe, role).card(),
            # What a relative path means depends on where one is.
            "places": [str(Path(name).expanduser().resolve()) for name in named if name and _exists(name)],
            "plugins": [plugin_card(plugin) for plugin in (zoo.load().plugins[0], section.plugin)],
            "environment": environment(),
        }
        if getattr(section.target, "fit", None) is not Encoder.fit:
            rows = np.ascontiguousarray(self.training.train.numbers(modality_of(role)), dtype="<i8")
            preimage["fitted on"] = [self.dataset.fingerprint(), digest(rows.tobytes())]
        return preimage

    def encoded(self, recipe: Recipe, role: str) -> Encoded:
        """All rows of one modality as this recipe's tower takes them; those of a further role are features."""
        outputs, frozen, how = recipe.outputs(role), self._frozen(recipe, role), self.extraction(recipe, role)
        modality = modality_of(role)
        key = digest([recipe.encoders[role], modality, _section(recipe, role), list(outputs), frozen, how.card()])
        if key not in self._encoded:
            described = self.described(recipe, role)
            self._encoded[key] = encode_modality(self.dataset, described, modality, outputs, frozen, how)
        return self._encoded[key]

    def wanted(self, recipe: Recipe, role: str, workers: int | None = None) -> tuple[Wanted, Make] | None:
        """The array that `encoded` opens or makes, and how `workers` threads make rows of it; None for a look-up."""
        described, how = self.described(recipe, role), replace(self.extraction(recipe, role), workers=workers)
        if described.looks_up:
            return None
        frozen = self._frozen(recipe, role)
        return wanted_of(self.dataset, described, modality_of(role), recipe.outputs(role), frozen, how)

    def _frozen(self, recipe: Recipe, role: str) -> bool:
        return recipe.frozen[role].value if role in recipe.frozen else True

    def extraction(self, recipe: Recipe, role: str) -> Extraction:
        """How the features of a role are computed and kept."""
        return Extraction(self.device, self.batch, **plain(recipe.extraction[role]))

    def text_inputs(self, recipe: Recipe, strings: list[str]) -> torch.Tensor:
        """Strings as the text tower takes them; encoded once for all cells that ask for the same ones."""
        encoded = self.encoded(recipe, "text")
        key = digest([id(encoded), strings])
        if key not in self._texts:
            self._texts[key] = encoded.tower_inputs(strings)
        return self._texts[key]

    def standard(self, recipe: Recipe, role: str, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Centre and scale of the features of some rows (see `model.standard`); computed once for all cells."""
        encoded = self.encoded(recipe, role)
        # The number of threads decides in which order is summed.
        key = digest([id(encoded), digest(np.ascontiguousarray(rows, dtype="<i8").tobytes()), torch.get_num_threads()])
        if key not in self._standards:
            features = torch.from_numpy(encoded.features_of(rows)).float()
            self._standards[key] = standard(features, encoded.widths)
        return self._standards[key]


def full_card(encoder: Encoder, recipe: Recipe, role: str, how: Extraction) -> dict[str, Any]:
    """The card of an encoder, its name, how its features are computed, and what `hashzoo pretrain` trained it on."""
    card = {"name": recipe.encoders[role], **encoder.card(), **how.card()}
    _, trained = recipe.trained(role)
    return card | ({"weights": state_digest(encoder), "trained": trained} if trained else {})


def plugin_card(plugin: zoo.Plugin) -> dict[str, str]:
    """Distribution, version and source digest of a plugin, or of the core."""
    return {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "digest": core_digest() if plugin.name == "hashzoo" else plugin.source_digest(),
    }


def core_digest() -> str:
    """SHA-256 over those of hashzoo's own files that decide what codes come out."""
    return zoo.source_digest("hashzoo", *CORE_SOURCES)


def _section(recipe: Recipe, name: str) -> dict[str, Any]:
    return {key: value.value for key, value in recipe.sections[name].settings.items()}


def _exists(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError):  # a name too long, or of no user
        return False
