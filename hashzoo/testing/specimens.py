"""Encoders as the checks look at them: built with untrained weights, and items of drawn scenes to encode."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hashzoo.data.scenes import Scenes
from hashzoo.encoders.base import Encoder
from hashzoo.recipe import ROLES
from hashzoo.testing.kit import Subject
from hashzoo.testing.probing import watched_generators

ROWS = 8
PIXELS = 32
SIZES = ((1, 1), (200, 1), (1, 200), (31, 77), (320, 240))
TEXTS = ("", " ", "\n", "word " * 5000, "赤い気球が海の上を飛ぶ", "Воздушный шар", "🎈 ⛵")


@dataclass(frozen=True, eq=False)
class Specimen:
    """A built encoder.

    Attributes:
        encoder: fitted, in evaluation mode.
        role: the modality that it was asked for, or that it says.
        settings: the constructor keywords that were passed.
        disturbed: the global generators that building and fitting it changed.
    """

    encoder: Encoder
    role: str
    settings: dict[str, Any]
    disturbed: Sequence[str]

    def items(self) -> list[Any]:
        """Raw items of some rows, made anew."""
        return items(self.role, ROWS)

    def inputs(self) -> Tensor:
        """The same rows prepared, (ROWS, ...)."""
        return torch.stack([self.encoder.prepare(item) for item in self.items()])

    @functools.cached_property
    def outputs(self) -> dict[str, Tensor]:
        """What these rows become, computed once."""
        return encoded(self.encoder, self.inputs())


@functools.cache
def scenes() -> dict[str, list[Any]]:
    """The raw items of the training rows, by modality."""
    drawn = Scenes(pairs=100, pixels=PIXELS)
    rows = [int(row) for row in drawn.splits.train]
    return {"image": [drawn.image(row) for row in rows], "text": [drawn.text(row) for row in rows]}


def items(role: str, rows: int | None = None) -> list[Any]:
    """The raw items of the first so many training rows, or of all; pictures are copies."""
    return [item if isinstance(item, str) else item.copy() for item in scenes()[role][:rows]]


def odd_items(role: str) -> list[Any]:
    """Items that real data sets hold: pictures of odd shapes, texts that are empty, long, or in any script."""
    return list(TEXTS) if role == "text" else [Image.new("RGB", size, (90, 140, 200)) for size in SIZES]


def name_of(item: Any) -> str:
    if isinstance(item, str):
        return f"the text {item!r}" if len(item) <= 30 else f"a text of {len(item)} characters"
    return f"a picture of {item.width} x {item.height} pixels"


def build(subject: Subject, modality: str, **settings: Any) -> Specimen:
    """The encoder of a modality ("" where it takes none) with these settings."""
    argument = subject.name.partition(":")[2]
    given = settings | ({"modality": modality} if modality else {})
    with watched_generators() as disturbed:
        encoder = subject.target()(*([argument] if argument else []), **given)
        assert isinstance(encoder, Encoder), f"it is a {type(encoder).__name__}; derive it from hashzoo.Encoder"
        role = modality or getattr(encoder, "modality", "")
        if role in ROLES:
            encoder.fit(item for item in items(role))
    return Specimen(encoder.eval(), role, settings, disturbed)


@functools.lru_cache(maxsize=4)
def specimen(subject: Subject, modality: str, again: int = 0) -> Specimen:
    """The encoder as all checks look at it; `again` asks for another, equal one."""
    settings = {"weights": "random"} if takes(subject, "weights") else {}
    if takes(subject, "pixels"):
        try:
            return build(subject, modality, pixels=PIXELS, **settings)
        except Exception:  # pictures as small as these may be refused in any way
            return build(subject, modality, **settings)
    return build(subject, modality, **settings)


def specimens(subject: Subject, again: int = 0) -> list[Specimen]:
    """One, or one for images and one for texts."""
    return [specimen(subject, modality, again) for modality in (ROLES if takes(subject, "modality") else ("",))]


def takes(subject: Subject, keyword: str) -> bool:
    return keyword in inspect.signature(subject.target()).parameters


@torch.no_grad()
def encoded(encoder: Encoder, inputs: Tensor) -> dict[str, Tensor]:
    """The features of a batch, and all outputs by name where there are further ones."""
    return {"features": encoder(inputs), **(encoder.forward_outputs(inputs) if encoder.outputs else {})}
