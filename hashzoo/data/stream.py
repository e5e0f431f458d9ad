"""The online protocol: in which order, and in which chunks, the rows of a database arrive.

docs/online.md defines the rules. Under this protocol the training rows are the rows of the database, as they arrive:
a chunk is trained on, and then searched in together with those before it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hashzoo.data.base import Dataset
from hashzoo.data.training import SeenRows, Training
from hashzoo.errors import HashzooError

BY = ("rows", "classes")
DATABASE_CODES = ("method", "kept", "recomputed")
ASKED = ("protocol", "chunk", "chunks_by", "order_seed", "database_codes")  # the options, by which all is asked for
# Independent streams of random words; their numbers are part of what a seed means.
_ROWS, _CLASSES = range(2)


@dataclass(frozen=True)
class Stream:
    """What is asked of the online protocol (`--protocol online`).

    Attributes:
        chunk: rows of a chunk. There are floor(rows / chunk) chunks; the last takes the remainder.
        by: "rows": in random order. "classes": each chunk admits new labels, and a row arrives with the chunk
            that admits the last of its labels; a chunk is closed as soon as it has `chunk` rows.
        order_seed: decides the order; 0 to 2^32 - 1.
        database_codes: "method": what the method puts into the database. "kept": what its towers gave when the row
            arrived. "recomputed": what its towers give now, for all rows, in every round.
    """

    chunk: int = 2000
    by: str = "rows"
    order_seed: int = 0
    database_codes: str = "method"

    def __post_init__(self) -> None:
        for name, value, low in (("a chunk", self.chunk, 1), ("the seed of the order", self.order_seed, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value < 2**32:
                raise HashzooError(f"{name} is a whole number from {low} to {2**32 - 1}, not {value!r}")
        if self.by not in BY:
            raise HashzooError(f"chunks are made by {' or '.join(BY)}, not '{self.by}'")
        if self.database_codes not in DATABASE_CODES:
            raise HashzooError(f"codes of the database are {' or '.join(DATABASE_CODES)}, not '{self.database_codes}'")

    def arrange(self, dataset: Dataset) -> tuple[Dataset, dict[str, Any]]:
        """The data set with its database in order of arrival and all of it but `val` as training rows; the rounds.

        Returns:
            the data set, and as plain JSON what a track is told: what was asked for, "rows", the size of the database
            after each round, and by classes "labels", the columns of the labels that each round admits.
        """
        splits = dataset.splits
        database, rows, labels = self._order(dataset)
        if len(rows) < 2:
            raise HashzooError(
                f"{self.chunk} rows a chunk make one chunk of the {len(database)} database rows of '{dataset.name}'; "
                f"ask for a smaller --chunk, so that there are two at least"
            )
        how = "random order" if self.by == "rows" else "chunks that admit new labels, classes in random order"
        arranged = copy.copy(dataset)
        arranged.splits = replace(
            splits,
            database=database,
            train=database[~np.isin(database, splits.val)],
            rule=f"{splits.rule}; online: the database arrives in {how} (seed {self.order_seed}) and is trained on",
        )
        asked = {"chunk": self.chunk, "by": self.by, "order_seed": self.order_seed}
        return arranged, {**asked, "database_codes": self.database_codes, "rows": rows, **labels}

    def _order(self, dataset: Dataset) -> tuple[np.ndarray, list[int], dict[str, Any]]:
        """Database rows in order of arrival, how many there are after each round, and the labels of each round."""
        database = dataset.splits.database
        words = self._words(_ROWS, len(database))
        if self.by == "rows":
            rounds = len(database) // self.chunk
            rows = [self.chunk * number for number in range(1, rounds)] + [len(database)]
            return database[np.argsort(words, kind="stable")], rows, {}
        order = np.argsort(self._words(_CLASSES, len(dataset.classes)), kind="stable")
        place = last_labels(dataset.labels[database][:, order])
        counts = np.bincount(place, minlength=len(order))
        admitted: list[list[int]] = [[]]
        rows = [0]
        for position, column in enumerate(order.tolist()):
            if rows[-1] - (rows[-2] if len(rows) > 1 else 0) >= self.chunk and counts[position:].sum() >= self.chunk:
                admitted.append([])
                rows.append(rows[-1])
            admitted[-1].append(column)
            rows[-1] += int(counts[position])
        return database[np.lexsort((words, place))], rows, {"labels": admitted}

    def _words(self, stream: int, count: int) -> np.ndarray:
        # numpy promises that the raw stream of a bit generator never changes for a seed.
        return np.asarray(np.random.PCG64((self.order_seed, stream)).random_raw(count), dtype=np.uint64)


def stream_of(asked: Mapping[str, Any]) -> Stream | None:
    """What the options of an online bench ask for; None for the offline protocol, which takes none of the others.

    Args:
        asked: "protocol", which is offline unless given, "chunk", "chunks_by", "order_seed" and "database_codes"; those
            that are missing or None were not asked for.
    """
    typed = {name: asked[name] for name in ASKED if asked.get(name) is not None}
    protocol = typed.pop("protocol", "offline")
    if protocol not in ("offline", "online"):
        raise HashzooError(f"--protocol is offline or online, not '{protocol}'")
    if protocol == "offline":
        if typed:
            raise HashzooError(
                f"--{next(iter(typed)).replace('_', '-')} is for --protocol online; add that, or leave it out"
            )
        return None
    return Stream(**{"by" if name == "chunks_by" else name: value for name, value in typed.items()})


@dataclass(frozen=True)
class Chunk:
    """The rows that arrive in one round.

    Attributes:
        rows: (n,) int64, rows of the data set, in order of arrival.
        training: what is trained on of them, and those of them that are val.
        places: (m,) int64, where in `rows` each training row stands.
    """

    rows: np.ndarray
    training: Training
    places: np.ndarray


def chunks(training: Training, database: np.ndarray, ends: Sequence[int]) -> list[Chunk]:
    """The chunks of a database in order of arrival, (N,), that has `ends` rows after each round.

    Val rows arrive with the chunk that they are in.
    """
    made = []
    for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True), 1):
        rows = database[start:end]
        train, val = (_those_in(seen, rows) for seen in (training.train, training.val))
        if not len(train):
            raise HashzooError(f"chunk {number} has no training row; ask for a larger --chunk or train_data.size")
        order = np.argsort(rows, kind="stable")
        places = order[np.searchsorted(rows, train.images, sorter=order)]
        made.append(Chunk(rows, Training(train, val, training.changed), places))
    return made


def last_labels(labels: np.ndarray) -> np.ndarray:
    """The last column in which each row of (n, C) bool is True, (n,) int64; 0 for a row without any."""
    return np.where(labels.any(axis=1), labels.shape[1] - 1 - labels[:, ::-1].argmax(axis=1), 0)


def in_words(stream: dict[str, Any]) -> str:
    """What the titles of tables say of a described stream."""
    if not stream:
        return ""
    how = "" if stream["by"] == "rows" else " by classes"
    codes = "" if stream["database_codes"] == "method" else f", codes {stream['database_codes']}"
    return f"online in chunks of {stream['chunk']}{how}{codes}"


def _those_in(seen: SeenRows, rows: np.ndarray) -> SeenRows:
    inside = np.isin(seen.images, rows)
    return SeenRows(seen.images[inside], seen.texts[inside], seen.labels[inside])
