"""A joint space of pictures and texts without training and without a hub: ConSE on the packaged encoders."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hashzoo.encoders.base import Encoder
from hashzoo.encoders.lite0 import Lite0, classifier
from hashzoo.encoders.minilm import MiniLM
from hashzoo.encoders.weights import seeded, weights_card
from hashzoo.errors import HashzooError
from hashzoo.storage.files import cache_dir, digest, read_json, write_json

SAMPLE = 1000  # training rows, evenly spaced, from which the centre is taken
BATCH = 50


class Conse(Encoder):
    """Convex combination of semantic embeddings (Norouzi et al., ICLR 2014), 384 features of unit length.

    A text is its MiniLM vector. A picture is the mean of the MiniLM vectors of the 1,000 ImageNet class
    names, weighted by what Lite0 gives each class. From both, the mean over training rows of their own
    modality is taken away, since pictures and texts would otherwise lie in two separate cones.

    It is a stand-in where a method expects a space that pictures and texts share and no hub can be
    reached; it knows a thousand things, and is no substitute for the accuracy of CLIP.

    Args:
        temperature: of the softmax over the classes; above 1 more classes have a say.
        pixels: side of the square input. Photographs are named best at 224, for which the weights were trained.
        weights: "pretrained" (the installed packages) or "random".
        modality: "image" or "text"; the first two settings are those of pictures.
    """

    dim = 384
    centre: Tensor
    classes: Tensor

    def __init__(self, temperature: float = 2.0, pixels: int = 224, weights: str = "pretrained", *, modality: str):
        super().__init__()
        if modality not in ("image", "text"):
            raise HashzooError(f"modality of encoder 'conse' must be image or text, not {modality!r}")
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not temperature > 0:
            raise HashzooError(f"temperature of encoder 'conse' must be a number above 0, not {temperature!r}")
        if weights not in ("pretrained", "random"):
            raise HashzooError(
                f"encoder 'conse' is made of the weights of two packages and takes no path, not {weights!r}; "
                f"leave weights out, or type weights=random"
            )
        self.modality, self.temperature, self.weights = modality, float(temperature), weights
        if modality == "text":
            self.encoder: Lite0 | MiniLM = MiniLM(weights=weights)
        else:
            self.encoder = Lite0(pixels, weights)
            self.classifier = _untrained_classifier() if weights == "random" else classifier()
            vectors, self._classes, named_from = _class_vectors(weights)
            self.register_buffer("classes", vectors.clone(), persistent=False)
        self.files = [*(self.encoder.files or ()), *(named_from if modality == "image" else ())]
        self.register_buffer("centre", torch.full((self.dim,), torch.nan))
        self.eval()

    def fit(self, items: Iterable[Any]) -> None:
        """Take the centre from up to `SAMPLE` of the items, evenly spaced; they are encoded once more for it.

        The centre is kept in the cache, by the content of the items that it is taken from.
        """
        kept: list[Tensor] = []
        stride = 1
        for place, item in enumerate(items):
            if place % stride == 0:
                kept.append(self.encoder.prepare(item))
            if len(kept) > SAMPLE:
                kept, stride = kept[::2], 2 * stride
        if not kept:
            raise HashzooError("encoder 'conse' takes its centre from training rows; call fit with at least one")
        rows = torch.stack(kept)
        sample = hashlib.sha256(rows.numpy().tobytes()).hexdigest()
        note = cache_dir() / "centres" / f"{digest([self._before_fit(), sample])[:24]}.json"
        if note.exists():
            with contextlib.suppress(HashzooError, ValueError, TypeError, RuntimeError):  # a damaged note is made again
                self.centre.copy_(torch.tensor(read_json(note)))
                return
        with torch.no_grad():
            mean = torch.cat([self._vectors(batch) for batch in rows.split(BATCH)]).mean(0)
        # Coarser than the noise of the sample, so that sums in another order make no other card.
        self.centre.copy_(mean.round(decimals=3))
        with contextlib.suppress(HashzooError):  # a cache that cannot be written costs time, not the result
            write_json(note, self.centre.tolist())

    def prepare(self, item: Any) -> Tensor:
        """An image as (3, pixels, pixels) uint8, or a text as (128,) int32 token ids."""
        self._check_fitted()
        return self.encoder.prepare(item)

    def forward(self, x: Tensor) -> Tensor:
        """Prepared items to (B, 384) float32 of unit length."""
        return normalize(self._vectors(x) - self.centre, dim=-1)

    def card(self) -> dict[str, Any]:
        self._check_fitted()
        return {**self._before_fit(), "centre": digest(self.centre.tolist())}

    def _before_fit(self) -> dict[str, Any]:
        """The card but for the centre."""
        card: dict[str, Any] = {"encoder": "conse", "modality": self.modality, "dim": self.dim}
        inner = {name: value for name, value in self.encoder.card().items() if name not in ("encoder", "digest")}
        if self.modality == "image":
            card |= {"temperature": self.temperature, "classes": self._classes}
        return card | inner | weights_card(nn.ModuleList([self.encoder, *self._head()]), self.weights)

    def _vectors(self, x: Tensor) -> Tensor:
        """(B, 384), before the centre is taken away."""
        if self.modality == "text":
            return self.encoder(x)
        return (self.classifier(self.encoder(x)) / self.temperature).softmax(dim=-1) @ self.classes

    def _head(self) -> list[nn.Module]:
        return [self.classifier] if self.modality == "image" else []

    def _check_fitted(self) -> None:
        if self.centre.isnan().any():
            raise HashzooError("encoder 'conse' has no centre yet; call fit(items) with the training items first")


def _untrained_classifier() -> nn.Linear:
    with seeded():
        layer = nn.Linear(1280, 1000)
        # Logits as far apart as trained ones: of a flat softmax nothing is left once the centre is taken away.
        nn.init.normal_(layer.weight)
    return layer


@functools.cache  # a thousand texts take seconds
def _class_vectors(weights: str) -> tuple[Tensor, str, list[Path]]:
    """MiniLM vectors of the ImageNet class names, (1000, 384), a digest of what they were made of, and MiniLM's files.

    The names are those that timm carries: the words of each WordNet synset, such as "tench, Tinca tinca".
    """
    from timm.data import ImageNetInfo

    names = ImageNetInfo().label_descriptions()
    text = MiniLM(weights=weights)
    rows = torch.stack([text.prepare(name) for name in names])
    order = (rows >= 0).sum(1).argsort(stable=True)  # a batch costs as much as its longest text
    vectors = torch.empty(len(names), text.dim)
    with torch.no_grad():
        for places in order.split(BATCH):
            vectors[places] = text(rows[places])
    return vectors, digest([names, text.card()]), list(text.files or ())
