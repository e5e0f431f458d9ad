"""What a data set is: paired rows of image, text and labels with fixed splits."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Fold:
    """One of several splits that make each of some rows a query once (see `hashzoo.data.folds`).

    Attributes:
        number: from 1 to `of`.
        of: how many there are.
        partition: digest of which row is in which fold; the folds that it has in common belong together.
    """

    number: int
    of: int
    partition: str


@dataclass(frozen=True)
class Splits:
    """Row numbers of the splits; each is a 1-D int64 array without repetition.

    `train` and `val` may overlap `database` (in most protocols of this field they do), not each other.
    `query` overlaps none: `check` refuses a split in which it does, unless it is told to let it through.
    `val` holds the rows on which a method may choose an epoch or a constant; it may be empty.
    """

    train: np.ndarray
    query: np.ndarray
    database: np.ndarray
    rule: str  # how the rows were chosen, in one sentence
    val: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def check(self, rows: int, allow_overlap: bool = False) -> None:
        """Raise unless no split but `val` is empty, all are in range, free of repeats, and no query row leaks.

        Args:
            rows: of the data set.
            allow_overlap: let query rows that leak through; `overlaps` says which do.
        """
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
        refuse_overlap([] if allow_overlap else self.overlaps())
        shared = self._shared("val", "train")
        if shared:
            raise HashzooError(f"{shared}; take them out of one of the two")

    def overlaps(self) -> list[str]:
        """For each split that holds query rows too, a sentence that counts them."""
        return [shared for other in ("train", "database", "val") if (shared := self._shared("query", other))]

    def _shared(self, one: str, other: str) -> str:
        split = getattr(self, one)
        shared = np.intersect1d(split, getattr(self, other))
        if not len(shared):
            return ""
        return f"{len(shared)} of {len(split)} {one} rows are also in '{other}' (first: row {shared[0]})"

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
        known: what `hashzoo datasets verify` says as a note instead of a problem, since the published data set is so:
            "empty text", "unused label", "same picture".
        repeats: a sentence for each way in which content of query rows is known to stand in other splits
            under other row numbers: the same picture, the same id.
        groups: (N,) ints, equal for rows that belong together (drawings of one thing): no split has some of
            them among the queries and others in train, val or database. None: every row stands for itself.
        fold: which fold of a cross-validation the splits are, where they are one.
    """

    name: str
    classes: tuple[str, ...]
    labels: np.ndarray
    splits: Splits
    licence: str = ""
    features: Mapping[str, np.ndarray] = MappingProxyType({})
    raw: Collection[str] = frozenset({"image", "text"})
    known: Collection[str] = frozenset()
    repeats: Sequence[str] = ()
    groups: np.ndarray | None = None
    fold: Fold | None = None

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

    def notes(self) -> Sequence[str]:
        """Sentences that a user of the data set should know, and that are no fault of its files."""
        return ()

    def picture_digests(self) -> np.ndarray | None:
        """(N, 32) uint8, a digest of each picture, where such are stored; equal ones are the same picture."""
        return None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def overlaps(self) -> list[str]:
        """How query rows stand in other splits too, in sentences: what makes scores too high."""
        return [*self.splits.overlaps(), *self.repeats]

    def check(self, allow_overlap: bool = False) -> None:
        """Raise one sentence if labels, class names or splits contradict each other, or query rows leak."""
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
        groups = None if self.groups is None else np.asarray(self.groups)
        if groups is not None and (groups.shape != (len(labels),) or groups.dtype.kind not in "iu"):
            raise HashzooError(
                f"groups of '{self.name}' must be {len(labels)} whole numbers, one a row, "
                f"not {groups.dtype} of shape {groups.shape}"
            )
        self.splits.check(len(labels), allow_overlap)
        refuse_overlap([] if allow_overlap else self.repeats)


def refuse_overlap(overlaps: Sequence[str]) -> None:
    """Raise the first of the sentences on query rows that leak, with what can be done."""
    if overlaps:
        raise HashzooError(
            f"{overlaps[0]}; take them out of one of the two, or type --allow-overlap, which marks every table"
        )
