"""What a data set is: paired rows of image, text and labels with fixed splits."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from hashzoo.errors import HashzooError
from hashzoo.storage import digest

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Splits:
    """Row numbers of the splits; each is a 1-D int64 array without repetition.

    `train` and `val` may overlap `database` (in most protocols of this field they do), not each other.
    `query` overlaps none: `check` refuses a split in which it does. `val` holds the rows on which a
    method may choose an epoch or a constant; it may be empty.
    """

    train: np.ndarray
    query: np.ndarray
    database: np.ndarray
    rule: str  # how the rows were chosen, in one sentence
    val: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def check(self, rows: int) -> None:
        """Raise unless no split but `val` is empty, all are in range, free of repeats, and no query row leaks."""
        for name in ("train", "query", "database", "val"):
            split = getattr(self, name)
            if split.ndim != 1 or split.dtype != np.int64:
                raise HashzooError(f"split '{name}' must be a 1-D int64 array, not {split.ndim}-D {split.dtype}")
            if not len(split):
                if name == "val":
                    continue
                raise HashzooError(f"split '{name}' is empty; every split needs at least one row")
            if split.min() < 0 or split.max() >= rows:
                raise HashzooError(f"split '{name}' names rows outside 0..{rows - 1}")
            if len(np.unique(split)) != len(split):
                raise HashzooError(f"split '{name}' names some row twice")
        for one, other in (("query", "train"), ("query", "database"), ("query", "val"), ("val", "train")):
            split = getattr(self, one)
            shared = np.intersect1d(split, getattr(self, other))
            if len(shared):
                raise HashzooError(
                    f"{len(shared)} of {len(split)} {one} rows are also in '{other}' (first: row {shared[0]}); "
                    f"take them out of one of the two"
                )

    def digest(self) -> str:
        """SHA-256 over the row lists, in order."""
        lists = (self.train, self.query, self.database, *([self.val] if len(self.val) else []))
        return digest(b"|".join(np.ascontiguousarray(part, dtype="<i8").tobytes() for part in lists))


class Dataset(ABC):
    """Paired rows. A subclass sets the four attributes and implements `image` and `text`.

    Constructor keywords are the data set's settings (`--set dataset.size=64`).

    Attributes:
        name: what the user types, with the variant ("emoji/full").
        classes: the C label names, in column order.
        labels: (N, C) bool; row i has the labels of pair i.
        splits: train, query and database row numbers, and perhaps val.
        licence: who made the data, under which terms; shown by `hashzoo datasets show`.
        features: (N, dim) float arrays by modality that the data come with, for the encoder `given`.
        raw: the modalities of which there are raw items; of the others there are features alone.
    """

    name: str
    classes: tuple[str, ...]
    labels: np.ndarray
    splits: Splits
    licence: str = ""
    features: Mapping[str, np.ndarray] = MappingProxyType({})
    raw: Collection[str] = frozenset({"image", "text"})

    @abstractmethod
    def image(self, row: int) -> Image:
        """The picture of a row, as an RGB PIL image of any size. Several threads call this at once."""

    @abstractmethod
    def text(self, row: int) -> str:
        """The text of a row."""

    def fingerprint(self) -> str:
        """A digest that changes when a pixel, a text, a label or a class name changes.

        This one reads every row, at every call: right for small data. A data set that is large
        overrides it, say with the checksums of its files. Splits have a digest of their own.
        """
        content = hashlib.sha256()
        labels = np.ascontiguousarray(self.labels, dtype=np.uint8)
        content.update(digest([list(self.classes), list(labels.shape), digest(labels.tobytes())]).encode())
        for row in range(len(self)):
            image = self.image(row)
            content.update(digest([image.mode, image.size, digest(image.tobytes()), self.text(row)]).encode())
        return content.hexdigest()

    @classmethod  # noqa: B027 - most data sets need no preparation
    def prepare(cls, **settings: object) -> None:
        """Fetch or generate what the constructor will read. Safe to call twice; nothing half-written.

        A data set that can be made from what the user has takes a keyword `source`, a path
        (`hashzoo datasets prepare NAME --from PATH`).
        """

    def verify(self) -> None:  # noqa: B027 - most data sets keep no files
        """Read every stored byte again; raise a sentence if something is not as it was prepared."""

    def __len__(self) -> int:
        return len(self.labels)

    def check(self) -> None:
        """Raise one sentence if labels, class names or splits contradict each other."""
        labels = self.labels
        if labels.ndim != 2 or labels.dtype != np.bool_:
            raise HashzooError(f"labels of '{self.name}' must be a 2-D bool array, not {labels.ndim}-D {labels.dtype}")
        if labels.shape[1] != len(self.classes):
            raise HashzooError(
                f"'{self.name}' has {labels.shape[1]} label columns but {len(self.classes)} class names; "
                f"make them equal"
            )
        if len(set(self.classes)) != len(self.classes):
            raise HashzooError(f"'{self.name}' has a class name twice; class names must differ")
        self.splits.check(len(labels))
