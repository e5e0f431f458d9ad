"""The data of trial runs: drawn scenes, an image encoder without weights, and rows that tell what is done to them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from hashzoo.benches.track import Track
from hashzoo.benches.workbench import Workbench
from hashzoo.data import Dataset
from hashzoo.data.scenes import Scenes
from hashzoo.encoders.base import Encoder
from hashzoo.train import Rows

PAIRS = 300
TRAIN = 160  # of the 216 rows that are neither query nor val; two batches of the usual 128


class Thumbnail(Encoder):
    """The mean colours of 8 x 8 fields of a picture: 192 features that tell places and large things apart.

    Its tokens are the eight lines of fields. Texts have none here, so that a method meets both.
    """

    modality = "image"
    dim = 192

    def __init__(self) -> None:
        super().__init__()
        self.outputs = {"tokens": (8, 24)}

    def prepare(self, item: Image) -> Tensor:
        """A picture of any size as (3, 8, 8) uint8."""
        fields = item.convert("RGB").resize((8, 8), Resampling.BOX)
        return torch.from_numpy(np.array(fields)).permute(2, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 8, 8) uint8 to (B, 192) float32."""
        return x.flatten(1).float() / 255

    def forward_outputs(self, x: Tensor) -> dict[str, Tensor]:
        return {"pooled": self(x), "tokens": x.transpose(1, 2).flatten(2).float() / 255}

    def card(self) -> dict[str, Any]:
        return {"encoder": "thumbnail", "fields": 8}


class Recast(Dataset):
    """A data set some of whose rows show what other rows of it show.

    Args:
        dataset: where all content comes from.
        source: (N,) the row that each row shows.
    """

    def __init__(self, dataset: Dataset, source: np.ndarray):
        self._dataset, self._source = dataset, source
        self.name, self.classes, self.splits = f"{dataset.name}, recast", dataset.classes, dataset.splits
        self.labels = dataset.labels[source]

    def image(self, row: int) -> Image:
        return self._dataset.image(self._source[row])

    def text(self, row: int) -> str:
        return self._dataset.text(self._source[row])


@functools.cache
def scenes() -> Scenes:
    """Rows of every sort: training, val, query, and database rows that are none of them."""
    dataset = Scenes(pairs=PAIRS, pixels=24, difficulty=0.3, val=0.1)
    dataset.splits = replace(dataset.splits, train=dataset.splits.train[:TRAIN])
    return dataset


@functools.cache
def workbench(recast: bool = False) -> Workbench:
    """The scenes that all trials share; `recast`: rows that fit may not see show what training rows show."""
    dataset: Dataset = scenes()
    if recast:
        source = np.arange(len(dataset))
        hidden = np.setdiff1d(source, given_rows())
        source[hidden] = np.resize(dataset.splits.train, len(hidden))
        dataset = Recast(dataset, source)
    return Workbench(dataset, Track.of(dataset), torch.device("cpu"), threads=None)


def given_rows() -> np.ndarray:
    """Numbers of the rows that a job holds: training and val."""
    return np.union1d(scenes().splits.train, scenes().splits.val)


@contextlib.contextmanager
def tripwire() -> Iterator[list[str]]:
    """What is done to any data set of drawn scenes beside reading the rows that a job holds, in words.

    The class is watched, and not one object of it: it does not matter who holds or builds the data set. Nothing
    is refused, so that nothing can be told from an error.
    """
    taken: list[str] = []
    given = set(given_rows().tolist())
    read = {"image": Scenes.image, "text": Scenes.text}
    construct = Scenes.__init__

    def watched(what: str) -> Any:
        def item(self: Scenes, row: int) -> Any:
            if int(row) not in given:
                taken.append(f"reads the {what} of row {row}")
            return read[what](self, row)

        return item

    def watched_construct(self: Scenes, **settings: Any) -> None:
        taken.append("builds a data set")
        construct(self, **settings)

    replaced = {"image": watched("image"), "text": watched("text"), "__init__": watched_construct}
    with mock.patch.multiple(Scenes, **replaced):
        yield taken


class WatchedRows(Rows):
    """Rows that know whether anything of them was looked at."""

    def __init__(self, rows: Rows):
        vars(self).update(vars(rows), looked_at=False)

    def __getattribute__(self, name: str) -> Any:
        if name in ("image", "text", "extra", "labels", "_image", "_text", "_extra"):
            vars(self)["looked_at"] = True
        return super().__getattribute__(name)


class GradientRows(Rows):
    """Rows that know whether a gradient was taken through their features."""

    def __init__(self, rows: Rows):
        vars(self).update(vars(rows), descended=False)

    def image(self, index: Tensor) -> Tensor:
        return self._watched(super().image(index))

    def text(self, index: Tensor) -> Tensor:
        return self._watched(super().text(index))

    def extra(self, role: str, index: Tensor) -> Tensor:
        return self._watched(super().extra(role, index))

    def _watched(self, features: Tensor) -> Tensor:
        if not features.is_floating_point():  # prepared items of an encoder that is trained along
            return features

        def note(gradient: Tensor) -> None:
            vars(self)["descended"] = True

        with torch.enable_grad():
            leaf = features.requires_grad_()
            leaf.register_hook(note)
            return leaf.clone()  # which may be changed in place
